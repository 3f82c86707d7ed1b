"""Over-optimisation: training goes on improving, held-out pairs do not."""

from __future__ import annotations

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation(
    "Rafailov et al. 2024, Scaling Laws for Reward Model Overoptimization in Direct Alignment Algorithms",
    "https://arxiv.org/abs/2406.02900",
)
_ROUNDING = 0.002  # of a loss


def check(case: Case) -> Diagnosis | None:
    """The held-out loss has turned up from its lowest point while the training loss went on falling."""
    held, train = case.held_loss, case.train("loss")
    if len(held) < 3 or len(train) < 3:
        return None
    step, lowest = held.best(-1)
    rise = held.last - lowest
    if step == held.last_step or rise < max(0.02, 0.08 * lowest):
        return None
    then = train.smooth[train.steps <= step]
    if not len(then) or train.level > float(then[-1]):
        return None  # both rise: that is divergence, not this
    return Diagnosis(
        "over-optimisation",
        "held-out pairs get worse",
        "warning",
        f"The held-out loss was lowest at step {step} ({lowest:.3g}) and is {held.last:.3g} now, while the training "
        f"loss fell on to {train.level:.3g}: what is learned after step {step} does not carry over.",
        (
            Evidence("lowest held-out loss", lowest, step),
            Evidence("held-out loss", held.last, held.last_step),
            train.evidence("training loss"),
        ),
        Change("--max-steps", str(step), "or more pairs, or a lower --learning-rate"),
        SOURCE,
    )


def unlearned(case: Case) -> Diagnosis | None:
    """The held-out loss ends above where it began: nothing that was learned carried over."""
    held = case.held_loss
    if len(held) < 2 or held.last <= held.first * (1 + _ROUNDING) or check(case) is not None:
        return None
    return Diagnosis(
        "held-out loss rises",
        "held-out answers get less likely" if case.run.kind != "dpo" else "held-out pairs get worse",
        "warning",
        f"The held-out loss went from {held.first:.4g} to {held.last:.4g}: what was learned so far does not carry "
        "over.",
        (
            Evidence("held-out loss", held.first, int(held.steps[0])),
            Evidence("held-out loss", held.last, held.last_step),
        ),
        Change("--learning-rate", case.slower(2), "half, or more steps if these were few; or more data"),
    )
