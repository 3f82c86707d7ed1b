"""Runs held open by a viewer: what changed is noticed, and only what is new is read."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import NamedTuple

from dpo.errors import RunError
from dpo.runs.files import Identity, identity
from dpo.runs.foreign import event_files, newest_state
from dpo.runs.reader import Run, open_run
from dpo.runs.record import HARDWARE, METRICS, RUN, SAMPLES

_MOST = 256


class Stamp(NamedTuple):
    """What the files of a run that grow are now: inode, size and time of change of each; None for a missing one."""

    record: Identity | None
    measures: Identity | None
    hardware: Identity | None
    answers: Identity | None
    others: tuple[Identity | None, ...] = ()  # another tool's

    @property
    def written(self) -> float:
        """When record or measures were written last (Unix time, seconds)."""
        return max((known[2] / 1e9 for known in (self.record, self.measures) if known is not None), default=0.0)


def stamp(path: Path) -> Stamp:
    """Changes whenever the run's measures, answers or record do."""
    folder = os.fspath(path)  # thousands of runs are looked at: no Path is made for each of their files
    record, measures, hardware, answers = (identity(f"{folder}/{name}") for name in (RUN, METRICS, HARDWARE, SAMPLES))
    made = Stamp(record, measures, hardware, answers)
    if made.record is not None:
        return made
    others = [*event_files(path), *filter(None, [newest_state(path) if path.is_dir() else None])]
    return made._replace(others=tuple(map(identity, others)))


class OpenRuns:
    """Runs by path, with their cursors."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[Identity | None, Run]] = {}
        self._lock = threading.Lock()

    def get(self, path: str) -> Run:
        """The run with its state as it is now; its measures go on from where they were read.

        Raises:
            RunError: the run is gone or damaged.
        """
        key = identity(Path(path) / RUN)
        with self._lock:  # a page asks many times at once: all must get the same cursors
            known = self._runs.get(path)
            if known is not None and known[0] == key and Path(path).exists():
                return known[1]
            try:
                fresh = open_run(path)
            except RunError:
                self._runs.pop(path, None)
                raise
            run = known[1].with_record(fresh) if known is not None else fresh
            if len(self._runs) >= _MOST:
                self._runs.pop(next(iter(self._runs)))
            self._runs[path] = (key, run)
            return run

    def clear(self) -> None:
        """Forget all runs and what was read of them."""
        with self._lock:
            self._runs.clear()
