"""Likelihood displacement: the margin grows while the chosen answers get less likely too."""

from __future__ import annotations

from dpo.runs.doctor.case import Case, JudgedCurve, loss_types
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis
from dpo.severity import Severity

SOURCE = Citation(
    "Razin et al. 2024, Unintentional Unalignment: Likelihood Displacement in DPO", "https://arxiv.org/abs/2410.08847"
)
CODE = "likelihood displacement"
_SHARE = 0.2  # of the margin
_NOISE = 0.5  # nats per answer that no training is free of
_TURNED = 1.0  # nats per answer by which a chosen reward that had risen is down again


def _change(case: Case) -> Change:
    """The likelihood of the chosen answer beside the loss; where it is there already, a lower rate."""
    if "sft" in loss_types(case.run):
        return Change("--learning-rate", case.slower(2), "half; the sft loss that keeps chosen answers likely is on")
    return Change("--loss-type", "sigmoid sft", "keeps the chosen answers likely; or a lower --learning-rate")


def _turned(case: Case, chosen: JudgedCurve, rejected: JudgedCurve, step: int, fall: float) -> Diagnosis:
    """Chosen answers are no less likely than at the start, but they were likelier before."""
    return Diagnosis(
        CODE,
        f"since step {step} both rewards fall",
        "note",
        f"Chosen answers got likelier up to step {step}; since then a chosen answer has lost {fall / case.beta:.3g} "
        f"nats again, and the margin of {_margin(chosen, rejected):.3g} grows only by pushing the rejected one "
        "down. Compare the answers of that step with the last ones.",
        (
            chosen.best_evidence("best chosen reward", 1),
            chosen.evidence("chosen reward"),
            rejected.evidence("rejected reward"),
        ),
        Change("--max-steps", str(step), "stop where the chosen answers were likeliest"),
        SOURCE,
    )


def _margin(chosen: JudgedCurve, rejected: JudgedCurve) -> float:
    """The margin that two rewards make now."""
    return chosen.level - rejected.level


def check(case: Case) -> Diagnosis | None:
    """Chosen falls below 0 and rejected as well; how severe that is, the distance and its share of the margin say."""
    chosen, rejected = case.judged("rewards/chosen"), case.judged("rewards/rejected")
    if case.run.kind != "dpo" or len(chosen) < 2 or len(rejected) < 2:
        return None
    step, best = chosen.best(1)
    fall, nats = max(best, 0.0) - chosen.level, -chosen.level / case.beta
    margin = _margin(chosen, rejected)
    if rejected.level >= 0 or margin <= 0:
        return None
    if nats < _NOISE:
        least = max(_TURNED * case.beta, _SHARE * margin)
        turned = fall >= least and best - chosen.last >= least
        return _turned(case, chosen, rejected, step, fall) if turned else None
    limits = case.limits
    severity: Severity = "note"
    if fall >= _SHARE * margin and nats >= limits.displaced_nats:
        severity = "fault" if nats > limits.ruined_nats else "warning"
    since = f"since step {step}" if step > chosen.steps[0] else "from the start"
    mild = severity == "note"
    how = "a little, as it does in most DPO runs" if mild else "clearly"
    ranked = "The pairs are ranked, but both" if mild else "Both"
    title = ("pairs are ranked, " if mild else "") + "chosen answers get less likely"
    return Diagnosis(
        CODE,
        title,
        severity,
        f"{ranked} rewards fall {since}, the chosen one {how}: a chosen answer has lost {nats:.3g} nats, and the "
        f"margin of {margin:.3g} comes from pushing the rejected one down further. Read the answers before "
        "trusting the margin.",
        (
            chosen.evidence("chosen reward"),
            rejected.evidence("rejected reward"),
            chosen.best_evidence("best chosen reward", 1),
        ),
        _change(case),
        SOURCE,
    )
