"""Settings of a training of seconds, and what its record holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BASE: dict[str, Any] = {
    "dataset": "sample",
    "num_samples": 60,
    "eval_fraction": 0.1,
    "max_prompt_length": 40,
    "max_completion_length": 60,
    "batch_size": 4,
    "max_steps": 8,
    "logging_steps": 1,
    "eval_steps": 4,
    "save_steps": 4,
    "learning_rate": 3e-3,
    "probes": 2,
    "device": "cpu",
}
# For trainings by DPO whose KL nobody looks at: it is measured on answers, which take longer to write than a step.
WITHOUT_KL = BASE | {"kl_prompts": 0}
FAMILIES = ["t5", "gpt2"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, as the subprocesses of these tests do them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
