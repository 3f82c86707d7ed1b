"""Sweeps with real workers, real trainings and real kills."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
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
from dpo.training.sweep import Sweep
from dpo.training.sweep_plan import SweepPlan, read_plan
from dpo.training.sweep_workers import placed

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
    known = placed(gone.pid)
    trial.set_user_attr("directory", str(directory))
    sweep._settle()  # this worker lives: not touched
    assert sweep.outcomes()[0].state == "running"
    gone.wait()
    trial.set_user_attr("worker", known | {"beat": 0})
    trial.set_user_attr("child", known)
    assert [(outcome.state, outcome.value) for outcome in sweep.run()] == [("finished", 0.25)]


def test_two_workers_settle_one_lost_trial_without_a_lock(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    config = write_plan(tmp_path, policy_dirs["gpt2"], search={"beta": [0.1]})
    said: list[str] = []
    # With the driver named there is no lock around a worker's look and its entry, as on a server.
    address = f"sqlite+pysqlite:///{tmp_path / 'sweep.db'}"
    first, second = (Sweep(read_plan(config), tmp_path / "sweep", address, said.append) for _ in range(2))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    known = placed(gone.pid) | {"beat": 0}
    gone.wait()
    trial = first._take()
    assert trial is not None
    trial.set_user_attr("worker", known)
    opened_study = first._study
    times = 0

    def late() -> optuna.Study:
        nonlocal times
        times += 1
        if times == 2:  # it has looked twice and noted the reason, and is about to enter the outcome
            second._settle()
        return opened_study()

    first._study = late  # type: ignore[method-assign, assignment]
    first._settle()
    assert times == 2
    assert said == ["Trial 1, whose worker is gone: failed"]
    assert first.outcomes()[0].reason == f"lost: its worker (process {gone.pid} on {known['host']}) is gone"


def test_a_living_worker_is_not_taken_for_dead(
    policy_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_plan(tmp_path, policy_dirs["gpt2"], search={"beta": [0.1]})
    said: list[str] = []
    one, other = opened(config, tmp_path / "sweep", said), opened(config, tmp_path / "sweep", said)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    known = placed(gone.pid)
    gone.wait()
    trial = one._take()
    assert trial is not None
    # A container beside this one, with its host's name: what has that number there cannot be asked here.
    trial.set_user_attr("worker", known | {"namespace": 1, "beat": 0})
    for _ in range(2):
        other._settle()
    assert one.outcomes()[0].state == "running"
    # Its training saves for long after Ctrl-C: the worker signs on.
    monkeypatch.setattr("dpo.training.sweep._BEAT", 0.0)
    monkeypatch.setattr("dpo.training.sweep._POLL", 0.01)
    line = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None
    child.stdout.readline()
    saving = threading.Thread(target=one._give_back, args=(trial, child, tmp_path / "sweep" / "rates-000"))
    saving.start()
    signs = set()

    def signs_on() -> bool:
        (running,) = other._study().trials
        signs.add(running.user_attrs["worker"]["beat"])
        return len(signs) >= 3

    until(signs_on)
    child.communicate(b"\n", timeout=_LIMIT)
    saving.join(_LIMIT)
    assert other.outcomes()[0].state == "waiting"
    # One without a sign of life for STALE is given up; a sign that comes too late is no trace-back.
    trial = one._take()
    assert trial is not None
    trial.set_user_attr("worker", known | {"namespace": 1, "beat": 0})
    monkeypatch.setattr("dpo.training.sweep.STALE", -1.0)
    for _ in range(2):
        other._settle()
    assert other.outcomes()[0].state == "failed"
    one._note(trial, "worker", known)
    one._give_back(trial, child, tmp_path / "sweep" / "rates-000")
    assert said[-1].startswith("  another worker settled trial 1 in the meantime (lost: its worker (process ")


def test_a_worker_whose_trial_was_settled_goes_on(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    short = SETTINGS | {"model": str(policy_dirs["gpt2"]), "max_steps": 2, "eval_steps": 2, "save_steps": 2}
    config = write_plan(tmp_path, policy_dirs["gpt2"], settings=short, search={"beta": [0.1, 0.3]})
    other = opened(config, tmp_path / "sweep")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("Trial 1 of 2"):  # as after two minutes in which this worker was suspended
            study = other._study()
            study._storage.set_trial_user_attr(study.trials[0]._trial_id, "reason", "lost: its worker is gone")
            study.tell(0, state=TrialState.FAIL)

    outcomes = Sweep(read_plan(config), tmp_path / "sweep", f"sqlite:///{tmp_path / 'sweep' / 'sweep.db'}", say).run()
    assert [outcome.state for outcome in outcomes] == ["failed", "finished"]
    assert [open_run(outcome.directory or "").state for outcome in outcomes] == ["finished", "finished"]
    assert said[1] == (
        "  another worker settled trial 1 in the meantime (lost: its worker is gone): "
        f"not entered; its run stays in {outcomes[0].directory}"
    )


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
