"""Repetition collapse: the policy says the same few words again and again."""

from __future__ import annotations

from dpo.runs.answers import repetition
from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation(
    "Welleck et al. 2019, Neural Text Generation with Unlikelihood Training", "https://arxiv.org/abs/1908.04319"
)


def check(case: Case) -> Diagnosis | None:
    """Word groups repeat within the newest probe answers, far more than in the reference's."""
    logged = case.judged("repetition")
    newest = case.answers()
    if len(logged):
        share, step, before = logged.level, logged.last_step, logged.first
    elif newest and newest[0].step > 0:
        share, step = repetition([sample.policy for sample in newest]), newest[0].step
        before = repetition([sample.reference for sample in newest if sample.reference])
    else:
        return None
    if share < case.limits.repeated or share < 2 * before:
        return None
    example = max((sample.policy for sample in newest), key=lambda text: repetition([text]), default="")
    shown = f': "{" ".join(example.split()[:8])} …"' if example else ""
    return Diagnosis(
        "repetition collapse",
        "answers repeat themselves",
        "fault",
        f"At step {step} {share:.0%} of the word triples in the policy's answers are repeats ({before:.0%} in the "
        f"reference's){shown}.",
        (
            Evidence("of word triples repeated", share, step, logged.level_of if len(logged) else ""),
            Evidence("in the reference's answers", before),
            *([Evidence("probe answers", len(newest))] if newest else []),
        ),
        Change("--learning-rate", case.slower(10), "a tenth; use an earlier checkpoint of this run"),
        SOURCE,
    )
