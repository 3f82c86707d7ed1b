"""Whole trainings whose weights are split over processes (FSDP, gloo) are those of one process, also when resumed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import run, run_together
from short_runs import rows_of

from dpo.policies.loading import load_policy
from dpo.policies.scoring import score
from dpo.runs import open_run

SETTINGS: dict[str, Any] = {
    "dataset": "sample", "num_samples": 60, "eval_fraction": 0.2, "max_eval_pairs": 8, "max_prompt_length": 40,
    "max_completion_length": 48, "max_steps": 6, "logging_steps": 1, "eval_steps": 3, "save_steps": 3,
    "learning_rate": 1e-3, "probes": 1, "kl_prompts": 2, "device": "cpu",
}  # fmt: skip
SHARDED = Path(__file__).resolve().parents[1] / "helpers" / "sharded_training.py"
MEASURES = ("loss", "rewards/margins", "rewards/chosen", "eval_loss", "eval_rewards/margins", "eval_logps/chosen")


def train(count: int, model: Path, out: Path, sharded: bool, *more: str) -> subprocess.CompletedProcess[str]:
    """Train in so many processes, with four pairs at a time over all of them."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    words = ["train", f"--model={model}", f"--output-dir={out}", f"--batch-size={4 // count}", *flags, *more]
    environment = os.environ | {"DPO_CACHE": str(out.with_name(f"{out.name}-cache"))}
    if sharded:
        found = run_together(str(SHARDED), *words, count=count, env=environment)
    else:
        found = run(*words, env=environment) if count == 1 else run_together(*words, count=count, env=environment)
    assert found.returncode == 0, found.stderr
    return found


def same_training(one: Path, other: Path) -> None:
    """Each row and the policy at the end are the same."""
    rows = [rows_of(path) for path in (one, other)]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    for alone, together in zip(*rows, strict=True):
        for name in MEASURES:
            assert together.get(name) == pytest.approx(alone.get(name), abs=1e-4), (alone["step"], name)
    scores = [score(load_policy(str(path)), ["Do you like tea?"], ["I do!"])[0] for path in (one, other)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-3)


def interrupted(whole: Path, half: Path) -> None:
    """`half` is what a kill after the first checkpoint of `whole` leaves."""
    shutil.copytree(whole, half)
    shutil.rmtree(half / "checkpoint-6")
    shutil.rmtree(half / "policy")
    path = half / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "stopped"}))


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_sharded_trainings_are_those_of_one_process(
    family: str, lora: bool, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    more = ["--lora"] if lora else []
    train(1, policy_dirs[family], tmp_path / "one", False, *more)
    train(2, policy_dirs[family], tmp_path / "two", True, *more)
    same_training(tmp_path / "one", tmp_path / "two")
    assert "eval_kl" not in rows_of(tmp_path / "two")[-1]  # or it was not sharded
    # On with the first checkpoint in four processes, of one pair each.
    interrupted(tmp_path / "two", tmp_path / "half")
    train(4, policy_dirs[family], tmp_path / "half", True, *more, f"--resume={tmp_path / 'half'}", "--batch-size=2")
    same_training(tmp_path / "one", tmp_path / "half")
    assert open_run(tmp_path / "half").state == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_four_processes_go_on_as_one_and_one_as_four(
    family: str, lora: bool, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    more = ["--lora"] if lora else []
    for name, count, later in (("one", 1, 4), ("four", 4, 1)):
        train(count, policy_dirs[family], tmp_path / name, False, *more)
        interrupted(tmp_path / name, tmp_path / f"{name}-half")
        again = [*more, f"--resume={tmp_path / f'{name}-half'}", f"--batch-size={4 // count}"]
        train(later, policy_dirs[family], tmp_path / f"{name}-half", False, *again)
        same_training(tmp_path / name, tmp_path / f"{name}-half")
    same_training(tmp_path / "one", tmp_path / "four")
