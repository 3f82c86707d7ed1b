"""All runs of some directories as they are now, and whether anything of them has changed."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dpo.runs.find import KnownRuns, find_runs
from dpo.runs.live import Stamp, stamp
from dpo.runs.reader import Run
from dpo.serving.shared import Shared

_FREE_SECONDS = 0.02  # of processor time: what takes no longer is looked up whenever it is asked for
_TIMES_REST = 4.0  # so a directory of ten thousand runs never takes more than a fifth of a core


@dataclass(frozen=True, eq=False)
class Listing:
    """The runs of a moment, newest first, and by path a stamp of the files that grow with each."""

    runs: list[Run]
    stamps: dict[str, Stamp] = field(repr=False)

    @classmethod
    def of(cls, runs: list[Run]) -> Listing:
        """These runs, with stamps of now."""
        return cls(runs, {str(run.path): stamp(run.path) for run in runs})

    @cached_property
    def states(self) -> dict[str, str]:
        """The state of each run, by path: whether one still trains is asked of its lock and its process."""
        return {str(run.path): run.state for run in self.runs}

    @cached_property
    def signature(self) -> str:
        """Changes whenever one of the runs does, or another one appears."""
        return self._revision(lambda run: f"{self.stamps[str(run.path)]}:{self.states[str(run.path)]}")

    @cached_property
    def names(self) -> str:
        """Changes whenever the list of runs does; not with every point that is logged."""
        return self._revision(lambda run: f"{run.name}:{self.states[str(run.path)]}:{run.problem}")

    @cached_property
    def answers(self) -> str:
        """Changes whenever a run records answers."""
        return self._revision(lambda run: str(self.stamps[str(run.path)].answers))

    def _revision(self, part: Callable[[Run], str]) -> str:
        parts = "|".join(f"{run.path}:{part(run)}" for run in self.runs)
        return f"{len(self.runs)}-{zlib.crc32(parts.encode(errors='replace'))}"


class Lister:
    """Looks at directories of runs for all who ask.

    A look that takes long, as at ten thousand runs, holds for four times as long as it took; any other is made when
    it is asked for.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(roots)
        self._known: KnownRuns = {}
        self._together: Shared[Listing] = Shared()
        self._listing: Listing | None = None
        self._holds_until = 0.0

    def look(self) -> Listing:
        """The runs, newest first."""
        return self._together.get("look", self._looked)

    def forget(self) -> None:
        """Look anew when next asked: something was changed here."""
        self._holds_until = 0.0

    def _looked(self) -> Listing:
        if self._listing is None or time.monotonic() >= self._holds_until:
            began = time.thread_time()
            self._listing = Listing.of(find_runs(self.roots, self._known))
            took = time.thread_time() - began
            self._holds_until = time.monotonic() + (_TIMES_REST * took if took > _FREE_SECONDS else 0.0)
        return self._listing
