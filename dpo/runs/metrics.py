"""Measures of a run as columns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
# From this size on the columns are read by pyarrow (five times quicker, but all lines must be sound).
_MANY_BYTES = 1 << 18


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
        return merge([chunk_of_rows(rows)], problems)

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


@dataclass(frozen=True, eq=False)
class Chunk:
    """Columns of some rows in the order they were written; steps may repeat or go back."""

    arrays: dict[str, Floats]
    not_finite: dict[str, list[int]]


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
    """Columns of rows that have a step; values that are no numbers are left out."""
    kept = [row for row in rows if _is_number(row.get("step")) and math.isfinite(row["step"])]
    names = dict.fromkeys(name for row in kept for name in row)
    arrays: dict[str, Floats] = {}
    bad: dict[str, list[int]] = {}
    for name in names:
        values = np.full(len(kept), np.nan)
        for place, row in enumerate(kept):
            value = row.get(name, "")
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                bad.setdefault(name, []).append(int(row["step"]))
            elif _is_number(value):
                values[place] = value
        if name == "step" or name in bad or not np.isnan(values).all():
            arrays[name] = values
    return Chunk(arrays, bad)


def chunk_of_lines(content: bytes) -> tuple[Chunk, int]:
    """Columns of complete JSON lines, and how many damaged lines were left out."""
    if len(content) >= _MANY_BYTES and (quick := _by_arrow(content)) is not None:
        return quick, 0
    rows, damaged = [], 0
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            damaged += bool(line.strip())
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            damaged += 1
    return chunk_of_rows(rows), damaged


def _by_arrow(content: bytes) -> Chunk | None:
    """The same by pyarrow; None where lines are damaged or hold NaN or null, which it cannot tell apart."""
    if b"null" in content or b"NaN" in content or b"Infinity" in content:
        return None
    import pyarrow as pa
    from pyarrow import json as arrow_json

    try:
        table = arrow_json.read_json(BytesIO(content), arrow_json.ReadOptions(block_size=1 << 24))
    except pa.ArrowInvalid:
        return None
    if "step" not in table.column_names:
        return None
    arrays = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            arrays[name] = column.cast(pa.float64()).to_numpy()
    steps = arrays.get("step")
    if steps is None or np.isnan(steps).any():
        return None
    return Chunk(arrays, {})


def _joined(chunks: Sequence[Chunk], name: str) -> Floats:
    parts = [chunk.arrays.get(name, np.full(len(chunk.arrays["step"]), np.nan)) for chunk in chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _scattered(values: Floats, place: npt.NDArray[np.intp], size: int) -> Floats:
    made = np.full(size, np.nan)
    known = ~np.isnan(values)
    made[place[known]] = values[known]  # numpy assigns in order: the last one stays
    return made


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
