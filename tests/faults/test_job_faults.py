"""The queue goes on whatever lies in it, and who lives is known by more than a number."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from flask import Flask
from queues import put, until, worker_lock_held

from dpo.dashboard.training import jobs_api
from dpo.dashboard.workbench import Workbench
from dpo.errors import BusyError, RunError, StorageError
from dpo.processes import identity, living, lock_is_held
from dpo.runs import RunRecord, open_run
from dpo.training.config import TrainConfig
from dpo.training.jobs import Jobs, work

HOLDS = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def test_a_job_that_cannot_begin_fails_with_its_reason_and_the_next_goes_on(tmp_path: Path) -> None:
    queue = Jobs(tmp_path)
    gone = put(queue, "1-a", ["runs", "list"], tmp_path / "a")
    asked = json.loads((gone / "job.json").read_text())
    (gone / "job.json").write_text(json.dumps(asked | {"cwd": str(tmp_path / "nowhere")}))
    log = put(queue, "2-b", ["runs", "list"], tmp_path / "b")
    (log / "log.txt").mkdir()
    put(queue, "3-c", ["runs", "list", "--runs", str(tmp_path)], tmp_path / "c")
    work(queue.directory)
    assert [job.state for job in queue.all()] == ["failed", "failed", "finished"]
    assert f"its working directory {tmp_path / 'nowhere'} is gone" in (queue.get("1-a").message or "")
    assert "It could not begin" in (queue.get("2-b").message or "")


@pytest.mark.parametrize(
    ("name", "content", "state"),
    [
        ("job.json", "", "damaged"), ("job.json", "{}", "damaged"), ("job.json", "[]", "damaged"),
        ("job.json", "[" * 100_000, "damaged"), ("job.json", '{"created": "x"}', "damaged"),
        ("job.json", None, "damaged"), ("process.json", "{}", "interrupted"), ("process.json", "\0", "interrupted"),
        ("process.json", '{"pid": "x", "born": 1, "started": 1}', "interrupted"),
        ("process.json", '{"pid": 1e999}', "interrupted"), ("exit.json", "{}", "interrupted"),
        ("exit.json", '{"code": "x"}', "interrupted"),
    ],
)  # fmt: skip
def test_a_damaged_file_stops_neither_the_list_nor_the_queue(
    name: str, content: str | None, state: str, tmp_path: Path
) -> None:
    queue = Jobs(tmp_path)
    bad = put(queue, "1-a", ["runs", "list"], tmp_path / "a")
    if name == "exit.json":
        (bad / "process.json").write_text(json.dumps({"pid": 2**22 + 1, "born": 1.0, "started": 1.0}))
    (bad / name).unlink(missing_ok=True)
    if content is None:
        os.mkfifo(bad / name)
    else:
        (bad / name).write_text(content)
    put(queue, "2-b", ["sample-of-nothing"], tmp_path / "b")
    queue.stop("2-b")
    work(queue.directory)
    assert [job.state for job in queue.all()] == [state, "cancelled"]
    assert json.dumps([job.record() for job in queue.all()])
    queue.forget("1-a")
    assert [job.ident for job in queue.all()] == ["2-b"]


def test_looking_at_the_queue_wakes_a_worker_that_was_killed(tmp_path: Path) -> None:
    queue = Jobs(tmp_path)
    server = Flask("test")
    jobs_api.register(server, Workbench([tmp_path]))
    put(queue, "1-a", ["no-command"], tmp_path / "a")
    worker = subprocess.Popen([sys.executable, "-c", HOLDS, str(queue.directory / ".worker.lock")],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert worker.stdout is not None and worker.stdout.readline() == b"held\n"
    client = server.test_client()
    assert client.get("/api/jobs").json["jobs"][0]["state"] == "waiting"  # somebody works already: nobody is begun
    assert not (queue.directory / "queue.log").exists()
    worker.kill()
    worker.wait()
    until(lambda: client.get("/api/jobs").json["jobs"][0]["state"] == "failed")
    until(lambda: not worker_lock_held(queue))


def test_of_many_that_ask_for_one_directory_at_once_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Jobs, "work", lambda self: None)  # nobody works: the first one would wait
    barrier, answers = threading.Barrier(8), list[str]()

    def ask() -> None:
        barrier.wait()
        try:
            answers.append(Jobs(tmp_path).submit(TrainConfig(output_dir=str(tmp_path / "a"))).state)
        except RunError as error:
            answers.append(str(error).partition(" is ")[2])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["in the queue already: wait for it, or stop it first"] * 7 + ["waiting"]


def test_a_queue_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / ".jobs").write_text("x")
    queue = Jobs(tmp_path)
    assert queue.all() == []
    with pytest.raises(StorageError, match="cannot be written"):
        queue.submit(TrainConfig(output_dir=str(tmp_path / "a")))


def test_a_queue_that_another_program_holds_says_so_and_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpo.training.jobs._PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(Jobs, "work", lambda self: None)  # nobody begins what is only asked for
    queue = Jobs(tmp_path)
    first = queue.submit(TrainConfig(output_dir=str(tmp_path / "a")))
    with FileLock(queue.directory / ".queue.lock"):
        for ask in (lambda: queue.submit(TrainConfig(output_dir=str(tmp_path / "b"))), lambda: queue.stop(first.ident)):
            with pytest.raises(BusyError, match=r"holds the queue in .*\.jobs .*: nothing was changed, try again"):
                ask()
        assert [job.state for job in queue.all()] == ["waiting"]
    assert queue.submit(TrainConfig(output_dir=str(tmp_path / "b"))).state == "waiting"
    assert queue.stop(first.ident).state == "cancelled" and len(queue.all()) == 2


@pytest.mark.parametrize("step", ["_has", "work"])
def test_a_queue_that_is_moved_away_while_something_is_added_says_so(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its job is written, and after: what was added comes back with it, and nothing stands in its way."""
    root, away = tmp_path / "runs", tmp_path / "away"
    queue = Jobs(root)
    with monkeypatch.context() as during:
        during.setattr(Jobs, "work", lambda self: None)
        first = queue.submit(TrainConfig(output_dir=str(root / "a")))
    done = getattr(Jobs, step)

    def moved(self: Jobs, *given: Path) -> bool | None:
        root.rename(away)
        return done(self, *given)

    monkeypatch.setattr(Jobs, step, moved)
    with pytest.raises(
        StorageError, match=r"\.jobs cannot be written \(No such file or directory\): bring it back"
    ) as told:
        queue.submit(TrainConfig(output_dir=str(root / "b")))
    assert "\n" not in str(told.value) and not root.exists() and queue.all() == []
    away.rename(root)
    assert [job.run.name for job in queue.all()] == (["a"] if step == "_has" else ["a", "b"])
    assert queue.get(first.ident).state == "waiting"


def test_who_lives_is_known_by_number_and_start(sleeper: subprocess.Popen[bytes]) -> None:
    known = identity(sleeper.pid)
    assert living(**known) is not None
    # Both times move when the clock is set: the process is the same.
    assert living(sleeper.pid, known["born"] - 3600, known["boot"] - 3600) is not None
    assert living(sleeper.pid, known["born"] - 3600, known["boot"]) is None  # an earlier one of that number
    assert living(sleeper.pid, 1.0) is None and living(2**22 + 1) is None and living(-5) is None
    sleeper.kill()
    # Killed and not reaped: the number is still there, the process is not.
    until(lambda: psutil.Process(sleeper.pid).status() == psutil.STATUS_ZOMBIE)
    assert living(**known) is None


def test_a_run_trains_while_it_holds_its_lock(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    here = {"state": "running", "host": socket.gethostname()}
    RunRecord.create(tmp_path / "run", here | {"pid": sleeper.pid})
    run = open_run(tmp_path / "run")
    assert run.state == "running"  # no lock at all: the number must do
    trainer = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path / "run" / ".lock")],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert trainer.stdout is not None and trainer.stdout.readline() == b"held\n"
    assert lock_is_held(tmp_path / "run" / ".lock") and run.state == "running"
    os.kill(trainer.pid, signal.SIGKILL)
    until(lambda: psutil.Process(trainer.pid).status() == psutil.STATUS_ZOMBIE)
    # Another process has its number by now, and nobody has reaped it yet: it is gone all the same.
    assert run.state == "interrupted" and sleeper.poll() is None
    trainer.wait()
    with FileLock(tmp_path / "run" / ".lock", timeout=0):  # whoever looked let it go
        assert run.state == "running"
