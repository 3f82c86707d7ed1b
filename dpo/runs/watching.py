"""What has become of a run that somebody waits for: it trains, stands still, diverged, or has ended."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from dpo.runs.metrics import Metrics
from dpo.runs.reader import Run
from dpo.runs.record import METRICS, RUN

STALLED, DIVERGED = "stalled", "diverged"
_FEWEST_SECONDS = 300.0  # a held-out evaluation or a save may take that long
_TIMES_LONGER = 10.0  # than the longest pause between two rows so far
RECENT_SECONDS = 600.0  # an end is told to whoever looks this long after it


def event_of(run: Run, metrics: Metrics | None, now: float | None = None) -> str | None:
    """`running`, `stalled`, `diverged`, or the state in which it ended not long ago; None for earlier ends.

    `metrics` are needed of a run that trains.  A run stands still when nothing was written for ten times
    as long as its longest pause so far, and for five minutes at least; it diverged when a loss was not
    finite.
    """
    now = time.time() if now is None else now
    # A time from the future says that the clock was set back since: it is as far away as one of the past.
    silent = min(abs(now - _written(run.path / name)) for name in (RUN, METRICS))
    state = run.state  # asked of a lock or a process
    if state != "running" or metrics is None:
        return state if silent < RECENT_SECONDS else None
    if metrics.not_finite.get("loss"):
        return DIVERGED
    _, times = metrics.points("time")
    longest = float(np.diff(times).max()) if len(times) > 1 else 0.0
    return STALLED if silent > max(_FEWEST_SECONDS, _TIMES_LONGER * longest) else "running"


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
