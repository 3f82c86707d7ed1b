"""The files of a job in the queue: written whole or not at all, and read through one table each.

`job.json` says what was asked, `process.json` which process does it, `exit.json` how it ended and
`log.txt` what it printed; an empty file `stop` says that it shall end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from dpo.errors import BusyError, StorageError
from dpo.processes import living
from dpo.runs.files import open_file, read_object, reason
from dpo.runs.schema import ObjectRule, maybe, number, text, texts, whole

WORKER_LOCK, QUEUE_LOCK = ".worker.lock", ".queue.lock"
JOB, PROCESS, EXIT, LOG, STOP, PLAN = "job.json", "process.json", "exit.json", "log.txt", "stop", "sweep.yaml"
_MOST_LOG = 2 << 30
_ARGUMENTS, _TIME = 1_000, maybe(number(0, 1e12))


def _arguments(value: Any) -> list[str]:
    return texts(value, _ARGUMENTS)


def _flag(value: Any) -> bool:
    return bool(value)


_JOB = ObjectRule(
    {"arguments": _arguments, "line": text(100_000), "run": text(), "created": number(0, 1e12), "resumes": _flag,
     "trials": maybe(whole()), "cwd": text()},
    needed=("arguments", "line", "run", "created", "resumes", "cwd"),
)  # fmt: skip
_PROCESS = ObjectRule({"pid": whole(1, 2**31 - 1), "born": _TIME, "boot": _TIME, "started": _TIME}, needed=("pid",))
_EXIT = ObjectRule({
    "code": maybe(whole(-255, 255)), "time": _TIME, "state": maybe(text(40)), "reason": maybe(text()),
    "message": maybe(text()),
})  # fmt: skip


@dataclass(frozen=True)
class JobFiles:
    """What the files of a job say; None for a file that is not there, empty for one that cannot be read.

    `problem` says in one line why `job.json` cannot be read: then nobody knows what was asked.
    """

    asked: dict[str, Any] | None
    begun: dict[str, Any] | None
    ended: dict[str, Any] | None
    problem: str | None = None


def read_files(path: Path) -> JobFiles:
    """The files of the job in `path`, as far as they are sound."""
    asked, problem = _read(path / JOB, _JOB)
    return JobFiles(asked, _read(path / PROCESS, _PROCESS)[0], _read(path / EXIT, _EXIT)[0], problem)


def process_of(begun: dict[str, Any] | None) -> psutil.Process | None:
    """The living process of a job, None if there is none: the number alone may belong to another by now."""
    return living(begun["pid"], begun.get("born"), begun.get("boot")) if begun else None


def folders(directory: Path) -> list[Path]:
    """The jobs' folders, the oldest first."""
    return sorted(path for path in directory.glob("*-*") if os.path.isdir(path))


def tail(path: Path, most: int) -> str:
    """The end of what the job in `path` printed, a progress bar's line as a terminal shows it."""
    try:
        with open_file(path / LOG, _MOST_LOG) as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - most))
            content = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    # A progress bar returns to the line's start: what stands there last is what a terminal shows.
    return "\n".join(line.rstrip("\r").rpartition("\r")[2].rstrip() for line in content.split("\n"))


def last_line(text: str) -> str:
    """Why a command ended: the last line that it printed, without what only marks a line of ours."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "it ended without a word").removeprefix("dpo: ")[:500]


@contextlib.contextmanager
def queue_lock(directory: Path, patience: float = -1) -> Iterator[None]:
    """Change the queue alone.

    Args:
        patience: seconds to wait for another process that changes it; below 0 for ever.

    Raises:
        BusyError: another process still changes it.
        StorageError: the queue's directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / QUEUE_LOCK)
        lock.acquire(timeout=patience)
    except Timeout:
        raise BusyError(
            f"Another program holds the queue in {directory} ({QUEUE_LOCK}): nothing was changed, try again in a moment"
        ) from None
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        yield
    finally:
        lock.release()


def unwritable(directory: Path, error: OSError) -> StorageError:
    """What to say of a queue that cannot be written."""
    what = (
        "choose another --runs directory" if directory.is_dir() else "bring it back, or choose another --runs directory"
    )
    return StorageError(f"{directory} cannot be written ({reason(error)}): {what}")


def _read(path: Path, table: ObjectRule) -> tuple[dict[str, Any] | None, str | None]:
    try:
        problems: list[str] = []
        fitted = table.fit(read_object(path), path.name, problems)
        return fitted or {}, problems[0] if fitted is None else None
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError) as error:
        return {}, f"{path.name} cannot be read ({reason(error)})"
