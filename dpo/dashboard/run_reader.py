"""The runs that the pages of one app look at: read as they grow, named, and judged by the doctor."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from dpo.dashboard.listing import Lister, Listing
from dpo.dashboard.web.names import within
from dpo.errors import RunError
from dpo.runs import Metrics, Run
from dpo.runs.doctor import Diagnosis, diagnose
from dpo.runs.find import names
from dpo.runs.live import OpenRuns, stamp

MOST_RUNS = 6
"""Runs that are drawn at once."""
_LONGEST = 18  # letters of a name at the end of a curve
DOCTOR_SECONDS = 3.0
"""A run that trains is not judged more often."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A run on screen: its name in sentences and in charts, its place among those of its family, its measures."""

    run: Run
    label: str
    short: str
    rank: int
    metrics: Metrics
    reader: RunReader | None = None

    @property
    def tokens_per_answer(self) -> float | None:
        """Mean tokens of an answer, prompt included, as the trainer counted them; None if it did not."""
        tokens, examples = self.metrics.last("tokens"), self.metrics.last("examples")
        return tokens / (2 * examples) if tokens and examples else None

    @cached_property
    def verdicts(self) -> list[Diagnosis]:
        """What the doctor says of the run, the most severe first."""
        return diagnose(self.run) if self.reader is None else self.reader.verdicts(self)


class RunReader:
    """Reads runs in the directories `roots`; only what was appended since the last look is read."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(roots)
        self._open = OpenRuns()
        self._lister = Lister(self.roots)
        self._verdicts: dict[str, tuple[float, tuple[Metrics, int, str], list[Diagnosis]]] = {}
        self.remembered = lru_cache(maxsize=24)(called)
        """Calls a function with arguments, or gives what it returned for them not long ago."""

    def look(self) -> Listing:
        """All runs as they are now, and whether anything of them has changed."""
        return self._lister.look()

    def forget(self) -> None:
        """Look anew when next asked: something was changed here."""
        self._lister.forget()

    def find(self) -> list[Run]:
        """All runs, newest first."""
        return list(self.look().runs)

    def inside(self, path: str) -> Path:
        """The path of a run: a page shows runs of its directories only, whatever its address asks for.

        Raises:
            RunError: it is elsewhere.
        """
        return within(path, self.roots, RunError)

    def read(self, path: str) -> tuple[Run, Metrics]:
        """A run with its measures.

        Raises:
            RunError: the run is gone or damaged.
        """
        run = self._open.get(path)
        return run, run.metrics()

    def state(self, paths: Sequence[str]) -> tuple[object, ...] | None:
        """What there is to be read of the runs to draw, as a key; None where one of them cannot be read."""
        try:
            runs = [(self.inside(path), self._open.get(path)) for path in paths[:MOST_RUNS]]
        except RunError:
            return None
        return tuple((str(path), stamp(path), run.state, run.problem) for path, run in runs)

    def shown(self, selected: Sequence[str] | None) -> tuple[list[Shown], list[str]]:
        """The runs to draw, and in one line each what could not be read."""
        found, problems = [], []
        for path in (selected or [])[:MOST_RUNS]:
            try:
                self.inside(path)
                found.append(self.read(path))
            except RunError as error:
                problems.append(str(error))
        entries = shown(found, self)
        problems += [f"{entry.label}: {problem}" for entry in entries for problem in entry.run.problems()]
        return entries, problems

    def verdicts(self, entry: Shown) -> list[Diagnosis]:
        """What the doctor says of a run; asked again only when the run has changed, and not at every point."""
        known = self._verdicts.get(str(entry.run.path))
        now = time.monotonic()
        key = (entry.metrics, len(entry.run.samples()), entry.run.state)
        if known is not None and (known[1] == key or (entry.run.state == known[1][2] == "running" and now < known[0])):
            return known[2]
        found = diagnose(entry.run)
        self._verdicts[str(entry.run.path)] = (now + DOCTOR_SECONDS, key, found)
        return found


def called(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns for these arguments."""
    return function(*arguments)


def shown(runs: Sequence[tuple[Run, Metrics]], reader: RunReader | None = None) -> list[Shown]:
    """Runs with names that differ, and a rank within their family by the order in which they were chosen."""
    labels = names([run for run, _ in runs])
    made: list[Shown] = []
    for (run, metrics), label, short in zip(runs, labels, shortened(labels), strict=True):
        rank = sum(other.run.family == run.family for other in made)
        made.append(Shown(run, label, short, rank, metrics, reader))
    return made


def shortened(labels: Sequence[str]) -> list[str]:
    """Names without the words that all of them begin with, short enough for the end of a curve."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*labels, strict=False)) if len(labels) > 1 else ()
    shared = "".join(letters[0] for letters in alike)
    begin = max(shared.rfind(mark) for mark in "-_/ ") + 1
    cut = [label[begin:] for label in labels]
    return [text if len(text) <= _LONGEST else f"{text[: _LONGEST - 8]}…{text[-7:]}" for text in cut]


def several(entries: Sequence[Shown]) -> bool:
    """Whether a family has more than one run on screen, so that its name alone says too little."""
    families = [entry.run.family for entry in entries]
    return len(families) != len(set(families))
