"""Length exploitation: answers grow instead of getting better."""

from __future__ import annotations

from dpo.runs.answers import length_ratio
from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation(
    "Park et al. 2024, Disentangling Length from Quality in Direct Preference Optimization",
    "https://arxiv.org/abs/2403.19159",
)


def check(case: Case) -> Diagnosis | None:
    """The newest probe answers are much longer than the reference's."""
    logged = case.judged("length_ratio")
    newest = case.answers()
    if len(logged):
        ratio, step, count = logged.level, logged.last_step, None
    elif len(newest) > 1 and newest[0].step > 0 and (measured := length_ratio(newest)) is not None:
        ratio, step, count = measured, newest[0].step, len(newest)
    else:
        return None
    if ratio < case.limits.longer:
        return None
    return Diagnosis(
        "length exploitation",
        "answers grow longer",
        "warning",
        f"At step {step} the policy's answers are {ratio:.2g} times as long as the reference's: a sum of log-ratios "
        "over tokens rewards length.",
        (
            Evidence("times the reference's length", ratio, step, logged.level_of if len(logged) else ""),
            *([Evidence("probe answers", count)] if count is not None else []),
        ),
        Change("--loss-type", "sigmoid_norm", "divides each reward by the answer's length"),
        SOURCE,
    )
