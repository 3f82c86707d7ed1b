"""Begin and resume trainings as a user does, in forked children."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import fork

import dpo.training.recipes.dpo  # noqa: F401 (loaded once, for all children)
from dpo.cli.main import main
from dpo.preferences.audit.language import language_of

SETTINGS: dict[str, Any] = {
    "dataset": "sample", "num_samples": 24, "eval_fraction": 0.25, "max_prompt_length": 24,
    "max_completion_length": 24, "batch_size": 2, "max_steps": 6, "logging_steps": 2, "eval_steps": 3,
    "save_steps": 2, "learning_rate": 3e-3, "probes": 1, "kl_prompts": 1, "device": "cpu",
}  # fmt: skip
Start = Callable[[Path], Callable[[], int]]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Forked children cannot use threads of the parent, and sums must have one order."""
    language_of(
        "Do you like tea, or would you rather have a cup of coffee?"
    )  # its model is read once, for all children
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def starting(model: Path, verb: str = "train", **settings: Any) -> Start:
    """What begins a training into a directory."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in (SETTINGS | settings).items()]
    flags = [flag.removesuffix("=True") for flag in flags]

    def start(out: Path) -> Callable[[], int]:
        return functools.partial(main, [verb, f"--model={model}", f"--output-dir={out}", *flags])

    return start


def go_on(out: Path, start: Start, log: Path, verb: str = "train") -> int:
    """Resume as a user would: begin again where there is no record yet, do nothing where the run is finished."""
    if not (out / "run.json").exists():
        return fork(start(out), log)
    if json.loads((out / "run.json").read_text())["state"] == "finished":
        return 0
    return fork(functools.partial(main, [verb, "--resume", str(out)]), log)
