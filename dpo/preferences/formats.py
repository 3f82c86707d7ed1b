"""Recognise a public layout of preference data by its first rows.

Every layout is tried on a sample.  Where several fit and give the same pairs, the surest is taken;
where they give different pairs the user is asked, because a guess here trains towards the wrong side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dpo.errors import DataError
from dpo.preferences.comparisons import COMPARISONS, two_answers
from dpo.preferences.layouts import (
    SIDE_LAYOUTS,
    Layout,
    Pair,
    Rated,
    Row,
    canonical,
    context_of,
    pair_of,
)
from dpo.preferences.turns import Unusable

LAYOUTS: tuple[Layout, ...] = (*SIDE_LAYOUTS, *COMPARISONS)
SAMPLE_ROWS = 200


@dataclass(frozen=True)
class Recognised:
    """A layout, how sure we are of it (0 to 1), and the other layouts that give the same pairs."""

    layout: Layout
    confidence: float
    same: tuple[str, ...] = ()


class AmbiguousError(DataError):
    """Rows that can be read in several ways, of which the user must choose one."""

    def __init__(self, message: str, layouts: Sequence[Layout]) -> None:
        super().__init__(message)
        self.layouts = tuple(layouts)

    def of(self, source: str) -> AmbiguousError:
        """The same question, with the name of the source."""
        return AmbiguousError(f"{source}: {self}", self.layouts)


@dataclass(frozen=True)
class _Reading:
    layout: Layout
    share: float
    results: tuple[Pair | Rated | None, ...]


def recognise(
    rows: Sequence[Row], columns: Mapping[str, str | None] | None = None, layout: str | None = None
) -> Recognised:
    """The layout of data that begins with `rows`.

    `columns` names prompt, chosen and rejected where the user did; `layout` is a key that an earlier
    question offered.

    Raises:
        DataError: not preference data, a named column is missing, or two readings differ.
    """
    given = {role: name for role, name in (columns or {}).items() if name}
    if given:
        return _by_columns(rows, given)
    candidates = [*LAYOUTS, *two_answers(rows)]
    if layout is not None:
        named = [candidate for candidate in candidates if candidate.key == layout]
        if not named:
            known = ", ".join(reading.layout.key for reading in _readings(candidates, rows)) or "none"
            raise DataError(f"--layout {layout} does not fit: {known} would")
        return Recognised(named[0], _read(named[0], rows).share)
    readings = [reading for reading in _readings(candidates, rows) if not reading.layout.on_request]
    if not readings:
        raise DataError(_why_not(rows))
    readings = [reading for reading in readings if any(reading.results)] or readings
    best = max(reading.share for reading in readings)
    # A layout that fits few rows where another fits most is no second reading.
    readings = [reading for reading in readings if reading.share >= 0.5 * best]
    readings.sort(key=lambda reading: -(reading.share * reading.layout.certainty))
    first = readings[0]
    if any(_differ(first, reading) for reading in readings[1:]):
        raise _question(first, readings)
    confidence = first.share * first.layout.certainty
    return Recognised(first.layout, confidence, tuple(reading.layout.key for reading in readings[1:]))


def _readings(candidates: Sequence[Layout], rows: Sequence[Row]) -> list[_Reading]:
    fitting = [layout for layout in candidates if any(layout.fits(row) for row in rows[:20])]
    return [reading for reading in (_read(layout, rows) for layout in fitting) if reading.share > 0]


def _read(layout: Layout, rows: Sequence[Row]) -> _Reading:
    """The layout tried on the sample; a row that fits but has an empty cell or is a tie counts as read."""
    results: list[Pair | Rated | None] = []
    read = 0
    for row in rows:
        try:
            results.append(layout.read(row))
            read += 1
        except Unusable as error:
            results.append(None)
            read += str(error) != "of another layout" and layout.fits(row)
        except (KeyError, IndexError, TypeError, AttributeError):
            results.append(None)
    return _Reading(layout, read / len(rows), tuple(results))


def _differ(one: _Reading, other: _Reading) -> bool:
    if one.layout.rated != other.layout.rated:
        return True
    both = [(a, b) for a, b in zip(one.results, other.results, strict=True) if a is not None and b is not None]
    return any(a[:3] != b[:3] for a, b in both) or not both


def _question(first: _Reading, readings: Sequence[_Reading]) -> AmbiguousError:
    layouts = [first.layout, *(reading.layout for reading in readings[1:] if _differ(first, reading))]
    choices = "; ".join(f"--layout {layout.key} ({layout.name})" for layout in layouts)
    said = f"these rows can be read in {len(layouts)} ways that give different pairs: choose {choices}"
    return AmbiguousError(said, layouts)


def _by_columns(rows: Sequence[Row], given: Mapping[str, str]) -> Recognised:
    """The columns the user named, the other roles under their usual names."""
    present = {str(name) for row in rows for name in row}
    for role, column in given.items():
        if column not in present:
            raise DataError(
                f"there is no column {column!r} for --{role}-column: the columns are {', '.join(map(str, rows[0]))}"
            )
    prompt, chosen, rejected = (given.get(role, role) for role in ("prompt", "chosen", "rejected"))
    if missing := next((name for name in (chosen, rejected) if name not in present), None):
        role = "chosen" if missing == chosen else "rejected"
        raise DataError(f"there is no column {missing!r}: name it with --{role}-column")
    promptless = prompt not in present

    def read(row: Row) -> Pair:
        if row.get(chosen) is None or row.get(rejected) is None or (not promptless and row.get(prompt) is None):
            raise Unusable("without text")
        if promptless:
            return pair_of(None, row[chosen], row[rejected])
        extras = {canonical(str(name)): value for name, value in row.items() if canonical(str(name)) == "system"}
        return pair_of(context_of(extras | {"\0": row[prompt]}, "\0"), row[chosen], row[rejected])

    shown = ", ".join([*([] if promptless else [prompt]), chosen, rejected])
    asked = f"{chosen}, before its last answer" if promptless else prompt
    named = Layout("columns", shown, lambda _: True, read, takes=(asked, chosen, rejected))
    reading = _read(named, rows)
    if all(result is None for result in reading.results) and promptless:
        raise DataError("there is no column of prompts: name it with --prompt-column")
    return Recognised(replace(named), reading.share)


def _why_not(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    found = f"the columns are {', '.join(columns)}"
    names = {canonical(name) for name in columns}
    if {"chosen", "rejected"} <= names:
        return (
            f"there are two answers but no prompt ({found}): name its column with --prompt-column, or use "
            "--layout common-prefix if both answers begin with it"
        )
    if "label" in names and names & {"completion", "messages", "response"}:
        return f"this is unpaired data with a label ({found}): pair a good and a bad answer for each prompt first"
    if names & {"output", "messages", "text", "completion", "response", "answer", "conversations"}:
        return (
            f"these are single answers, not preferences ({found}): DPO needs a chosen and a rejected answer. "
            "Write a worse answer for each, or let two policies answer each prompt"
        )
    return (
        f"no preference pairs recognised ({found}): name them with "
        "--prompt-column, --chosen-column and --rejected-column"
    )
