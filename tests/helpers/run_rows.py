"""Rows of a run's record, as a training logs them."""

from __future__ import annotations


def row(step: int, slope: float = 0.05) -> dict[str, float]:
    """Measures of one step, as TRL names them."""
    made = {
        "step": step, "epoch": step / 40, "examples": step * 4, "time": step * 0.5, "loss": 0.693147 - 0.01 * step,
        "rewards/chosen": slope * step, "rewards/rejected": -slope * step, "rewards/margins": 2 * slope * step,
        "rewards/accuracies": min(1.0, 0.5 + 0.03 * step), "logps/chosen": -100.0, "logps/rejected": -90.0,
        "learning_rate": 1e-4, "grad_norm": 1.0,
    }  # fmt: skip
    if step % 10 == 0:
        made |= {
            f"eval_{name}": made[name] for name in ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins")
        }
    return made
