"""Nothing moves: the policy stays the reference."""

from __future__ import annotations

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation(
    "Tunstall et al. 2023, Zephyr: Direct Distillation of LM Alignment (rates by size)",
    "https://arxiv.org/abs/2310.16944",
)
_FEWEST_STEPS = 20


def check(case: Case) -> Diagnosis | None:
    """After enough updates the margin is still nothing and the loss where it began."""
    margin, loss = case.judged("rewards/margins"), case.judged("loss")
    expected = case.expected_first_loss
    if case.run.kind != "dpo" or len(margin) < 2 or len(loss) < 2 or expected is None:
        return None
    if margin.last_step < _FEWEST_STEPS or abs(loss.level - expected) > 0.02 or abs(margin.level) > 0.04:
        return None
    rate = case.rate
    return Diagnosis(
        "no learning",
        "the policy has hardly moved",
        "warning",
        f"After {margin.last_step} steps the margin is {margin.level:.2g} and the loss still {loss.level:.4f}: "
        "the policy ranks pairs as the reference does.",
        (
            margin.evidence("margin"),
            loss.evidence("loss"),
            *([Evidence("learning rate", rate)] if rate else []),
        ),
        Change(
            "--learning-rate", f"{rate * 5:.1g}" if rate else "1e-5", "five times more" if rate else "if it was lower"
        ),
        SOURCE,
    )
