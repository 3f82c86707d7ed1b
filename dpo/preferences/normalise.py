"""Rows of any layout to a table of pairs, a batch at a time and never all text in memory.

The table has the columns `prompt`, `chosen`, `rejected`, `row` (the row's number in its source,
from 0) and, where some prompt has several turns, `messages`.  A table of more than
`table.IN_MEMORY` bytes lives in a temporary Arrow file that is mapped, and removed when the process ends.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo.arrays import Ints
from dpo.errors import DataError
from dpo.preferences.collect import Collector
from dpo.preferences.formats import SAMPLE_ROWS, AmbiguousError, Recognised, recognise
from dpo.preferences.layouts import Layout, Row
from dpo.preferences.sources import BATCH, read_rows
from dpo.preferences.table import write

if TYPE_CHECKING:
    from datasets import Dataset

RowProgress = Callable[[int], None]


@dataclass(frozen=True)
class Columns:
    """What the user said about the columns; None where it is to be recognised."""

    prompt: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    layout: str | None = None
    swap: bool = False
    keep_equal: bool = False
    """Whether rows with equal answers count as pairs (for a cleaning that is not asked to drop them)."""

    def roles(self) -> dict[str, str | None]:
        """Column by role."""
        return {"prompt": self.prompt, "chosen": self.chosen, "rejected": self.rejected}


@dataclass(frozen=True)
class Normalised:
    """Pairs of one source, and what happened to the rows that gave none."""

    source: str
    recognised: Recognised
    pairs: Dataset
    rows: int
    dropped: Mapping[str, list[int]] = field(default_factory=dict)
    """Row numbers by reason ("with equal answers")."""

    total: int | None = None
    """How many pairs there are, where `pairs` is a sample of them."""
    whole: bool = True
    """Whether the source was read to its end."""

    def drawn(self, most: int) -> Normalised:
        """The same with at most `most` of the pairs, drawn by a fixed seed, in their order."""
        count = len(self.pairs)
        return self if count <= most else replace(self, pairs=self.pairs.select(drawn(count, most)), total=count)

    def counts(self) -> dict[str, int]:
        """How many rows were dropped, by reason."""
        return {reason: len(rows) for reason, rows in self.dropped.items()}


def drawn(count: int, most: int) -> Ints:
    """`most` of the places below `count` by a fixed seed, in order; all of them if there are no more."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def detect(source: str, split: str = "train", columns: Columns | None = None) -> tuple[Recognised, list[Row]]:
    """The layout of a source and the first rows that it was recognised by.

    Raises:
        DataError: see `recognise` and `read_rows`.
    """
    sample = head_of(source, split)
    return _recognised(source, sample, columns or Columns()), sample


def head_of(source: str, split: str = "train") -> list[Row]:
    """The first rows of a source, by which its layout is recognised.

    Raises:
        DataError: see `read_rows`.
    """
    return list(next(read_rows(source, split, SAMPLE_ROWS), []))


def _recognised(source: str, rows: Sequence[Row], columns: Columns) -> Recognised:
    try:
        return recognise(rows, columns.roles(), columns.layout)
    except AmbiguousError as error:
        raise error.of(source) from None
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def normalise(
    source: str,
    split: str = "train",
    columns: Columns | None = None,
    progress: RowProgress | None = None,
    head: int | None = None,
) -> Normalised:
    """All pairs of a source that have a prompt and two different answers.

    Args:
        progress: hears how many rows have been read.
        head: read only so many rows (fewer where they are huge), for a look that must be quick.

    Raises:
        DataError: unreadable, not preference data, ambiguous (from the first rows, or from a later preference code
            that these do not have), or without a single pair.
        StorageError: no room for the temporary file.
    """
    columns = columns or Columns()
    batches = read_rows(source, split)
    sample: list[list[dict[str, Any]]] = []
    for batch in batches:
        sample.append(batch)
        # Batches of huge rows are short: a few of them are sample enough.
        if sum(map(len, sample)) >= SAMPLE_ROWS or len(sample) == 3:
            break
    first = list(itertools.islice(itertools.chain.from_iterable(sample), SAMPLE_ROWS))
    recognised = _recognised(source, first, columns)
    every = _Batches(itertools.chain(sample, batches), head, progress)
    asked = columns.layout is not None
    collector = Collector(source, recognised.layout, columns.swap, columns.keep_equal, asked)
    pairs = write(collector.records(every))
    dropped = dict(collector.dropped)
    if pairs is None:
        raise _without_pairs(source, recognised.layout, dropped)
    return Normalised(source, recognised, pairs, every.rows, dropped, whole=every.whole)


def _without_pairs(source: str, layout: Layout, dropped: Mapping[str, Sequence[int]]) -> DataError:
    if layout.key.startswith("labelled"):
        return DataError(
            f"{source}: this is unpaired data with a label, and no prompt has both a good and a bad answer: "
            "pair a good and a bad answer for each prompt first"
        )
    reasons = ", ".join(f"{len(rows)} {reason}" for reason, rows in dropped.items())
    first = f"; the first is row {min(min(rows) for rows in dropped.values())}" if dropped else ""
    return DataError(
        f"{source} has no usable pair ({reasons}{first}): every pair needs a prompt and two different answers"
    )


class _Batches:
    """Batches of rows with the number of their first row, counted as they pass; the first ones, as hold `head` rows.

    Batches are counted, not rows: one is never over `reading.MAX_ROW` bytes, so that little is read
    where rows are huge.  One more is read to know whether there are more.
    """

    def __init__(self, batches: Iterable[list[dict[str, Any]]], head: int | None, progress: RowProgress | None) -> None:
        self.batches, self.progress = batches, progress
        self.most = None if head is None else math.ceil(head / BATCH)
        self.rows, self.whole = 0, True

    def __iter__(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for place, batch in enumerate(self.batches):
            if place == self.most:
                self.whole = False
                return
            yield self.rows, batch
            self.rows += len(batch)
            if self.progress is not None:
                self.progress(self.rows)


def tally(parts: Iterable[Normalised]) -> dict[str, int]:
    """Dropped rows of several sources, by reason."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part.counts())
    return dict(total)
