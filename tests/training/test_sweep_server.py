"""A sweep's database on a server; needs PostgreSQL's binaries and its driver (the extra `postgresql`)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import psutil
import pytest
import yaml
from commands import Command

from dpo.cli.main import main
from dpo.errors import StorageError
from dpo.runs import open_run
from dpo.training.sweep_storage import open_storage

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
WORKERS, KILLED, TRIALS = 8, 3, 8
SETTINGS = {
    "dataset": "sample", "num_samples": 40, "eval_fraction": 0.2, "max_eval_pairs": 2, "max_prompt_length": 40,
    "max_completion_length": 32, "max_steps": 2, "batch_size": 2, "eval_steps": 2, "save_steps": 2, "probes": 0,
    "kl_prompts": 0, "device": "cpu",
}  # fmt: skip
INITDB = shutil.which("initdb") or (str(FOUND[-1]) if FOUND else None)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    with pytest.raises(StorageError, match=r"driver for Python: pip install 'dpo-workbench\[postgresql\]'"):
        open_storage("postgresql+psycopg://user@127.0.0.1/sweeps")


@pytest.fixture
def server() -> Iterator[str]:
    """URL of an empty database on a PostgreSQL of its own."""
    pytest.importorskip("psycopg")
    if INITDB is None:
        pytest.skip("PostgreSQL is not on this machine")
    user: list[str] = []
    with contextlib.ExitStack() as after:
        # Not below tmp_path, which is its owner's alone: as root, PostgreSQL runs as another user.
        folder = Path(after.enter_context(tempfile.TemporaryDirectory(prefix="dpo-postgresql-")))
        if os.geteuid() == 0:  # PostgreSQL refuses to be root
            user = ["runuser", "-u", "postgres", "--"]
            shutil.chown(folder, "postgres")
            folder.chmod(0o755)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        control = [*user, str(Path(INITDB).with_name("pg_ctl")), "-D", str(folder / "data"), "-w"]
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
        subprocess.run([*user, INITDB, "-D", str(folder / "data"), "-A", "trust", "-U", "sweeper"], **quiet)  # type: ignore[call-overload]
        subprocess.run([*control, "-o", options, "-l", str(folder / "log"), "start"], **quiet)  # type: ignore[call-overload]
        after.callback(subprocess.run, [*control, "-m", "immediate", "stop"], **quiet)  # type: ignore[arg-type]
        yield f"postgresql+psycopg://sweeper@127.0.0.1:{port}/postgres"


def test_workers_that_begin_at_once_all_find_the_tables(server: str) -> None:
    line = "import sys; from dpo.training.sweep_storage import open_storage as o; o(sys.argv[1]).get_all_studies()"
    begun = [subprocess.Popen([sys.executable, "-c", line, server]) for _ in range(4)]
    assert [process.wait(120) for process in begun] == [0, 0, 0, 0]


def taken(storage: optuna.storages.BaseStorage) -> dict[int, psutil.Process]:
    """The trainings under way, by the number of their worker's process."""
    found = {}
    names = {study.study_name for study in optuna.get_all_study_summaries(storage)}
    for trial in optuna.load_study(study_name="betas", storage=storage).trials if "betas" in names else []:
        known = trial.user_attrs
        if trial.state == optuna.trial.TrialState.RUNNING and known.get("child"):
            try:
                found[known["worker"]["pid"]] = psutil.Process(known["child"]["pid"])
            except psutil.NoSuchProcess:
                continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_eight_workers_and_three_kills(
    server: str, policy_dirs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, directory = tmp_path / "betas.yaml", tmp_path / "sweep"
    betas = [round(0.05 * (number + 1), 2) for number in range(TRIALS)]
    plan = {"name": "betas", "method": "grid", "pruning": "none", "measure": "margin", "search": {"beta": betas}}
    config.write_text(yaml.safe_dump(plan | {"settings": SETTINGS | {"model": str(policy_dirs["gpt2"])}}))
    words = ["sweep", "--config", str(config), "--dir", str(directory), "--storage", server]
    storage = open_storage(server)
    workers = {(command := Command(*words)).pid: command for _ in range(WORKERS)}
    killed: set[int] = set()
    while len(killed) < KILLED and any(worker.poll() is None for worker in workers.values()):
        for number, training in taken(storage).items():
            if len(killed) < KILLED and number not in killed:
                killed.add(number)
                workers[number].send_signal(signal.SIGKILL)
                training.send_signal(signal.SIGKILL)
        time.sleep(0.2)
    printed = {number: worker.communicate(timeout=1200) for number, worker in workers.items()}
    assert all(workers[number].returncode == 0 for number in workers if number not in killed), printed
    assert "in the meantime" not in str(printed)  # no living worker's trial was settled by another
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    outcomes = json.loads(capsys.readouterr().out)
    assert sorted(outcome["params"]["beta"] for outcome in outcomes) == betas
    lost = [outcome for outcome in outcomes if outcome["state"] == "failed"]
    assert len(killed) == KILLED >= len(lost)
    assert all(any(f"process {number}" in outcome["reason"] for number in killed) for outcome in lost)
    for outcome in outcomes:
        if outcome not in lost:
            run = open_run(outcome["directory"])
            assert run.state == "finished" and run.config["beta"] == outcome["params"]["beta"]
            assert outcome["value"] == run.metrics().last("eval_rewards/margins")
