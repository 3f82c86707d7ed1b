"""Trainings started for somebody: processes of their own, one at a time, with a queue on disk.

A job is a directory of files (`dpo.training.job_files`).  The queue is worked through by a process of
its own (`python -m dpo.training.jobs DIRECTORY`), so that a dashboard may be closed and opened again
while trainings go on and the next ones begin.  No torch here, and no dash.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from dpo.errors import BusyError, ConfigError, DpoError, RunError, StorageError
from dpo.files import write_json
from dpo.processes import identity, living, lock_is_held, start_python
from dpo.runs.files import reason
from dpo.runs.record import LOCK
from dpo.training.command_line import command
from dpo.training.config import CommonConfig
from dpo.training.job import TrainingJob, read_job, record_of
from dpo.training.job_files import (
    EXIT,
    JOB,
    LOG,
    PLAN,
    PROCESS,
    STOP,
    WORKER_LOCK,
    JobFiles,
    folders,
    process_of,
    queue_lock,
    read_files,
    tail,
    unwritable,
)
from dpo.training.sweep_plan import plan_of

FOLDER = ".jobs"  # within a directory of runs; a dot keeps it out of the list of runs
MOST_WAITING = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
SWEEP = "sweep.db"  # of `dpo sweep`, in the directory of its runs
_HANDOVER_SECONDS = 5.0
_PATIENCE_SECONDS = 10.0  # for another process that changes the queue
_WOKEN = ".woken"
_WAKE_SECONDS = 15.0  # a worker that was woken has its lock by then


def run_directory(root: Path, name: str) -> Path:
    """Where a run of that name goes: a folder of its own in `root`.

    Raises:
        ConfigError: not a plain folder name, or taken.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"The run's name is {name[:80]!r}: use letters, digits, dots, dashes and underscores, 80 at most"
        )
    if (root / name).exists():
        raise ConfigError(f"{root / name} exists already: give the run another name")
    return root / name


class Jobs:
    """The queue of a directory of runs."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.directory = self.root / FOLDER

    def submit(self, config: CommonConfig) -> TrainingJob:
        """Add a training to the queue; it begins when those before it have ended.

        Raises:
            BusyError: too many wait, or another program holds the queue.
            RunError: the same directory is being trained into, or waits to be.
            StorageError: the queue cannot be written.
        """
        target = Path(config.resume or config.output_dir or "")
        return self._add(target, command(config), config.resume is not None)

    def submit_command(self, arguments: Sequence[str], target: Path) -> TrainingJob:
        """Add another command of dpo that trains into `target`, such as `votes train`.

        Raises:
            BusyError, RunError, StorageError: as for `submit`.
        """
        return self._add(target, list(arguments), False)

    def submit_sweep(self, text: str) -> TrainingJob:
        """Add the sweep that a YAML text describes; the same one again goes on with it.

        Raises:
            ConfigError: what is wrong with the text.
            BusyError, RunError, StorageError: as for `submit`.
        """
        plan = plan_of(text, "The sweep", "sweep")
        target = self.root / plan.name
        begun = (target / SWEEP).exists() or self._has(target)  # its folder is there before its database is
        if target.exists() and not begun:
            raise ConfigError(f"{target} exists already: give the sweep another name")
        return self._add(target, ["sweep", "--dir", str(target)], (target / SWEEP).exists(), text, plan.trials)

    def _add(
        self, target: Path, asked: list[str], resumes: bool, plan: str | None = None, trials: int | None = None
    ) -> TrainingJob:
        ident = f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}"
        folder = self.directory / ident
        # Nobody adds the same directory between the look and the writing.
        with queue_lock(self.directory, _PATIENCE_SECONDS):
            before = [job for job in self.all() if not job.over]
            if len(before) >= MOST_WAITING:
                raise BusyError(f"{MOST_WAITING} trainings are waiting already: stop some of them first")
            if self._has(target):
                raise RunError(f"{target} is in the queue already: wait for it, or stop it first")
            try:
                folder.mkdir()  # never a queue behind the back of one that was just moved away
                if plan is not None:
                    (folder / PLAN).write_text(plan, encoding="utf-8")
                    asked = [*asked, "--config", str((folder / PLAN).resolve())]
                write_json(folder / JOB, {
                    "arguments": asked, "line": shlex.join(["dpo", *asked]), "run": str(target),
                    "created": time.time(), "resumes": resumes, "trials": trials, "cwd": os.getcwd(),
                })  # fmt: skip
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise unwritable(self.directory, error) from error
        self.work()
        return self.get(ident)

    def _has(self, target: Path) -> bool:
        """Whether a job on this directory waits or runs."""
        real = os.path.realpath(target)
        return any(os.path.realpath(job.run) == real for job in self.all() if not job.over)

    def work(self) -> None:
        """See to it that the queue is worked through, by a process that outlives this one.

        Raises:
            StorageError: the queue's directory is gone, or cannot be written.
        """
        try:
            with (self.directory / "queue.log").open("ab") as log:
                start_python(["-m", "dpo.training.jobs", str(self.directory)], log)
        except OSError as error:
            raise unwritable(self.directory, error) from error

    def wake(self) -> None:
        """Go on with a queue that nobody works through: after a restart of the machine, or a killed worker."""
        if lock_is_held(self.directory / WORKER_LOCK) or not any(job.state == "waiting" for job in self.all()):
            return
        woken = self.directory / _WOKEN
        # A queue that cannot be written is reported by whoever adds to it.
        with contextlib.suppress(OSError, StorageError):
            # One from the future was made before the clock was set back.
            if not woken.exists() or abs(time.time() - woken.stat().st_mtime) > _WAKE_SECONDS:
                woken.touch()
                self.work()

    def all(self) -> list[TrainingJob]:
        """Every job that is kept, oldest first."""
        return [job for path in folders(self.directory) if (job := read_job(path)) is not None]

    def get(self, ident: str) -> TrainingJob:
        """The job of that name.

        Raises:
            RunError: there is none.
        """
        for job in self.all():
            if job.ident == ident:
                return job
        raise RunError(f"There is no job {ident[:60]!r}: it was removed, or never begun")

    def stop(self, ident: str) -> TrainingJob:
        """Ask a training to finish its step, save and end; a waiting one never begins.

        Raises:
            RunError: no such job, or it is over.
            BusyError: another program holds the queue.
            StorageError: the queue cannot be written.
        """
        with queue_lock(self.directory, _PATIENCE_SECONDS):
            job = self.get(ident)
            if job.over:
                raise RunError(f"{job.run.name} is {job.state} already: there is nothing to stop")
            if job.state != "stopping":  # a second signal would end it without saving
                try:
                    (job.directory / STOP).touch()
                except OSError as error:
                    raise unwritable(self.directory, error) from error
                process = process_of(read_files(job.directory).begun) or _trainer(job.run)
                if process is not None:
                    process.send_signal(signal.SIGTERM)
        return self.get(ident)

    def forget(self, ident: str) -> None:
        """Take a job that is over from the list; its run stays.

        Raises:
            RunError: no such job, or it is not over.
        """
        job = self.get(ident)
        if not job.over:
            raise RunError(f"{job.run.name} is {job.state}: stop it first")
        shutil.rmtree(job.directory, ignore_errors=True)

    def log(self, ident: str, most: int = 16_384) -> str:
        """The end of what the training printed, a progress bar's line as it stands now.

        Raises:
            RunError: no such job.
        """
        return tail(self.get(ident).directory, most)


def _trainer(run: Path) -> psutil.Process | None:
    """The process that holds a run's directory, as its own record names it."""
    record = record_of(run) if lock_is_held(run / LOCK) else None
    pid = record.info.get("pid") if record is not None else None
    return living(pid) if pid is not None else None


def work(directory: Path) -> None:
    """Do the jobs of a queue one after the other until none waits; at once if somebody else does."""
    lock = FileLock(directory / WORKER_LOCK)
    try:
        # Another worker may just be leaving, having found the queue empty.
        lock.acquire(timeout=_HANDOVER_SECONDS)
    except Timeout:
        return
    with lock:
        for path in folders(directory):  # of a worker that was killed
            found = read_files(path)
            if found.asked and found.begun is not None and found.ended is None:
                _wait(found)
                _end(path, None)
        while (begun := _begin(directory)) is not None:
            _end(begun[0], begun[1].wait())


def _wait(found: JobFiles) -> None:
    """Until the training of a job ends, of which this process is not the parent."""
    process = process_of(found.begun)
    if process is not None:
        process.wait()
    elif found.asked and lock_is_held(Path(found.asked["run"]) / LOCK):  # its number is not known, but it lives
        with FileLock(Path(found.asked["run"]) / LOCK):
            return


def _end(path: Path, code: int | None, message: str | None = None) -> None:
    """Keep how a training ended: its run may go on later, as another job.  None: its exit code is not known."""
    asked = read_files(path).asked
    record = record_of(Path(asked["run"])) if asked else None
    ending = {"state": record.state, "reason": record.info.get("reason")} if record is not None and not message else {}
    write_json(path / EXIT, {"code": code, "time": time.time(), "message": message} | ending)


def _begin(directory: Path) -> tuple[Path, subprocess.Popen[bytes]] | None:
    """Start the oldest waiting job that can be started; None if there is none."""
    with queue_lock(directory):
        for path in folders(directory):
            job, asked = read_job(path), read_files(path).asked
            if job is None or job.state != "waiting" or not asked:
                continue
            try:
                with (path / LOG).open("ab") as log:
                    process = start_python(["-u", "-m", "dpo", *asked["arguments"]], log, asked["cwd"])
            except (OSError, ValueError) as error:
                # One job that cannot begin must not keep those behind it waiting.
                _end(path, 1, _not_begun(asked, error))
                continue
            try:
                write_json(path / PROCESS, identity(process.pid) | {"started": time.time()})
            except OSError:  # the disk is full: a training that nobody can find again must not go on
                process.terminate()
                process.wait()
                raise
            return path, process
    return None


def _not_begun(asked: dict[str, Any], error: Exception) -> str:
    if not os.path.isdir(asked["cwd"]):
        return f"It could not begin, its working directory {asked['cwd']} is gone: ask for it again"
    return f"It could not begin ({reason(error)}): ask for it again"


def main(argv: Sequence[str]) -> int:
    """Work through the queue in the directory named."""
    try:
        work(Path(argv[0]))
    except (DpoError, OSError) as error:
        print(f"The queue stands still: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
