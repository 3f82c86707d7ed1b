"""Fifty steps of each loss, number by number: a change of anything in the training core shows here.

The stored trace is `traces.json`; after a change that is meant, write it anew with
`python tests/training/test_traces.py` and say in the commit why it moved.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from ids import id_rows
from tiny import tiny_weights

from dpo.losses import LOSSES
from dpo.training.config import TrainConfig
from dpo.training.settings import make
from dpo.training.trainer import PreferenceTrainer
from dpo.training.trainer_arguments import trl_arguments

STORED = Path(__file__).with_name("traces.json")
STEPS = 50


def trace(family: str, loss: str, directory: Path) -> list[float]:
    """Training loss of every step, on tiny weights that depend on nothing but PyTorch's generator."""
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
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_fifty_steps_are_what_they_were(family: str, loss: str, tmp_path: Path) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))[family][loss]
    assert len(stored) == STEPS
    assert stored[0] != stored[-1]
    assert trace(family, loss, tmp_path) == pytest.approx(stored, abs=1e-4, rel=1e-4)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        content = {
            family: {loss: [round(x, 7) for x in trace(family, loss, Path(scratch))] for loss in LOSSES}
            for family in ("t5", "gpt2")
        }
    STORED.write_text(json.dumps(content) + "\n", encoding="utf-8")
