"""Likelihood displacement: the margin grows while the chosen answers get less likely too."""

from __future__ import annotations

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Evidence, Severity, Source, Verdict

SOURCE = Source(
    "Razin et al. 2024, Unintentional Unalignment: Likelihood Displacement in DPO", "https://arxiv.org/abs/2410.08847"
)
_SHARE = 0.2  # of the margin


def check(case: Case) -> Verdict | None:
    """Chosen falls below 0 by a good share of the margin, and rejected falls as well."""
    chosen, rejected = case.judged("rewards/chosen"), case.judged("rewards/rejected")
    if case.run.kind != "dpo" or len(chosen) < 2 or len(rejected) < 2:
        return None
    step, best = chosen.best(1)
    fall = max(best, 0.0) - chosen.last
    margin = chosen.last - rejected.last
    if chosen.last >= 0 or rejected.last >= 0 or margin <= 0 or fall < _SHARE * margin:
        return None
    nats = -chosen.last / case.beta
    limits = case.limits
    grave: Severity = "info" if nats < limits.displaced_nats else "bad" if nats > limits.ruined_nats else "warn"
    since = f"since step {step}" if step > chosen.steps[0] else "from the start"
    mild = "a little, as it does in most DPO runs" if grave == "info" else "clearly"
    return Verdict(
        "likelihood displacement",
        "chosen answers get less likely",
        grave,
        f"Both rewards fall {since}, the chosen one {mild}: a chosen answer has lost {nats:.3g} nats, and the "
        f"margin of {margin:.3g} comes from pushing the rejected one down further. Read the answers before "
        "trusting the margin.",
        (
            Evidence("chosen reward", chosen.last, chosen.last_step),
            Evidence("rejected reward", rejected.last, rejected.last_step),
            Evidence("best chosen reward", best, step),
        ),
        Change("--loss-type", "sigmoid sft", "keeps the chosen answers likely; or a lower --learning-rate"),
        SOURCE,
    )
