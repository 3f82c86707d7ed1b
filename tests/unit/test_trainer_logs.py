"""What Trainers leave beside the curves: settings, family, and whether they came to their end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from torch.utils.tensorboard import SummaryWriter

from dpo.cli.main import main
from dpo.runs import find_runs, open_run
from dpo.runs.trainer_logs import Logged

ARGUMENTS = {
    "beta": 0.25, "loss_type": ["sigmoid"], "learning_rate": 3e-4, "num_train_epochs": 3, "max_steps": -1,
    "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "logging_steps": 10, "fp16": False,
    "bf16": True, "lr_scheduler_type": "cosine", "hub_token": "<HUB_TOKEN>",
}  # fmt: skip
T5 = {"model_type": "t5", "is_encoder_decoder": True, "_name_or_path": "google/flan-t5-small"}


def trainer(
    output: Path, date: str, steps: int = 110, ended: bool = False, model: dict[str, Any] = T5, age: float = 1e6
) -> Path:
    """Event files as Trainer's callback writes them: 136 steps an epoch, 408 in all, epochs with two digits."""
    logs = output / "runs" / f"{date}_12-00-00_host"
    with SummaryWriter(str(logs)) as writer:
        writer.add_text("args", json.dumps(ARGUMENTS, indent=2))
        writer.add_text("model_config", json.dumps(model, indent=2))
        for step in range(10, steps + 1, 10):
            for name, value in (("loss", 1 / step), ("rewards/chosen", 0.1), ("epoch", round(step / 136, 2))):
                writer.add_scalar(f"train/{name}", value, step)
        if ended:
            writer.add_scalar("train/train_runtime", 12.0, steps)
    for file in logs.iterdir():
        os.utime(file, (os.path.getmtime(file) - age,) * 2)
    return logs


def test_settings_family_and_state_are_what_the_event_files_say(tmp_path: Path) -> None:
    logs = trainer(tmp_path / "dpo_ds302", "Dec05")
    for path in (logs, next(logs.iterdir())):  # a file alone says the same
        run = open_run(path)
        assert run.config == {
            "beta": 0.25, "loss_type": ["sigmoid"], "learning_rate": 3e-4, "epochs": 3, "batch_size": 4,
            "gradient_accumulation": 2, "logging_steps": 10, "schedule": "cosine", "precision": "bf16",
            "model": "google/flan-t5-small",
        }  # fmt: skip
        assert (run.family, run.state, run.progress) == ("seq2seq", "interrupted", {"step": 110, "max_steps": 408})
        assert run.info["reason"] == "the last one logged is step 110 of 408"
    assert main(["runs", "import", str(logs), "--output-dir", str(tmp_path / "mine")]) == 0
    kept = open_run(tmp_path / "mine" / "dpo_ds302")
    assert (kept.config, kept.family, kept.state, kept.progress) == (run.config, "seq2seq", "interrupted", run.progress)
    assert kept.info["reason"] == run.info["reason"] and kept.metrics().last("loss") == pytest.approx(1 / 110)


@pytest.mark.parametrize(
    ("steps", "ended", "age", "state"),
    [
        (400, False, 1e6, "interrupted"), (408, False, 1e6, "interrupted"), (408, True, 1e6, "finished"),
        (110, True, 1e6, "stopped"), (110, False, 0.0, "unknown"),
    ],
)  # fmt: skip
def test_a_run_is_finished_only_if_it_came_to_its_end(
    steps: int, ended: bool, age: float, state: str, tmp_path: Path
) -> None:
    # Logged every ten steps: 408 that did not end were seen up to 400.
    assert open_run(trainer(tmp_path / "a", "Dec05", steps, ended, {}, age)).state == state


def test_a_trainers_state_says_how_far_it_came(tmp_path: Path) -> None:
    states = {"cut": {"global_step": 5, "max_steps": 9}, "whole": {"global_step": 9, "max_steps": 9}, "odd": {}}
    for name, state in states.items():
        path = tmp_path / name / "checkpoint-5" / "trainer_state.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(state | {"train_batch_size": 2, "log_history": [{"step": 5, "loss": 0.5}]}))
        os.utime(path, (1e9, 1e9))
    found = {run.path.name: run for run in find_runs([tmp_path])}
    assert {name: run.state for name, run in found.items()} == {
        "cut": "interrupted", "whole": "finished", "odd": "unknown",
    }  # fmt: skip
    assert found["cut"].config == {"batch_size": 2} and found["cut"].progress == {"step": 5, "max_steps": 9}


def test_two_runs_of_one_output_directory_come_in_under_different_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "gpt2_DPO"
    first, second = trainer(output, "Dec05", model={}), trainer(output, "Dec06", 50, model={})
    target = ["--output-dir", str(tmp_path / "one")]
    assert main(["runs", "import", str(first), *target]) == main(["runs", "import", str(second), *target]) == 0
    together = ["--output-dir", str(tmp_path / "both")]
    assert main(["runs", "import", str(output), *together]) == 0  # the directory itself: what is below comes in
    for folder in ("one", "both"):
        steps = {run.name: run.metrics().steps[-1] for run in find_runs([tmp_path / folder])}
        assert steps == {"gpt2_DPO": 110, "gpt2_DPO-Dec06_12-00-00_host": 50}
    capsys.readouterr()
    assert main(["runs", "import", str(first), *target]) == 2
    assert "holds a run already" in (told := capsys.readouterr().err) and "--name" in told
    assert main(["doctor", str(output)]) == 2
    assert "holds 2 runs: name one of them" in capsys.readouterr().err
    assert main(["doctor", str(trainer(tmp_path / "lone", "Dec05", model={}).parent.parent)]) == 0
    assert capsys.readouterr().out.startswith("lone: 11 logged steps, up to step 110")


@pytest.mark.parametrize(
    ("epochs", "pairs", "total"),
    [
        (3, [(10, 0.07), (110, 0.81)], None), (3, [(20, 0.15), (70, 0.51), (110, 0.81)], 408), (1, [], None),
        (2, [(10, 0.5), (10, 0.1)], None), (2, [(1000, 1.0), (2000, 2.0)], None), (2, [(50, 1.0)], 100),
    ],
)  # fmt: skip
def test_the_total_is_told_only_where_it_is_certain(
    epochs: float, pairs: list[tuple[int, float]], total: int | None
) -> None:
    assert Logged({"num_train_epochs": epochs, "max_steps": -1}, epochs=tuple(pairs)).total == total
