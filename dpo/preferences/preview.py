"""What a source looks like before it is read to its end: layout, columns, three pairs, or a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dpo.errors import DataError
from dpo.preferences.collect import Collector
from dpo.preferences.formats import AmbiguousError, recognise
from dpo.preferences.layouts import Layout, Message, Pair, Rated, Row, actual_names, sources_of
from dpo.preferences.normalise import Columns, head_of
from dpo.preferences.table import Record
from dpo.preferences.turns import DropReason, Unusable

SHOWN = 3


@dataclass(frozen=True)
class Example:
    """One row as training would see it; `rejected` is None where a row holds a single answer."""

    row: int
    prompt: str
    chosen: str
    rejected: str | None
    decided: str = ""
    """What the column says that decides which answer is better."""


@dataclass(frozen=True)
class Reading:
    """A layout, where it finds its texts, and the first rows read by it."""

    key: str
    name: str
    takes: dict[str, str]
    examples: list[Example]
    decides: str = ""
    """The column that says which answer is better, where there is one."""


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


def pairs_of(layout: Layout, rows: Sequence[Row], swap: bool = False) -> tuple[list[Record], dict[str, list[int]]]:
    """The pairs of `rows` as training would see them, with their rows; and the rows that give none, by reason.

    Single answers whose partner may come after `rows` are not counted among these.
    """
    collector = Collector("", layout, swap, asked=True)
    records = [record for batch in collector.records([(0, rows)]) for record in batch]
    return records, {reason: left for reason, left in collector.dropped.items() if reason != DropReason.ALONE}


def _reading(layout: Layout, rows: Sequence[Row], columns: Columns, places: Sequence[int]) -> Reading:
    takes = sources_of(layout, rows)
    if columns.swap:
        takes["chosen"], takes["rejected"] = takes["rejected"], takes["chosen"]
    records, _ = pairs_of(layout, rows, columns.swap)
    wanted = set(places)
    column = actual_names(rows).get(layout.decides, "")
    examples = [
        Example(row, *pair[:3], decided=str(rows[row].get(column, ""))) for row, pair in records if row in wanted
    ] or _singles(layout, rows, places)
    return Reading(layout.key, layout.name, takes, examples[:SHOWN], column)


def _singles(layout: Layout, rows: Sequence[Row], places: Sequence[int]) -> list[Example]:
    """Single answers, where none of these rows has its partner among them."""
    read = ((place, item) for place in places for item in _read(layout, rows[place]))
    return [Example(place, item.prompt, item.answer, None) for place, item in read if isinstance(item, Rated)]


def _read(layout: Layout, row: Row) -> list[Pair | Rated | Message]:
    try:
        return layout.read(row)
    except Unusable:
        return []


def _differing(rows: Sequence[Row], layouts: Sequence[Layout]) -> list[int]:
    """Rows that the layouts read differently: those show what the question is about."""
    found = []
    for place, row in enumerate(rows):
        if len({str([pair[:3] for pair in _read(layout, row)]) for layout in layouts}) > 1:
            found.append(place)
    return found
