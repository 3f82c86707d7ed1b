"""Where a run stands: its newest loss, margin and accuracy, and which pairs they are of."""

from __future__ import annotations

from dataclasses import dataclass

from dpo.runs.metrics import Metrics

HELD_OUT, TRAINING = "held out", "training"


@dataclass(frozen=True)
class Newest:
    """All three of the same pairs; `over` is `HELD_OUT`, `TRAINING`, or None where nothing was logged.

    The held-out loss of supervised fine-tuning is that of the chosen answers, which it learns.
    """

    loss: float | None
    margin: float | None
    accuracy: float | None
    over: str | None


def newest(metrics: Metrics) -> Newest:
    """The newest held-out measures, or those of the training batches where nothing was held out."""
    loss = metrics.last("eval_loss")
    held_out = (
        loss if loss is not None else metrics.last("eval_chosen_loss"),
        metrics.last("eval_rewards/margins"),
        metrics.last("eval_rewards/accuracies"),
    )
    if any(value is not None for value in held_out):
        return Newest(*held_out, HELD_OUT)
    training = metrics.last("loss"), metrics.last("rewards/margins"), metrics.last("rewards/accuracies")
    return Newest(*training, TRAINING if any(value is not None for value in training) else None)
