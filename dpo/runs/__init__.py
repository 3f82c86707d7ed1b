"""The record that a training leaves on disk, and how it is read back (no torch here)."""

from dpo.runs.find import BUNDLED_RUNS, find_run, find_runs
from dpo.runs.metrics import Metrics
from dpo.runs.reader import Run, Sample, open_run, summarise
from dpo.runs.record import RunRecord, SilentRecord

__all__ = [
    "BUNDLED_RUNS",
    "Metrics",
    "Run",
    "RunRecord",
    "Sample",
    "SilentRecord",
    "find_run",
    "find_runs",
    "open_run",
    "summarise",
]
