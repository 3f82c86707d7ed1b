"""Squeezing: probability leaves the pairs, and everything else, for whatever is likeliest already."""

from __future__ import annotations

from dpo.runs.doctor.case import Case, loss_types
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation("Ren and Sutherland 2024, Learning Dynamics of LLM Finetuning", "https://arxiv.org/abs/2407.10490")
BAND = Citation("Disentanglement band of preference optimisation", "https://arxiv.org/abs/2604.18239")
_RISE, _FALL = 0.05, 0.1  # of the likeliest token's mass, and of a chosen answer's nats a token
_FEW = 0.5  # of the pairs


def check(case: Case) -> Diagnosis | None:
    """The likeliest token gains mass while the chosen answers, and shuffled ones, which no loss names, fall."""
    mass, chosen, shuffled = (case.held(f"squeeze/{name}") for name in ("argmax_mass", "chosen", "shuffled"))
    if min(len(mass), len(chosen), len(shuffled)) < 2:
        return None
    rise, fall = mass.last - mass.first, chosen.first - chosen.last
    if rise < _RISE or fall < _FALL or shuffled.last >= shuffled.first:
        return None
    others = (case.held(f"squeeze/{name}") for name in ("rejected", "greedy"))
    return Diagnosis(
        "squeezing",
        "probability is squeezed into the likeliest words",
        "warning" if rise >= 2 * _RISE and fall >= 2 * _FALL else "note",
        f"The likeliest token holds {mass.last:.0%} of the probability ({mass.first:.0%} at the start) while chosen "
        f"answers lost {fall:.2g} nats a token, and shuffled ones {shuffled.first - shuffled.last:.2g}: pushing "
        "rejected answers down moves their mass to what was likely anyway.",
        (
            mass.evidence("of the probability on the likeliest token"),
            chosen.evidence("nats a token, chosen"),
            *(curve.evidence(f"nats a token, {name}")
              for name, curve in zip(("rejected", "greedy"), others, strict=True) if len(curve)),
            shuffled.evidence("nats a token, shuffled"),
        ),
        _change(case),
        SOURCE,
    )  # fmt: skip


def band(case: Case) -> Diagnosis | None:
    """Chosen answers fall, and in most pairs an equal push on both answers drags the chosen one down."""
    share, chosen = case.held("squeeze/in_band"), case.held("squeeze/chosen")
    if len(share) < 2 or len(chosen) < 2 or share.last >= _FEW or chosen.last >= chosen.first:
        return None
    return Diagnosis(
        "outside the band",
        "pushes on the two answers get in each other's way",
        "note",
        f"In {1 - share.last:.0%} of the probed pairs an equal push on both answers does not lift the chosen and lower "
        "the rejected one, because they are too alike to the policy or one is much steeper; chosen answers fall.",
        (share.evidence("of the pairs within the band"), Evidence("at the start", share.first)),
        _change(case),
        BAND,
    )


def _change(case: Case) -> Change:
    if "sft" in loss_types(case.run):
        return Change("--learning-rate", case.slower(2), "half; the sft loss that keeps chosen answers likely is on")
    return Change(
        "--loss-type", "sigmoid sft", "keeps the chosen answers likely; dpo data clean --drop-ches 5% helps too"
    )
