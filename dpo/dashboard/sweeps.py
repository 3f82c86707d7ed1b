"""Sweeps among the runs: which runs belong together, and how far they are (no dash here)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dpo.errors import RunError, quoted
from dpo.runs import Run
from dpo.runs.files import read_object
from dpo.training.config import BEST_BY
from dpo.training.job import TrainingJob
from dpo.training.sweep_plan import plan_file

# `dpo sweep` numbers its trials so; the date in a run's usual name has six digits.
_TRIAL = re.compile(r"(?P<sweep>.+)-(?P<number>\d{3}|[1-9]\d{3})")
_USUAL_MEASURE = "accuracy"
_ENDED = ("finished", "failed", "stopped")  # a trial that is pruned was stopped
_BETWEEN_TRIALS = 60.0
"""Seconds in which the next trial starts Python and reads its model."""


@dataclass(frozen=True)
class SweepRuns:
    """Runs that one `dpo sweep` made, by number, and what its plan says.

    Args:
        directory: where its runs are.
        name: what they begin with.
        runs: the trials that have begun.
        plan: `SweepPlan.as_json`; empty where the sweep left none.
    """

    directory: Path
    name: str
    runs: tuple[Run, ...]
    plan: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What an address calls it."""
        return str(self.directory / self.name)

    @property
    def trials(self) -> int:
        """How many there will be."""
        planned = self.plan.get("trials")
        return max(planned if isinstance(planned, int) else 0, len(self.runs))

    @property
    def measure(self) -> str:
        """What it is judged by: a key of `BEST_BY`."""
        measure = self.plan.get("measure")
        return measure if isinstance(measure, str) and measure in BEST_BY else _USUAL_MEASURE


@dataclass(frozen=True)
class Progress:
    """How far a sweep is: trials by state, and, while it goes on, trials an hour and the seconds that are left."""

    counts: dict[str, int]
    ended: int
    trials: int
    live: bool
    seconds: float | None
    """From the first trial's beginning to the last sign of any."""
    per_hour: float | None
    left: float | None


def sweeps_of(runs: Sequence[Run]) -> list[SweepRuns]:
    """The sweeps among runs, in the order of their newest run; runs alone in their number are none."""
    found: dict[tuple[Path, str], list[Run]] = {}
    for run in runs:
        if (match := _TRIAL.fullmatch(run.path.name)) is not None:
            found.setdefault((run.path.parent, match["sweep"]), []).append(run)
    made = []
    for (directory, name), members in found.items():
        plan = _plan(directory, name)
        if len(members) > 1 or plan:
            ordered = sorted(members, key=lambda run: (len(run.path.name), run.path.name))
            made.append(SweepRuns(directory, name, tuple(ordered), plan))
    return made


def _plan(directory: Path, name: str) -> dict[str, Any]:
    try:
        return read_object(plan_file(directory, name))
    except (OSError, ValueError):
        return {}


def asked_for(key: str, runs: Sequence[Run]) -> SweepRuns:
    """The sweep that an address names by its place or its name.

    Raises:
        RunError: it names none, or none of those that are here.
    """
    found = sweeps_of(runs)
    for sweep in found:
        if key and key in (sweep.key, sweep.name):
            return sweep
    known = f": choose {', '.join(sweep.name for sweep in found[:6])}" if found else ""
    raise RunError(f"There is no sweep {quoted(key, 200)} here{known}" if key else f"No sweep is chosen{known}")


def progress(sweep: SweepRuns, jobs: Sequence[TrainingJob], now: float) -> Progress:
    """How far it is at the time `now` (seconds since 1970).

    Args:
        jobs: those of the queue; the sweep may also be worked on from elsewhere.
    """
    states = [run.state for run in sweep.runs]
    counts = {state: states.count(state) for state in (*_ENDED, "interrupted", "running") if state in states}
    ended = sum(counts.get(state, 0) for state in _ENDED)
    if (waiting := sweep.trials - len(states)) > 0:
        counts["not begun"] = waiting
    begun = [at for run in sweep.runs if (at := _time(run, "created")) is not None]
    seen = [at for run in sweep.runs if (at := _time(run, "updated")) is not None]
    open_still = ended < sweep.trials
    job = job_of(sweep, jobs)
    live = open_still and (
        "running" in states
        or (job is not None and not job.over)
        or (job is None and bool(seen) and now - max(seen) < _BETWEEN_TRIALS)
    )
    end = now if live else max(seen, default=now)
    seconds = max(end - min(begun), 0.0) if begun else None
    per_hour = 3600 * ended / seconds if ended and seconds else None
    left = 3600 * (sweep.trials - ended) / per_hour if live and per_hour else None
    return Progress(counts, ended, sweep.trials, live, seconds, per_hour, left)


def job_of(sweep: SweepRuns, jobs: Sequence[TrainingJob]) -> TrainingJob | None:
    """The newest job of the queue that works, or worked, on it."""
    mine = [job for job in jobs if job.trials is not None and job.run / sweep.name == sweep.directory / sweep.name]
    return mine[-1] if mine else None


def _time(run: Run, name: str) -> float | None:
    try:
        return datetime.fromisoformat(str(run.info.get(name))).timestamp()
    except ValueError:
        return None
