"""Recognise a public layout of preference data by its first rows.

Every layout is tried on a sample.  Where several fit and give the same pairs, the surest is taken;
where they give different pairs the user is asked, because a guess here trains towards the wrong side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpo.errors import DataError
from dpo.preferences import comparisons, ratings, sides, trees
from dpo.preferences.layouts import (
    Layout,
    Message,
    Pair,
    Rated,
    Row,
    actual_names,
    answerable,
    by_prompt,
    context_of,
    pair_of,
    plain,
)
from dpo.preferences.turns import DropReason, OtherLayout, UnknownPart, Unusable, is_turns

SAMPLE_ROWS = 200
_MODULES = (sides, comparisons, ratings, trees)
"""Each has `layouts(rows)`: a new layout is a function in one of them."""


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
class _Trial:
    layout: Layout
    share: float
    results: tuple[list[Pair | Rated | Message] | None, ...]


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
    candidates = [layout for module in _MODULES for layout in module.layouts(rows)]
    if layout is not None:
        every = [*candidates, *comparisons.layouts(rows, every=True)]
        named = [each for each in (*every, *by_prompt(every, rows)) if each.key == layout]
        if not named:
            known = ", ".join(reading.layout.key for reading in _readings(candidates, rows)) or "none"
            raise DataError(f"--layout {layout} does not fit: {known} would")
        return Recognised(named[0], _read(named[0], rows).share)
    if apart := by_prompt(candidates, rows):
        candidates = [*(candidate for candidate in candidates if candidate.takes[0]), *apart]
    readings = [reading for reading in _readings(candidates, rows) if not reading.layout.on_request]
    if not readings:
        raise DataError(_part_of(candidates, rows) or _why_not(rows))
    readings = [reading for reading in readings if any(reading.results)] or readings
    best = max(reading.share for reading in readings)
    # A layout that fits few rows where another fits most is no second reading.
    readings = [reading for reading in readings if reading.share >= 0.5 * best]
    readings = [reading for reading in readings if not reading.layout.secondary] or readings
    readings.sort(key=lambda reading: -(reading.share * reading.layout.certainty))
    first = readings[0]
    if any(_differ(first, reading) for reading in readings[1:]):
        raise _question(first, readings)
    confidence = first.share * first.layout.certainty
    return Recognised(first.layout, confidence, tuple(reading.layout.key for reading in readings[1:]))


def _readings(candidates: Sequence[Layout], rows: Sequence[Row]) -> list[_Trial]:
    fitting = [layout for layout in candidates if any(layout.fits(row) for row in rows[:20])]
    return [reading for reading in (_read(layout, rows) for layout in fitting) if reading.share > 0]


def _read(layout: Layout, rows: Sequence[Row]) -> _Trial:
    """The layout tried on the sample; a row that fits but has an empty cell or is a tie counts as read."""
    results: list[list[Pair | Rated | Message] | None] = []
    read = 0
    for row in rows:
        try:
            results.append(layout.read(row))
            read += 1
        except (OtherLayout, UnknownPart):
            results.append(None)
        except Unusable:
            results.append(None)
            read += layout.fits(row)
    return _Trial(layout, read / len(rows), tuple(results))


def _differ(one: _Trial, other: _Trial) -> bool:
    if one.layout.gives is not other.layout.gives:
        return True
    both = [(a, b) for a, b in zip(one.results, other.results, strict=True) if a is not None and b is not None]
    return any([pair[:3] for pair in a] != [pair[:3] for pair in b] for a, b in both) or not both


def _part_of(candidates: Sequence[Layout], rows: Sequence[Row]) -> str:
    """What to say where a layout fits and its messages hold something else than text; "" if none does."""
    for number, row in enumerate(rows):
        for layout in candidates:
            try:
                if layout.fits(row):
                    layout.read(row)
            except UnknownPart as error:
                return (
                    f"row {number} holds a message part of type {error.kind!r} (the columns are "
                    f"{', '.join(map(str, row))}), and only text is read: take such rows out, or write as text what "
                    "the part says"
                )
            except Unusable:
                continue
    return ""


def _question(first: _Trial, readings: Sequence[_Trial]) -> AmbiguousError:
    layouts = [first.layout, *(reading.layout for reading in readings[1:] if _differ(first, reading))]
    choices = "; ".join(f"--layout {layout.key} ({layout.name})" for layout in layouts)
    message = f"these rows can be read in {len(layouts)} ways that give different pairs: choose {choices}"
    return AmbiguousError(message, layouts)


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
            raise Unusable(DropReason.NO_TEXT)
        if promptless:
            return pair_of(None, row[chosen], row[rejected])
        system = {name: value for name, value in plain(row).items() if name == "system"}
        return pair_of(context_of(system | {prompt: row[prompt]}, prompt), row[chosen], row[rejected])

    shown = ", ".join([*([] if promptless else [prompt]), chosen, rejected])
    asked = f"{chosen}, before its last answer" if promptless else prompt
    named = Layout("columns", shown, lambda _: True, read, takes=(asked, chosen, rejected), verbatim=True)
    reading = _read(named, rows)
    if reading.share == 0 and (problem := _part_of([named], rows)):
        raise DataError(problem)
    if promptless and not any(reading.results):
        raise DataError("there is no column of prompts: name it with --prompt-column")
    return Recognised(named, reading.share)


def _why_not(rows: Sequence[Row]) -> str:
    """Why rows are no preference data that we read, and the way out."""
    actual = actual_names(rows)
    found = f"the columns are {', '.join(dict.fromkeys(str(name) for row in rows for name in row))}"
    flags = "--prompt-column, --chosen-column and --rejected-column"
    if {"chosen", "rejected"} <= actual.keys():
        return (
            f"there are two answers but no prompt ({found}): name its column with --prompt-column, or use "
            "--layout common-prefix if both answers begin with it"
        )
    if "label" in actual and actual.keys() & {"completion", "messages", "response"}:
        return f"this is unpaired data with a label ({found}): pair a good and a bad answer for each prompt first"
    several = {actual[name]: _answers_in(rows, name) for name in actual if name.startswith(_ANSWERS)}
    if sum(several.values()) > 1:
        which = " and ".join(name for name, count in several.items() if count)
        return (
            f"{which} may hold several answers, but nothing that we know says which one is better ({found}): name "
            f"them with {flags}, or write the better one to chosen and the worse one to rejected"
        )
    if actual.keys() & _SINGLE:
        return (
            f"these are single answers, not preferences ({found}): DPO needs a chosen and a rejected answer. "
            "Write a worse answer for each, or let two policies answer each prompt"
        )
    return f"no preference pairs recognised ({found}): name them with {flags}"


_SINGLE = {"output", "messages", "text", "completion", "response", "answer", "conversations"}
_ANSWERS = (
    "answer", "response", "output", "completion", "generation", "candidate", "chosen", "rejected", "preferred",
    "dispreferred", "nonpreferred", "better", "worse", "origresponse",
)  # fmt: skip


def _answers_in(rows: Sequence[Row], name: str) -> int:
    """How many texts a column holds that may be answers, by its first row with a value."""
    value = next((plain(row)[name] for row in rows if name in plain(row)), None)
    if isinstance(value, list) and not is_turns(value):
        return sum(answerable(text) or (isinstance(text, Mapping) and len(text) > 1) for text in value)
    return int(answerable(value))
