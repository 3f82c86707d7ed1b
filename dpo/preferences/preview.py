"""What a source looks like before it is read to its end: layout, columns, three pairs, or a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dpo.errors import DataError
from dpo.preferences.formats import AmbiguousError, recognise
from dpo.preferences.layouts import Layout, Pair, Rated, Row, sources_of
from dpo.preferences.normalise import Columns, head_of

SHOWN = 3


@dataclass(frozen=True)
class Example:
    """One row as training would see it; `rejected` is None where a row holds a single answer."""

    row: int
    prompt: str
    chosen: str
    rejected: str | None


@dataclass(frozen=True)
class Reading:
    """A layout, where it finds its texts, and the first rows read by it."""

    key: str
    name: str
    takes: dict[str, str]
    examples: list[Example]


@dataclass(frozen=True)
class Preview:
    """The head of a source: one reading, several to choose from, or none and a `problem`."""

    columns: list[str]
    rows: int
    readings: list[Reading] = field(default_factory=list)
    confidence: float = 0.0
    problem: str = ""


def preview(source: str, split: str = "train", columns: Columns | None = None) -> Preview:
    """How the first rows of a source are read; a layout that is not recognised is a `problem`, not an exception.

    Raises:
        DataError: the source cannot be read at all.
    """
    columns = columns or Columns()
    rows = head_of(source, split)
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    found = Preview(names, len(rows))
    try:
        recognised = recognise(rows, columns.roles(), columns.layout)
    except AmbiguousError as error:
        differing = _differing(rows, error.layouts)
        return replace(found, readings=[_reading(layout, rows, columns, differing) for layout in error.layouts])
    except DataError as error:
        return replace(found, problem=str(error))
    reading = _reading(recognised.layout, rows, columns, range(len(rows)))
    return replace(found, readings=[reading], confidence=recognised.confidence)


def _reading(layout: Layout, rows: Sequence[Row], columns: Columns, places: Sequence[int]) -> Reading:
    takes = sources_of(layout, rows)
    if columns.swap:
        takes["chosen"], takes["rejected"] = takes["rejected"], takes["chosen"]
    examples: list[Example] = []
    for place in places:
        pair = _read(layout, rows[place])
        if pair is not None and len(examples) < SHOWN:
            examples.append(_example(place, pair, columns.swap))
    return Reading(layout.key, layout.name, takes, examples)


def _example(place: int, pair: Pair | Rated, swap: bool) -> Example:
    if isinstance(pair, Rated):
        return Example(place, pair.prompt, pair.answer, None)
    good, bad = (pair.rejected, pair.chosen) if swap else (pair.chosen, pair.rejected)
    return Example(place, pair.prompt, good, bad)


def _read(layout: Layout, row: Row) -> Pair | Rated | None:
    try:
        return layout.read(row)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


def _differing(rows: Sequence[Row], layouts: Sequence[Layout]) -> list[int]:
    """Rows that the layouts read differently: those show what the question is about."""
    found = []
    for place, row in enumerate(rows):
        read = [_read(layout, row) for layout in layouts]
        if len({str(pair[:3]) if pair is not None else "" for pair in read}) > 1:
            found.append(place)
    return found
