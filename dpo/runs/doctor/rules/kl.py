"""The KL budget: how far the policy may go from its reference before text suffers."""

from __future__ import annotations

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation(
    "Gao et al. 2022, Scaling Laws for Reward Model Overoptimization (reward against KL)",
    "https://arxiv.org/abs/2210.10760",
)
KEYS = ("kl", "objective/kl", "probe/kl")
# The distance of chosen answers, which the policy did not write, is a coarse stand-in for the KL.
_STAND_IN = 3.0


def check(case: Case) -> Diagnosis | None:
    """The logged KL is over the budget; without one, the distance of the chosen answers is far over it."""
    if case.run.kind != "dpo":
        return None
    for key in KEYS:
        curve = case.judged(key)
        if len(curve):
            over = curve.steps[curve.smooth > case.kl_budget]
            if not len(over) or curve.level <= case.kl_budget:
                return None
            return _verdict(case, curve.evidence("KL to the reference in nats"), int(over[0]))
    chosen = case.judged("rewards/chosen")
    if len(chosen) < 2 or not case.measures_tuning:
        return None
    distance = abs(chosen.level) / case.beta
    allowed = _STAND_IN * case.kl_budget
    if distance <= allowed:
        return None
    since = int(chosen.steps[abs(chosen.smooth) / case.beta > allowed][0])
    text = "nats between policy and reference on a chosen answer"
    return _verdict(case, Evidence(text, distance, chosen.last_step, chosen.level_of), since)


def _verdict(case: Case, found: Evidence, since: int) -> Diagnosis:
    return Diagnosis(
        "KL budget spent",
        "far from the reference",
        "warning",
        f"Since step {since} the policy is further from its reference than the budget of {case.kl_budget:.3g} "
        f"nats allows ({found.value:.3g} now): more margin from here on tends to cost text quality.",
        (found, Evidence("nats are the budget", case.kl_budget)),
        Change("--beta", f"{case.beta * 3:.1g}", "or stop at that step"),
        SOURCE,
    )
