"""Fifty steps of each loss, number by number: a change of anything in the training core shows here.

The stored trace is `traces.json`; after a change that is meant, write it anew with
`python tests/training/test_traces.py` and say in the commit why it moved.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ids import id_rows
from tiny import tiny_weights
from transformers import TrainerCallback

from dpo.losses import LOSSES
from dpo.training.config import TrainConfig
from dpo.training.settings import make
from dpo.training.trainer import PreferenceTrainer
from dpo.training.trainer_arguments import trl_arguments

STORED = Path(__file__).with_name("traces.json")
STEPS = 50
FIRST = 10


class _Until(TrainerCallback):
    """Ends a training after so many steps of its schedule."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = state.global_step >= self.steps


def trace(family: str, loss: str, directory: Path, steps: int = STEPS) -> list[float]:
    """Training loss of the first steps, on tiny weights that depend on nothing but PyTorch's generator."""
    policy = tiny_weights(family)
    lengths = torch.randint(3, 14, (2, 64), generator=torch.Generator().manual_seed(5)).tolist()
    settings = {
        "loss_type": [loss], "batch_size": 8, "max_steps": STEPS, "learning_rate": 1e-3, "logging_steps": 1,
        "device": "cpu", "save_steps": 10**6, "warmup": 0.1, "epochs": 100,
        "label_smoothing": 0.01 if loss in ("exo_pair", "robust") else 0.0,
    }  # fmt: skip
    args = trl_arguments(make(TrainConfig, settings), str(directory), "fp32", False, False)
    args.save_strategy = "no"
    trainer = PreferenceTrainer(policy, copy.deepcopy(policy.network), args, id_rows(*lengths), None)
    trainer.add_callback(_Until(steps))
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("steps", [FIRST, pytest.param(STEPS, marks=pytest.mark.slow)])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_the_steps_are_what_they_were(family: str, loss: str, steps: int, tmp_path: Path) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))[family][loss]
    assert len(stored) == STEPS
    assert stored[0] != stored[FIRST - 1] and stored[0] != stored[-1]
    assert trace(family, loss, tmp_path, steps) == pytest.approx(stored[:steps], abs=1e-4, rel=1e-4)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        content = {
            family: {loss: [round(x, 7) for x in trace(family, loss, Path(scratch))] for loss in LOSSES}
            for family in ("t5", "gpt2")
        }
    STORED.write_text(json.dumps(content) + "\n", encoding="utf-8")
