"""The pairs are told apart completely: the loss has nothing left to say."""

from __future__ import annotations

import numpy as np

from dpo.runs.doctor.case import Case, JudgedCurve
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation(
    "Azar et al. 2023, A General Theoretical Paradigm (DPO overfits separable preferences), section 4.2",
    "https://arxiv.org/abs/2310.12036",
)


def check(case: Case) -> Diagnosis | None:
    """Accuracy at the ceiling and a loss near 0, on held-out pairs where there are any."""
    accuracy, loss = case.judged("rewards/accuracies"), case.judged("loss")
    if case.run.kind != "dpo" or len(accuracy) < 2 or len(loss) < 2:
        return None
    if not accuracy.held_out and len(accuracy) < 5:
        return None
    mean_of = "" if accuracy.held_out else f"mean of the last {len(accuracy.tail(0.3))} logged points"
    reached = float(np.mean(accuracy.tail(0.3))) if not accuracy.held_out else accuracy.last
    if reached < case.limits.saturated_accuracy or loss.level > case.limits.saturated_loss:
        return None
    since = _since(accuracy, case.limits.saturated_accuracy)
    where = "held-out" if accuracy.held_out else "training"
    return Diagnosis(
        "saturation",
        "the pairs are separated completely",
        "warning",
        f"From step {since} on every {where} pair is ranked right and the loss is down to {loss.level:.2g}: something "
        "easy tells chosen from rejected (style, emoji, length), and going on only pushes the policy further away.",
        (
            Evidence(f"{where} accuracy", reached, accuracy.last_step, mean_of),
            Evidence(f"{where} accuracy", float(accuracy.values[accuracy.steps >= since][0]), since),
            loss.evidence(f"{where} loss"),
        ),
        Change("--max-steps", str(max(since, 1)), "stop there, or --loss-type ipo, which has no reward for more"),
        SOURCE,
    )


def _since(accuracy: JudgedCurve, level: float) -> int:
    """The first step from which the (smoothed) accuracy stays at the level."""
    below = np.flatnonzero(accuracy.smooth < level)
    place = int(below[-1]) + 1 if len(below) else 0
    return int(accuracy.steps[min(place, len(accuracy) - 1)])
