"""Before the first update policy and reference are the same model: the loss is ln 2, the rewards are 0."""

from __future__ import annotations

from dpo.families import facts_of
from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation(
    "Why does the reward not start from 0? (the DPO authors' repository, issue 34)",
    "https://github.com/eric-mitchell/direct-preference-optimization/issues/34",
)
# A first point that averages several updates may already have moved; upwards it hardly can.
_AVERAGED_ABOVE = 0.1


def check(case: Case) -> Diagnosis | None:
    """The step-0 check failed, or the first logged loss cannot come from equal models."""
    expected = case.expected_first_loss
    recorded = case.run.step_zero
    losses = case.metrics.points("loss")
    if case.run.kind != "dpo" or expected is None or (recorded is None and not len(losses[0])):
        return None
    if recorded is not None and isinstance(recorded.get("loss"), int | float):
        step, loss, wrong = 0, float(recorded["loss"]), not recorded.get("passed", True)
    else:
        step, loss = int(losses[0][0]), float(losses[1][0])
        above = loss - expected
        wrong = abs(above) > case.limits.step_zero if step <= 1 else above > _AVERAGED_ABOVE
    if not wrong:
        return None
    evidence = [Evidence("first loss", loss, step), Evidence("expected", expected)]
    for key, text in (("rewards/chosen", "chosen reward"), ("rewards/rejected", "rejected reward")):
        steps, values = case.metrics.points(key)
        if len(steps) and abs(values[0]) > 1e-3:
            evidence.append(Evidence(text, float(values[0]), int(steps[0])))
    facts = facts_of(case.run.family)
    stubborn = facts is not None and facts.stubborn_dropout
    dropout = f"dropout left on ({case.run.label}'s attention ignores the usual switch), " if stubborn else ""
    return Diagnosis(
        "step-0 mismatch",
        "policy and reference do not start equal",
        "fault",
        f"The loss starts at {loss:.4g} where equal models give {expected:.4g}, so the rewards do not measure tuning: "
        f"{dropout}a wrong reference, or another number format for one of the two. "
        "Only a loss other than sigmoid may start elsewhere.",
        tuple(evidence),
        Change("--precision", "fp32", "with dpo train, which compares both models before the first update"),
        SOURCE,
    )
