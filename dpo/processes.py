"""Whether a process lives, and whether somebody holds a lock: one answer for runs, the queue and sweeps."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil

_APART = 1.0  # seconds between two readings of one start


def process_index() -> int:
    """This process's place among those of `accelerate launch` or `torchrun`; 0 when there is one."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def start_python(arguments: Sequence[str], output: IO[bytes], directory: str | None = None) -> subprocess.Popen[bytes]:
    """Start this interpreter with other arguments: in a session of its own, where Ctrl-C does not reach it.

    Raises:
        OSError: it cannot be started, or the directory is gone.
    """
    return subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        cwd=directory, start_new_session=True,
    )  # fmt: skip


def identity(pid: int) -> dict[str, Any]:
    """What tells a process from a later one of the same number: `pid`, `born` and `boot` (Unix times, seconds).

    Raises:
        psutil.Error: there is no such process.
    """
    return {"pid": pid, "born": psutil.Process(pid).create_time(), "boot": psutil.boot_time()}


def living(pid: int, born: float | None = None, boot: float | None = None) -> psutil.Process | None:
    """The process of that number and start; None if it has ended, waits to be reaped, or another has its number.

    Both times move with the clock, the time between them does not: a clock that was set makes nobody dead.
    Without `born` the number alone must do; without `boot` the clock is taken to be as it was.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        if born is not None:
            now = psutil.boot_time()
            after_boot = process.create_time() - now
            if abs(after_boot - (born - (now if boot is None else boot))) > _APART:
                return None
    except (psutil.Error, ValueError, OverflowError):
        return None
    return process


def lock_is_held(path: Path) -> bool | None:
    """Whether a process on this machine holds the lock file; None if there is none, or it cannot be asked.

    The lock is shared for a moment and given back at once; `dpo.training.preconditions.claim` waits that long.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # some network drives have no locks
        return None
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM stops what is within as Ctrl-C does: by a KeyboardInterrupt."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: whoever runs us there stops us another way
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
