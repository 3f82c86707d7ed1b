"""Evaluations on disk: where they are looked for, and one that is open (no dash here)."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from dpo.dashboard.web.access import Access
from dpo.dashboard.web.names import is_within, within
from dpo.errors import DataError, DpoError, quoted
from dpo.evaluation.comparison.result import FORMAT, result
from dpo.evaluation.comparison.rows import RESULT, ROWS, VERDICTS, Row, RowStore, read_result
from dpo.evaluation.comparison.table import Table
from dpo.runs.files import identity
from dpo.runs.record import EVALUATIONS

_MOST_OPEN = 4
_PLACES = (f"{EVALUATIONS}/*", f"*/{EVALUATIONS}/*", f"*/*/{EVALUATIONS}/*")
_PARTS = (
    "plan", "prompts", "complete", "comparisons", "gains", "strengths", "measures", "frontier", "changes", "taught",
    "held_out", "judges", "agreement", "alpha",
)  # fmt: skip
# What rows that somebody else wrote may lack or have otherwise.
_UNFIT = (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError)

Made = TypeVar("Made")


@dataclass(frozen=True)
class OpenEvaluation:
    """The rows of an evaluation as they were when it was opened."""

    path: Path
    store: RowStore
    changed: float
    """When the newer of the two files was written (seconds since 1970)."""

    @cached_property
    def plan(self) -> Row:
        """What was asked for.

        Raises:
            DataError: nothing was, yet.
        """
        if self.store.plan is None:
            raise DataError(f"{self.path} holds no evaluation yet: run dpo eval")
        return self.store.plan

    @cached_property
    def table(self) -> Table:
        """Its rows by what they are about."""
        return Table(self.store, self.plan)

    @cached_property
    def made(self) -> Row:
        """The result: `eval.json`, where it was written after the rows that are here, else worked out from them."""
        try:
            stored = read_result(self.path)
            fresh = (self.path / RESULT).stat().st_mtime >= self.changed
        except (DpoError, OSError):
            return result(self.store)
        whole = stored.get("format") == FORMAT and all(name in stored for name in _PARTS)
        same = whole and isinstance(stored["plan"], dict) and stored["plan"].get("key") == self.plan["key"]
        return stored if fresh and same else result(self.store)


class Evaluations:
    """The evaluations within directories of runs; on this machine alone also those in `evaluations` here.

    Args:
        roots: directories of runs.
        access: where the app is served.
    """

    def __init__(self, roots: Sequence[Path], access: Access) -> None:
        self.roots, self.access = tuple(roots), access
        self._open: OrderedDict[str, tuple[Any, OpenEvaluation]] = OrderedDict()
        self._turn = threading.Lock()

    def find(self) -> list[Path]:
        """The directories that hold rows, the one last written first."""
        found = {os.path.realpath(path): path for path in self._candidates() if (path / ROWS).is_file()}
        allowed = [path for path in found.values() if is_within(path, self._places(), itself=False)]
        return sorted(allowed, key=lambda path: (path / ROWS).stat().st_mtime, reverse=True)

    def inside(self, name: str) -> Path:
        """The directory of that name, if it may be shown here.

        Raises:
            DataError: it is elsewhere.
        """
        return within(name, self._places(), DataError, itself=False)

    def open(self, name: str) -> OpenEvaluation:
        """The evaluation in a directory, read again only when one of its files has changed.

        Raises:
            DataError: it is elsewhere, or holds none.
            StorageError: it cannot be read.
        """
        path = self.inside(name)
        state = identity(path / ROWS), identity(path / VERDICTS), identity(path / RESULT)
        if state[0] is None:
            raise DataError(f"{quoted(name, 200)} holds no evaluation (no {ROWS}): run dpo eval, or choose another")
        with self._turn:
            known = self._open.get(name)
            if known is None or known[0] != state:
                changed = max(one[2] for one in state[:2] if one is not None) / 1e9
                known = self._open[name] = state, sound(path, lambda: OpenEvaluation(path, RowStore(path), changed))
            self._open.move_to_end(name)
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return known[1]

    def _candidates(self) -> Iterator[Path]:
        for root in self.roots:
            for pattern in _PLACES:
                yield from root.glob(pattern)
        if self.access.local:
            yield from Path(EVALUATIONS).glob("*")

    def _places(self) -> list[Path]:
        return [*self.roots, *([Path(EVALUATIONS)] if self.access.local else [])]


def sound(path: Path, make: Callable[[], Made]) -> Made:
    """What `make` returns of the evaluation in `path`.

    Raises:
        DataError: its rows are not what an evaluation writes.
    """
    try:
        return make()
    except DpoError:
        raise
    except _UNFIT as error:
        raise DataError(
            f"{path} cannot be shown: its rows are not those of an evaluation ({type(error).__name__}: {error}); "
            "restore it, or evaluate again"
        ) from error
