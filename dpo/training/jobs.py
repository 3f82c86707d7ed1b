"""Trainings started for somebody: processes of their own, one at a time, with a queue on disk.

A job is a directory that holds what was asked (`job.json`), then the process that does it
(`process.json`), what it prints (`log.txt`) and how it ended (`exit.json`).  The queue is worked
through by a process of its own (`python -m dpo.training.jobs DIRECTORY`), so that a dashboard may be
closed and opened again while trainings go on and the next ones begin.  No torch here, and no dash.
"""

from __future__ import annotations

import json
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from dpo.errors import BusyError, ConfigError, RunError, StorageError
from dpo.runs import Run, open_run
from dpo.runs.record import RUN
from dpo.training.config import CommonConfig
from dpo.training.flags import command
from dpo.training.plan import plan_of

FOLDER = ".jobs"  # within a directory of runs; a dot keeps it out of the list of runs
MOST_WAITING = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_JOB, _PROCESS, _EXIT, _LOG, _STOP, _PLAN = "job.json", "process.json", "exit.json", "log.txt", "stop", "sweep.yaml"
SWEEP = "sweep.db"  # of `dpo sweep`, in the directory of its runs
_HANDOVER_SECONDS = 5.0


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


@dataclass(frozen=True)
class Job:
    """One training that was asked for, as far as it is.

    `state` is `waiting`, `running`, `stopping`, `finished`, `stopped`, `failed`, `cancelled` (never
    begun, or ended before its first step) or `interrupted` (its process is gone without a word).
    """

    ident: str
    directory: Path
    run: Path
    line: str
    created: float
    state: str
    resumes: bool
    message: str | None = None
    started: float | None = None
    trials: int | None = None  # of a sweep

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in ("waiting", "running", "stopping")

    def record(self) -> dict[str, Any]:
        """What a page shows of it: names, state, progress (steps) and the time that is left (seconds)."""
        done, most, left = self.progress()
        return {
            "job": self.ident, "name": self.run.name, "run": str(self.run), "line": self.line, "state": self.state,
            "message": self.message, "step": done, "max_steps": most, "left": left, "resumes": self.resumes,
            "resumable": self.over and self._can_go_on(), "trials": self.trials,
        }  # fmt: skip

    def progress(self) -> tuple[int, int | None, float | None]:
        """Steps done, steps in all, and seconds left at the pace so far (None before it is known)."""
        if self.trials is not None:
            runs = [run for path in self.run.glob("*/") if (run := _run(path)) is not None]
            return sum(run.state in ("finished", "failed") for run in runs), self.trials, None
        run = _run(self.run)
        if run is None:
            return 0, None, None
        done, most = int(run.progress.get("step") or 0), run.progress.get("max_steps")
        if not isinstance(most, int) or self.state not in ("running", "stopping"):
            return done, most if isinstance(most, int) else None, None
        seconds = float(run.progress.get("seconds") or 0.0)
        return done, most, seconds / done * (most - done) if done > 0 and seconds > 0 else None


    def plan(self) -> str:
        """The YAML text of a sweep.

        Raises:
            RunError: it is a single training, or its file is gone.
        """
        try:
            return (self.directory / _PLAN).read_text(encoding="utf-8")
        except OSError as error:
            raise RunError(f"{self.run.name} has no plan of a sweep ({error.strerror}): begin it anew") from error

    def _can_go_on(self) -> bool:
        return resumable(self.run) if self.trials is None else self.state in ("stopped", "interrupted")


class Jobs:
    """The queue of a directory of runs."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.directory = self.root / FOLDER

    def submit(self, config: CommonConfig) -> Job:
        """Add a training to the queue; it begins when those before it have ended.

        Raises:
            BusyError: too many wait.
            RunError: the same directory is being trained into, or waits to be.
            StorageError: the queue cannot be written.
        """
        target = Path(config.resume or config.output_dir or "")
        return self._add(target, command(config), config.resume is not None)

    def submit_sweep(self, text: str) -> Job:
        """Add the sweep that a YAML text describes; the same one again goes on with it.

        Raises:
            ConfigError: what is wrong with the text.
            BusyError, RunError, StorageError: as for `submit`.
        """
        plan = plan_of(text, "The sweep", "sweep")
        target = self.root / plan.name
        if target.exists() and not (target / SWEEP).exists():
            raise ConfigError(f"{target} exists already: give the sweep another name")
        return self._add(target, ["sweep", "--dir", str(target)], (target / SWEEP).exists(), text, plan.trials)

    def _add(
        self, target: Path, asked: list[str], resumes: bool, plan: str | None = None, trials: int | None = None
    ) -> Job:
        before = [job for job in self.all() if not job.over]
        if len(before) >= MOST_WAITING:
            raise BusyError(f"{MOST_WAITING} trainings are waiting already: stop some of them first")
        if any(job.run.resolve() == target.resolve() for job in before):
            raise RunError(f"{target} is in the queue already: wait for it, or stop it first")
        ident = f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}"
        folder = self.directory / ident
        try:
            folder.mkdir(parents=True)
            if plan is not None:
                (folder / _PLAN).write_text(plan, encoding="utf-8")
                asked = [*asked, "--config", str((folder / _PLAN).resolve())]
            content = {
                "arguments": asked, "line": shlex.join(["dpo", *asked]), "run": str(target), "created": time.time(),
                "resumes": resumes, "trials": trials, "cwd": os.getcwd(),
            }  # fmt: skip
            _write(folder / _JOB, content)
        except OSError as error:
            raise StorageError(
                f"{self.directory} cannot be written ({error.strerror}): choose another --runs directory"
            ) from error
        self.work()
        return self.get(ident)

    def work(self) -> None:
        """See to it that the queue is worked through, by a process that outlives this one."""
        with (self.directory / "queue.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "dpo.training.jobs", str(self.directory)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def wake(self) -> None:
        """Go on with a queue that was left waiting, after a restart of the machine."""
        if any(job.state == "waiting" for job in self.all()):
            self.work()

    def all(self) -> list[Job]:
        """Every job that is kept, oldest first."""
        return [job for path in _folders(self.directory) if (job := _read(path)) is not None]

    def get(self, ident: str) -> Job:
        """The job of that name.

        Raises:
            RunError: there is none.
        """
        for job in self.all():
            if job.ident == ident:
                return job
        raise RunError(f"There is no job {ident[:60]!r}: it was removed, or never begun")

    def stop(self, ident: str) -> Job:
        """Ask a training to finish its step, evaluate, save and end; a waiting one never begins.

        Raises:
            RunError: no such job, or it is over.
        """
        with _lock(self.directory):
            job = self.get(ident)
            if job.over:
                raise RunError(f"{job.run.name} is {job.state} already: there is nothing to stop")
            if job.state != "stopping":  # a second signal would end it without saving
                (job.directory / _STOP).touch()
                process = _process(job.directory)
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
        return _tail(self.get(ident).directory, most)


def resumable(path: Path) -> bool:
    """Whether `--resume` can go on with the run in `path`."""
    run = _run(path)
    return run is not None and bool(run.config) and run.state in ("stopped", "failed", "interrupted")


def work(directory: Path) -> None:
    """Do the jobs of a queue one after the other until none waits; at once if somebody else does."""
    lock = FileLock(directory / ".worker.lock")
    try:
        # Another worker may just be leaving, having found the queue empty.
        lock.acquire(timeout=_HANDOVER_SECONDS)
    except Timeout:
        return
    with lock:
        for path in _folders(directory):  # of a worker that was killed
            if (path / _PROCESS).exists() and not (path / _EXIT).exists():
                process = _process(path)
                if process is not None:
                    process.wait()
                _end(path, None)
        while (begun := _begin(directory)) is not None:
            _end(begun[0], begun[1].wait())


def _end(path: Path, code: int | None) -> None:
    """Keep how a training ended: its run may go on later, as another job.  None: its exit code is not known."""
    asked = _json(path / _JOB)
    record = _run(Path(asked["run"])) if asked is not None else None
    kept = {"state": record.state, "reason": record.info.get("reason")} if record is not None else {}
    _write(path / _EXIT, {"code": code, "time": time.time()} | kept)


def _begin(directory: Path) -> tuple[Path, subprocess.Popen[bytes]] | None:
    """Start the oldest waiting job; None if there is none."""
    with _lock(directory):
        for path in _folders(directory):
            job = _read(path)
            if job is None or job.state != "waiting":
                continue
            asked = json.loads((path / _JOB).read_text(encoding="utf-8"))
            with (path / _LOG).open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-u", "-m", "dpo", *asked["arguments"]],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=asked["cwd"],
                    start_new_session=True,
                )  # fmt: skip
            born = psutil.Process(process.pid).create_time()
            _write(path / _PROCESS, {"pid": process.pid, "born": born, "started": time.time()})
            return path, process
    return None


def _read(path: Path) -> Job | None:
    asked, begun, ended = (_json(path / name) for name in (_JOB, _PROCESS, _EXIT))
    if asked is None:
        return None
    run = Path(asked["run"])
    state, message = _state(path, run, begun, ended, asked.get("trials") is not None)
    return Job(
        path.name, path, run, asked["line"], float(asked["created"]), state, bool(asked["resumes"]), message,
        begun["started"] if begun else None, asked.get("trials"),
    )  # fmt: skip


def _state(
    path: Path, run: Path, begun: dict[str, Any] | None, ended: dict[str, Any] | None, sweep: bool
) -> tuple[str, str | None]:
    stopping = (path / _STOP).exists()
    if begun is None:
        return ("cancelled", "taken from the queue") if stopping else ("waiting", None)
    if ended is None and _process(path) is not None:
        return ("stopping", "finishing the step and saving") if stopping else ("running", None)
    record = _run(run)
    now = {"state": record.state, "reason": record.info.get("reason")} if record is not None else {}
    code, last = (ended["code"], ended) if ended is not None else (None, now)
    if last.get("state") in ("finished", "stopped") and code in (0, None):
        return str(last["state"]), last.get("reason")
    if code == 0:
        return "finished", None
    if stopping and sweep:
        return "stopped", "the trial under way was saved"
    if stopping and (record is None or not record.checkpoints):
        return "cancelled", "stopped before it had begun"
    if code is None or code < 0:
        return "interrupted", "its process was killed: resume it"
    lines = [line.strip() for line in _tail(path, 4096).splitlines() if line.strip()]
    return "failed", (lines[-1].removeprefix("dpo: ")[:500] if lines else "it ended without a word")


def _process(path: Path) -> psutil.Process | None:
    """The living process of a job: the number alone may belong to another by now."""
    begun = _json(path / _PROCESS)
    if begun is None:
        return None
    try:
        process = psutil.Process(begun["pid"])
        if abs(process.create_time() - begun["born"]) > 1 or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return process


def _run(path: Path) -> Run | None:
    if not (path / RUN).is_file():
        return None
    try:
        return open_run(path)
    except RunError:
        return None


def _folders(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*-*") if path.is_dir())


def _tail(path: Path, most: int) -> str:
    try:
        with (path / _LOG).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - most))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    # A progress bar returns to the line's start: what stands there last is what a terminal shows.
    return "\n".join(line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n"))


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _lock(directory: Path) -> FileLock:
    return FileLock(directory / ".queue.lock")


def main(argv: Sequence[str]) -> int:
    """Work through the queue in the directory named."""
    work(Path(argv[0]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
