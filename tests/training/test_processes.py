"""Several processes train like one: same losses, one record, one policy (two CPU processes over gloo)."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
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


def several(count: int) -> list[str]:
    """The start of a command that runs in `count` processes of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "--master-port", str(port)]


def launch(
    count: int, model: Path, out: Path, torchrun: bool = False, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Train in one process or several, which `torchrun` starts or the tests' fork server, with all that they print."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in (SETTINGS | settings).items()]
    words = ["train", f"--model={model}", f"--output-dir={out}", *flags]
    environment = os.environ | {"DPO_CACHE": str(out.with_name(f"{out.name}-cache"))}
    if not torchrun:
        return run_together(*words, count=count, env=environment) if count > 1 else run(*words, env=environment)
    return subprocess.run(
        [*several(count), "-m", "dpo", *words], capture_output=True, text=True, env=environment, timeout=280
    )


@pytest.mark.parametrize("family", [pytest.param("t5", marks=pytest.mark.slow), "gpt2"])
def test_two_processes_are_one_with_twice_the_batch(family: str, policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    # Seven pairs do not fill two processes' batches of four: one of them is measured twice and counts once.
    pairs = 8 if family == "t5" else 7
    one = launch(1, policy_dirs[family], tmp_path / "one", batch_size=4, max_eval_pairs=pairs)
    assert one.returncode == 0, one.stderr
    two = launch(2, policy_dirs[family], tmp_path / "two", family == "t5", batch_size=2, max_eval_pairs=pairs)
    assert two.returncode == 0, two.stderr
    rows = [rows_of(tmp_path / name) for name in ("one", "two")]
    assert len(rows[0]) == len(rows[1]) == SETTINGS["max_steps"] + 1  # written once
    for alone, together in zip(*rows, strict=True):
        assert alone.keys() == together.keys()
        for name in ("step", "examples", "tokens"):
            assert alone.get(name) == together.get(name)
        names = ["loss", "rewards/margins", "rewards/chosen", "eval_rewards/margins", "eval_logps/chosen", "eval_kl"]
        # The loss is a mean over batches; the pair that fills one up is in it.
        for name in names + ["eval_loss"] * (pairs == 8):
            assert together.get(name) == pytest.approx(alone.get(name), abs=1e-5), (alone["step"], name)
    runs = [open_run(tmp_path / name) for name in ("one", "two")]
    assert runs[1].state == "finished"
    assert runs[1].step_zero is not None and runs[1].step_zero["passed"]
    assert two.stdout.count("Policy: ") == 1 and "destroy_process_group() was not called" not in two.stderr
    prompts, answers = ["Do you like tea?"], ["I do!"]
    scores = [score(load_policy(str(run.path)), prompts, answers)[0] for run in runs]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)


@pytest.mark.slow
def test_two_processes_win_as_often_as_one(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    """The first process answers and asks the judge; the other waits and is told."""
    settings = {"eval_win_rate": 3, "eval_judge": "longer", "learning_rate": 1e-2, "kl_prompts": 0, "probes": 0,
                "max_steps": 2, "eval_steps": 2, "save_steps": 2}  # fmt: skip
    for name, count in (("one", 1), ("two", 2)):
        done = launch(count, policy_dirs["gpt2"], tmp_path / name, batch_size=4 // count, **settings)
        assert done.returncode == 0, done.stderr
    won = [
        {row["step"]: {key: row[key] for key in row if "win_rate" in key} for row in rows_of(tmp_path / name)}
        for name in ("one", "two")
    ]
    assert won[0] == won[1] and won[0][0]["eval_win_rate"] == 0.5 != won[0][2]["eval_win_rate"]
    assert open_run(tmp_path / "one").info["win_rate"] == open_run(tmp_path / "two").info["win_rate"]


def test_sharded_weights_score_like_whole_ones() -> None:
    """FSDP gathers a block's weights inside the block's forward pass only; the scoring head keeps to that."""
    found = run_together(str(Path(__file__).resolve().parent.parent / "helpers" / "sharded.py"), count=2)
    assert found.returncode == 0, found.stderr
    for family, differences in json.loads(found.stdout.splitlines()[-1]).items():
        assert differences["log_probs"] < 1e-5 and differences["gradients"] < 1e-5, family


@pytest.fixture(scope="module")
def whole(policy_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that two processes trained without a break."""
    out = tmp_path_factory.mktemp("processes") / "whole"
    done = launch(2, policy_dirs["gpt2"], out, batch_size=2)
    assert done.returncode == 0, done.stderr
    return out


def as_stopped(whole: Path, half: Path) -> None:
    """What a kill after the first checkpoint leaves of it."""
    shutil.copytree(whole, half)
    shutil.rmtree(half / "checkpoint-6")
    shutil.rmtree(half / "policy")
    path = half / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "stopped"}))


def test_two_processes_stop_and_resume_together(whole: Path, policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    as_stopped(whole, tmp_path / "half")
    resumed = launch(2, policy_dirs["gpt2"], tmp_path / "half", batch_size=2, resume=str(tmp_path / "half"))
    assert resumed.returncode == 0, resumed.stderr
    assert [row["loss"] for row in rows_of(tmp_path / "half")] == [row["loss"] for row in rows_of(whole)]


def test_another_number_of_processes_goes_on_with_the_same_pairs(
    whole: Path, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    as_stopped(whole, tmp_path / "half")
    resume = {"batch_size": 2, "resume": str(tmp_path / "half")}
    environment = os.environ | {"RANK": "0", "WORLD_SIZE": "3"}
    refused = run("train", f"--resume={tmp_path / 'half'}", env=environment, cwd=tmp_path)
    assert refused.returncode == 2
    assert "trains on 4 at a time (2 processes with 2 each), which 3 cannot share evenly" in refused.stderr
    resumed = launch(1, policy_dirs["gpt2"], tmp_path / "half", **resume)
    assert resumed.returncode == 0, resumed.stderr
    for before, after in zip(rows_of(whole), rows_of(tmp_path / "half"), strict=True):
        assert before["examples"] == after["examples"] and before["loss"] == pytest.approx(after["loss"], abs=1e-5)


def test_several_processes_need_a_named_directory(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    environment = os.environ | {"RANK": "0", "WORLD_SIZE": "2"}
    done = run("train", f"--model={policy_dirs['gpt2']}", "--device=cpu", env=environment, cwd=tmp_path)
    assert done.returncode == 2
    assert "add --output-dir" in done.stderr


def test_deepspeed_that_is_not_installed_is_one_line(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    if importlib.util.find_spec("deepspeed") is not None:
        pytest.skip("DeepSpeed is installed")
    environment = os.environ | {"ACCELERATE_USE_DEEPSPEED": "true"}
    done = run("train", f"--model={policy_dirs['gpt2']}", "--device=cpu", env=environment, cwd=tmp_path)
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    [line] = [line for line in done.stderr.splitlines() if line.startswith("dpo: ")]
    assert "pip install deepspeed" in line and "fsdp.yaml" in line
