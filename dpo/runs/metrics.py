"""Measures of a run as columns."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from dpo.arrays import Floats
from dpo.counting import counted
from dpo.runs.files import one_line, parse_lines
from dpo.runs.schema import MOST_STEP

_MOST_MEASURES = 2_000
_LONGEST_NAME = 200


@dataclass(frozen=True, eq=False)
class Metrics:
    """Rows of measures as columns.

    `arrays["step"]` is ascending without repeats; NaN stands where a row lacks a measure.
    `not_finite` names the steps at which a measure was logged as NaN or infinite, and `problems`
    says in one line each what could not be read.
    """

    arrays: dict[str, Floats] = field(default_factory=dict)
    not_finite: dict[str, list[int]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], problems: Sequence[str] = ()) -> Metrics:
        """Columns of numbers; other values are left out, and the last row of a step counts."""
        chunk = chunk_of_rows(rows)
        return merge([chunk], [*problems, *chunk.left_out.sentences("the rows")])

    @cached_property
    def columns(self) -> dict[str, list[float | None]]:
        """The columns as lists; None where a row lacks a measure."""
        made: dict[str, list[float | None]] = {}
        for name, values in self.arrays.items():
            if name == "step":
                made[name] = [int(value) if value.is_integer() else value for value in values.tolist()]
            else:
                made[name] = [None if value != value else value for value in values.tolist()]
        return made

    @property
    def steps(self) -> list[int]:
        """Every logged step."""
        return [int(step) for step in self.arrays["step"].tolist()] if "step" in self.arrays else []

    @property
    def rows(self) -> int:
        """How many steps were logged."""
        return len(self.arrays["step"]) if "step" in self.arrays else 0

    def keys(self) -> list[str]:
        """Names of the measures that have at least one value."""
        return [name for name, values in self.arrays.items() if not np.isnan(values).all()]

    def points(self, key: str, x: str = "step") -> tuple[Floats, Floats]:
        """The points at which both `x` and `key` exist, as arrays."""
        across, values = self.arrays.get(x), self.arrays.get(key)
        if across is None or values is None:
            return np.empty(0), np.empty(0)
        known = ~(np.isnan(across) | np.isnan(values))
        return across[known], values[known]

    def series(self, key: str, x: str = "step") -> tuple[list[float], list[float]]:
        """The points at which both `x` and `key` exist, as lists."""
        across, values = self.points(key, x)
        return across.tolist(), values.tolist()

    def last(self, key: str) -> float | None:
        """The newest value of a measure."""
        _, values = self.points(key)
        return float(values[-1]) if len(values) else None


@dataclass
class LeftOut:
    """What could not be taken for rows of measures: counts of lines, rows, values by measure, and measures."""

    lines: int = 0
    rows: int = 0
    measures: int = 0
    values: Counter[str] = field(default_factory=Counter)

    def add(self, other: LeftOut) -> None:
        """Count what `other` counted as well."""
        self.lines, self.rows = self.lines + other.lines, self.rows + other.rows
        self.measures = max(self.measures, other.measures)
        self.values += other.values

    def sentences(self, name: str) -> list[str]:
        """A line for each kind; `name` is the file's."""
        messages = []
        if self.lines:
            messages.append(f"{counted(self.lines, 'damaged line')} of {name} left out")
        if self.rows:
            messages.append(f"{counted(self.rows, 'row')} of {name} left out, whose step is no step")
        for measure, count in self.values.most_common(3):
            messages.append(f"{counted(count, 'value')} of {measure} in {name} left out, not a number")
        if len(self.values) > 3:
            messages.append(f"values of {len(self.values) - 3} more measures in {name} left out")
        if self.measures:
            messages.append(f"{self.measures:,} measures of {name} left out, only {_MOST_MEASURES:,} are read")
        return messages


@dataclass(frozen=True, eq=False)
class Chunk:
    """Columns of some rows in the order they were written; steps may repeat or go back."""

    arrays: dict[str, Floats]
    not_finite: dict[str, list[int]]
    left_out: LeftOut = field(default_factory=LeftOut)


def merge(chunks: Sequence[Chunk], problems: Sequence[str] = ()) -> Metrics:
    """One table with ascending steps; of rows with the same step the later values count."""
    chunks = [chunk for chunk in chunks if len(chunk.arrays.get("step", ()))]
    if not chunks:
        return Metrics(problems=tuple(problems))
    names = list(dict.fromkeys(name for chunk in chunks for name in chunk.arrays))
    columns = {name: _joined(chunks, name) for name in names}
    steps = columns["step"]
    if not (np.diff(steps) > 0).all():
        unique, place = np.unique(steps, return_inverse=True)
        columns = {name: _scattered(values, place, len(unique)) for name, values in columns.items()}
    bad: dict[str, list[int]] = {}
    for chunk in chunks:
        for name, at in chunk.not_finite.items():
            bad[name] = bad.get(name, []) + at
    return Metrics(columns, bad, tuple(problems))


def chunk_of_rows(rows: Iterable[Mapping[str, Any]]) -> Chunk:
    """Columns of the rows that have a step from 0 to 2^53.

    A measure is what is a number in one row at least; its other values are left out and counted.
    Text beside the measures is passed over.
    """
    every = list(rows)
    fitting = [row for row in every if _is_number(step := row.get("step")) and 0 <= step <= MOST_STEP]
    left_out = LeftOut(rows=len(every) - len(fitting))
    arrays: dict[str, Floats] = {}
    bad: dict[str, list[int]] = {}
    for key in dict.fromkeys(["step", *(name for row in fitting for name in row)]):
        name = one_line(key[:_LONGEST_NAME])
        values, not_finite, unfit = _column(fitting, key)
        measured = not_finite or not np.isnan(values).all()
        if unfit and (measured or not name):
            left_out.values[name or "a nameless measure"] += unfit
        if name and measured:
            if len(arrays) >= _MOST_MEASURES:
                left_out.measures += 1
                continue
            arrays[name] = values
            if not_finite:
                bad[name] = not_finite
    return Chunk(arrays, bad, left_out)


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[Floats, list[int], int]:
    """The numbers under `key`, the steps at which they are not finite, and how many values are none."""
    given = [row.get(key, math.nan) for row in rows]
    if set(map(type, given)) <= {int, float}:  # as in nearly all columns, for which this is five times as quick
        with contextlib.suppress(OverflowError):
            values = np.array(given, float)
            if np.isnan(values).sum() == sum(key not in row for row in rows) and not np.isinf(values).any():
                return values, [], 0
    values, not_finite, unfit = np.full(len(rows), np.nan), [], 0
    for place, row in enumerate(rows):
        value = row.get(key, "")
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            not_finite.append(int(row["step"]))
        elif _is_number(value):
            try:
                values[place] = value
            except OverflowError:  # a whole number of hundreds of digits
                unfit += 1
        elif key in row:
            unfit += 1
    return values, not_finite, unfit


def chunk_of_lines(content: bytes) -> Chunk:
    """Columns of complete JSON lines; damaged lines are left out and counted."""
    rows, damaged = parse_lines(content)
    chunk = chunk_of_rows(rows)
    chunk.left_out.lines += damaged
    return chunk


def _joined(chunks: Sequence[Chunk], name: str) -> Floats:
    parts = [chunk.arrays.get(name, np.full(len(chunk.arrays["step"]), np.nan)) for chunk in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _scattered(values: Floats, place: npt.NDArray[np.intp], size: int) -> Floats:
    made = np.full(size, np.nan)
    known = ~np.isnan(values)
    made[place[known]] = values[known]  # numpy assigns in order: the last one stays
    return made


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
