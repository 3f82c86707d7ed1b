"""Sweeps with real workers, real trainings and real kills."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import yaml
from commands import Command
from optuna.trial import Trial, TrialState
from short_runs import rows_of

from dpo.cli.main import main
from dpo.errors import ConfigError
from dpo.runs import find_runs, open_run
from dpo.training.sweep import Sweep, _process
from dpo.training.sweep_plan import SweepPlan, read_plan

SETTINGS: dict[str, Any] = {
    "dataset": "sample", "num_samples": 40, "eval_fraction": 0.2, "max_eval_pairs": 4, "max_prompt_length": 40,
    "max_completion_length": 32, "max_steps": 4, "batch_size": 2, "logging_steps": 1, "eval_steps": 1, "save_steps": 4,
    "probes": 0, "kl_prompts": 0, "device": "cpu",
}  # fmt: skip
_LIMIT = 280.0
pytestmark = pytest.mark.usefixtures("forked")


def write_plan(directory: Path, model: Path, **changed: Any) -> Path:
    content: dict[str, Any] = {
        "name": "rates", "method": "grid", "pruning": "none", "measure": "margin",
        "settings": SETTINGS | {"model": str(model)},
        "search": {"beta": [0.1, 0.3], "learning_rate": [1e-4, 1e-3, 3e-3]},
    }  # fmt: skip
    path = directory / "rates.yaml"
    path.write_text(yaml.safe_dump(content | changed))
    return path


def worker(config: Path, directory: Path) -> Command:
    return Command("sweep", "--config", str(config), "--dir", str(directory))


def until(what: Callable[[], Any]) -> Any:
    """What the function gives once it gives something."""
    end = time.monotonic() + _LIMIT
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def held_training(process: Command, directory: Path) -> psutil.Process | None:
    """The training a worker runs, held (SIGSTOP) after a first step and before its end."""
    assert process.poll() is None, process.communicate()[0]
    logged = [path.parent for path in directory.glob("*/metrics.jsonl") if path.read_bytes().count(b"\n") >= 2]
    if not logged:
        return None
    for trial in optuna.load_study(study_name="rates", storage=f"sqlite:///{directory / 'sweep.db'}").trials:
        known = trial.user_attrs
        if known.get("worker", {}).get("pid") == process.pid and Path(known.get("directory", "")) in logged:
            with contextlib.suppress(psutil.NoSuchProcess):
                training = psutil.Process(known["child"]["pid"])
                training.suspend()
                if open_run(known["directory"]).state == "running":
                    return training
                training.resume()
    return None


def test_four_trials_survive_the_kill_of_a_worker(
    policy_dirs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SETTINGS | {"model": str(policy_dirs["gpt2"]), "max_steps": 20, "eval_steps": 10, "save_steps": 20}
    search = {"beta": [0.1, 0.3], "learning_rate": [1e-3, 3e-3]}
    config = write_plan(tmp_path, policy_dirs["gpt2"], settings=settings, search=search)
    workers = [worker(config, tmp_path / "sweep") for _ in range(2)]
    training = until(lambda: held_training(workers[0], tmp_path / "sweep"))
    workers[0].send_signal(signal.SIGKILL)
    training.send_signal(signal.SIGKILL)
    said = "".join(workers[1].communicate(timeout=_LIMIT))
    workers[0].communicate(timeout=10)
    assert workers[1].returncode == 0, said
    capsys.readouterr()
    assert main(["sweep", "--config", str(config), "--dir", str(tmp_path / "sweep"), "--json"]) == 0  # all are over
    outcomes = json.loads(capsys.readouterr().out)
    assert [outcome["number"] for outcome in outcomes] == list(range(4))
    points = {(outcome["params"]["beta"], outcome["params"]["learning_rate"]) for outcome in outcomes}
    assert len(points) == 4
    assert sorted(outcome["state"] for outcome in outcomes) == ["failed", *["finished"] * 3]
    (lost,) = [outcome for outcome in outcomes if outcome["state"] == "failed"]
    assert f"process {workers[0].pid}" in lost["reason"]
    runs = find_runs([tmp_path / "sweep"])
    assert len(runs) == 4  # normal runs, one for each trial
    for outcome in outcomes:
        run = open_run(outcome["directory"])
        assert run.config["beta"] == outcome["params"]["beta"]
        if outcome["state"] == "finished":
            assert run.state == "finished"
            assert outcome["value"] == run.metrics().last("eval_rewards/margins")
            assert [row["step"] for row in rows_of(run.path)] == list(range(21))  # trained once


def opened(config: Path, directory: Path, said: list[str] | None = None) -> Sweep:
    plan: SweepPlan = read_plan(config)
    directory.mkdir(exist_ok=True)
    said = [] if said is None else said
    return Sweep(plan, directory, f"sqlite:///{directory / 'sweep.db'}", said.append)


def test_a_training_that_outlived_its_worker_counts(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    config = write_plan(tmp_path, policy_dirs["gpt2"], search={"beta": [0.1]})
    sweep = opened(config, tmp_path / "sweep")
    trial = sweep._take()
    assert isinstance(trial, Trial)
    assert sweep._take() is None  # nobody takes it twice
    directory = tmp_path / "sweep" / "rates-000"
    from dpo.runs import RunRecord

    record = RunRecord.create(directory, {"name": "rates-000", "kind": "dpo", "state": "finished"})
    record.log({"step": 4, "eval_rewards/margins": 0.25})
    gone = subprocess.Popen([sys.executable, "-c", ""])
    known = _process(gone.pid)
    trial.set_user_attr("directory", str(directory))
    sweep._settle()  # this worker lives: not touched
    assert sweep.outcomes()[0].state == "running"
    gone.wait()
    trial.set_user_attr("worker", known | {"beat": 0})
    trial.set_user_attr("child", known)
    assert [(outcome.state, outcome.value) for outcome in sweep.run()] == [("finished", 0.25)]


def test_a_bad_trial_is_pruned_and_a_stopped_sweep_goes_on(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    long = SETTINGS | {"model": str(policy_dirs["gpt2"]), "max_steps": 200}
    config = write_plan(
        tmp_path, policy_dirs["gpt2"], pruning="median", settings=long, search={"learning_rate": [1e-8, 2e-8, 1e-9]}
    )
    sweep = opened(config, tmp_path / "sweep")
    study = sweep._study()
    for number in (0, 1):  # two earlier trials, far better at every step
        trial = sweep._take()
        assert trial is not None
        sweep._draw(trial)
        for step in range(1, 201):
            trial.report(5.0, step)
        study.tell(trial, 5.0)
        assert trial.number == number
    process = worker(config, tmp_path / "sweep")
    said = "".join(process.communicate(timeout=_LIMIT))
    assert process.returncode == 0, said
    outcome = sweep.outcomes()[2]
    assert outcome.state == "pruned", said
    run = open_run(outcome.directory or "")
    assert run.state == "stopped"
    assert run.metrics().steps[-1] < 200


def test_ctrl_c_gives_the_trial_back(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    long = SETTINGS | {"model": str(policy_dirs["gpt2"]), "max_steps": 60, "eval_steps": 20, "save_steps": 20}
    config = write_plan(tmp_path, policy_dirs["gpt2"], settings=long, search={"beta": [0.1]})
    first = worker(config, tmp_path / "sweep")
    training = until(lambda: held_training(first, tmp_path / "sweep"))
    first.send_signal(signal.SIGINT)
    training.resume()
    said = "".join(first.communicate(timeout=_LIMIT))
    assert first.returncode == 130, said
    sweep = opened(config, tmp_path / "sweep")
    assert sweep._count(TrialState.WAITING) == 1
    (outcome,) = sweep.run()
    assert outcome.state == "finished"
    steps = [row["step"] for row in rows_of(Path(outcome.directory or ""))]
    assert steps == list(range(61))
    assert json.loads((Path(outcome.directory or "") / "run.json").read_text())["state"] == "finished"


def test_another_plan_of_one_name_is_refused(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    opened(write_plan(tmp_path, policy_dirs["gpt2"]), tmp_path / "sweep")
    with pytest.raises(ConfigError, match="began with another .*search"):
        opened(write_plan(tmp_path, policy_dirs["gpt2"], search={"beta": [0.2, 0.3]}), tmp_path / "sweep")
