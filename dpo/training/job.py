"""One job of the queue: a training that was asked for, as far as it is."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo.errors import RunError
from dpo.processes import lock_is_held
from dpo.runs import Run, open_run
from dpo.runs.record import LOCK, RUN
from dpo.training.job_files import PLAN, STOP, WORKER_LOCK, JobFiles, last_line, process_of, read_files, tail

# A bar as tqdm prints it: "tokenising:  45%|####   | 9/20 [00:03<00:04]".
_BAR = re.compile(r"(?:^|\n)[ \t]*([A-Za-z][\w ,./-]{0,60}?): +(\d{1,3})%\|[^\n]*\s*$")


@dataclass(frozen=True)
class TrainingJob:
    """One training that was asked for, as far as it is.

    `state` is `waiting`, `running`, `stopping`, `finished`, `stopped`, `failed`, `cancelled` (never
    begun, or ended before its first step), `interrupted` (its process is gone without a word) or
    `damaged` (nobody can read what was asked).
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
        """What a page shows of it: names, state, progress (steps) and the time that is left (seconds).

        `recorded` says whether its run can be looked at, `base` what that began with; `stage` what is
        done before its first step, with its `share` (0 to 1) where that is known.
        """
        done, most, left = self.progress()
        stage, share = (None, None) if most is not None else self.stage()
        run = record_of(self.run)
        return {
            "recorded": run is not None, "base": run.config.get("model") if run is not None else None,
            "stage": stage, "share": share,
            "job": self.ident, "name": self.run.name, "run": str(self.run), "line": self.line, "state": self.state,
            "message": self.message, "step": done, "max_steps": most, "left": left, "resumes": self.resumes,
            "resumable": self.over and self._can_go_on(), "trials": self.trials, "evaluates": self.evaluates,
        }  # fmt: skip

    @property
    def evaluates(self) -> bool:
        """Whether it is an evaluation, not a training."""
        return self.line.startswith("dpo eval ")

    def progress(self) -> tuple[int, int | None, float | None]:
        """Steps done, steps in all, and seconds left at the pace so far (None before it is known)."""
        if self.trials is not None:
            runs = [run for path in self.run.glob("*/") if (run := record_of(path)) is not None]
            return sum(run.state in ("finished", "failed") for run in runs), self.trials, None
        run = record_of(self.run)
        if run is None:
            return 0, None, None
        done, most = int(run.progress.get("step") or 0), run.progress.get("max_steps")
        if not isinstance(most, int) or self.state not in ("running", "stopping"):
            return done, most if isinstance(most, int) else None, None
        seconds = float(run.progress.get("seconds") or 0.0)
        return done, most, seconds / done * (most - done) if done > 0 and seconds > 0 else None

    def stage(self) -> tuple[str | None, float | None]:
        """What is done before the first step, and how much of it (0 to 1), as the last line of its log says."""
        if self.state != "running" or self.trials is not None:
            return None, None
        bar = _BAR.search(tail(self.directory, 2048))
        if bar is None:
            return "evaluating" if self.evaluates else "reading data and policy", None
        return bar[1].removeprefix("dpo, ").strip().lower(), min(int(bar[2]), 100) / 100

    def plan(self) -> str:
        """The YAML text of a sweep.

        Raises:
            RunError: it is a single training, or its file is gone.
        """
        try:
            return (self.directory / PLAN).read_text(encoding="utf-8")
        except OSError as error:
            raise RunError(f"{self.run.name} has no plan of a sweep ({error.strerror}): begin it anew") from error

    def _can_go_on(self) -> bool:
        return resumable(self.run) if self.trials is None else self.state in ("stopped", "interrupted")


def resumable(path: Path) -> bool:
    """Whether `--resume` can go on with the run in `path`."""
    run = record_of(path)
    return run is not None and bool(run.config) and run.state in ("stopped", "failed", "interrupted")


def read_job(path: Path) -> TrainingJob | None:
    """The job in a folder of the queue; None while it is being added."""
    found = read_files(path)
    if found.asked is None:
        return None
    if found.problem is not None:
        message = f"Nobody can tell what was asked, {found.problem}: remove it from the list, and ask again"
        return TrainingJob(path.name, path, path, "", 0.0, "damaged", False, message)
    asked, run = found.asked, Path(found.asked["run"])
    state, reason = _state(path, run, found)
    return TrainingJob(
        path.name, path, run, asked["line"], float(asked["created"]), state, asked["resumes"], reason,
        (found.begun or {}).get("started"), asked.get("trials"),
    )  # fmt: skip


def _state(path: Path, run: Path, found: JobFiles) -> tuple[str, str | None]:
    begun, ended = found.begun, found.ended
    stopping = (path / STOP).exists()
    if ended and ended.get("message"):
        return "failed", ended["message"]
    if begun is None:
        return ("cancelled", "taken from the queue") if stopping else ("waiting", None)
    # What leaves no record of its own has ended only once the queue has written how.
    awaited = evaluates(found.asked) and lock_is_held(path.parent / WORKER_LOCK)
    if ended is None and (process_of(begun) is not None or awaited or lock_is_held(run / LOCK)):
        return ("stopping", "finishing the step and saving") if stopping else ("running", None)
    return _over(path, run, found, stopping)


def _over(path: Path, run: Path, found: JobFiles, stopping: bool) -> tuple[str, str | None]:
    """How a job ended whose process is gone."""
    record = record_of(run)
    now = {"state": record.state, "reason": record.info.get("reason")} if record is not None else {}
    last: dict[str, Any] = found.ended or now
    code: int | None = last.get("code")
    if last.get("state") in ("finished", "stopped") and code in (0, None):
        return str(last["state"]), last.get("reason")
    if code == 0:
        return "finished", None
    if stopping and evaluates(found.asked):
        return "stopped", "every answer and verdict that was finished is kept"
    if stopping and found.asked and found.asked.get("trials") is not None:
        return "stopped", "the trial under way was saved"
    if stopping and (record is None or not record.checkpoints):
        return "cancelled", "stopped before it had begun"
    if stopping and code == -signal.SIGTERM:  # while it was loading: nothing was trained that could be lost
        return "stopped", "stopped before it went on: its last checkpoint stays"
    if code is None or code < 0:
        return "interrupted", "its process was killed: resume it"
    return "failed", last_line(tail(path, 4096))


def evaluates(asked: dict[str, Any] | None) -> bool:
    """Whether a job's command is an evaluation, which leaves no record of a run."""
    return asked is not None and asked.get("arguments", [])[:1] == ["eval"]


def record_of(path: Path) -> Run | None:
    """The record in a run's directory; None if there is none, or it cannot be read."""
    if not (path / RUN).is_file():
        return None
    try:
        return open_run(path)
    except RunError:
        return None
