"""The loss leaves for good, or is no number any more."""

from __future__ import annotations

import numpy as np

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation(
    "Rafailov et al. 2023, Direct Preference Optimization, appendix B (rates)", "https://arxiv.org/abs/2305.18290"
)
_WATCHED = ("loss", "grad_norm", "rewards/chosen", "rewards/rejected", "eval_loss")


def check(case: Case) -> Diagnosis | None:
    """Values that are not finite, or a loss that ends far above its lowest level."""
    change = Change("--learning-rate", case.slower(5), "a fifth, with a longer --warmup")
    lost = {name: steps for name in _WATCHED if (steps := case.metrics.not_finite.get(name))}
    if lost:
        name, steps = min(lost.items(), key=lambda item: item[1][0])
        return Diagnosis(
            "divergence",
            "numbers that are not finite",
            "fault",
            f"From step {min(steps)} on {name} is not a finite number {_times(len(steps))}; a policy saved after that "
            "is most likely ruined.",
            (Evidence(f"points of {name} are not finite, the first", len(steps), min(steps)),),
            change,
            SOURCE,
        )
    loss = case.train("loss")
    if len(loss) < 8:
        return None
    step, lowest = loss.best(-1)
    end = float(np.median(loss.tail(0.15)))
    start = max(float(np.median(loss.head(0.1))), case.expected_first_loss or 0.0)
    if end <= max(lowest + 0.3, 1.25 * start):
        return None
    return Diagnosis(
        "divergence",
        "the loss runs away",
        "fault",
        f"The loss climbs from about {lowest:.3g} near step {step} to about {end:.3g}, above where it began: "
        "the updates are too large for this policy.",
        (
            loss.best_evidence("lowest loss", -1),
            Evidence("loss", end, loss.last_step, f"median of the last {len(loss.tail(0.15))} logged points"),
            *([Evidence("learning rate", case.rate)] if case.rate else []),
        ),
        change,
        SOURCE,
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
