"""The table of pairs: its columns, and the pairs that a search, a finding, filters and an order ask for.

All pairs are within reach: the grid asks for a hundred rows at a time, and what it asks for is found
here in arrays that the audit measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from dpo.arrays import Floats
from dpo.dashboard.audit_jobs import AuditJob
from dpo.dashboard.web.schema import Count
from dpo.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

    from dpo.preferences.audit import Audit

SIDES = ("prompt", "chosen", "rejected")
BLOCK = 100
"""Rows that the grid asks for at a time."""
_BATCH = 1024
_SHOWN = 300  # characters of a prompt in the table
_MOST_SELECTIONS = 20
Places = NDArray[np.int64]
CHES = "ches"
"""The column that is hidden until somebody has its numbers measured."""
# Column, heading, width, and what the heading's tooltip says.
NUMBERS = (
    (CHES, "CHES", 104, "The higher, the more training pushes the chosen answer down; of the policy chosen beside"),
    ("chosen", "Chosen", 112, "Characters of the chosen answer"),
    ("rejected", "Rejected", 120, "Characters of the rejected answer"),
    ("difference", "Difference", 130, "Characters, chosen minus rejected"),
    ("tokens", "Tokens", 110, "Tokens of the longer answer with its end"),
    ("emoji", "Emoji", 104, "Emoji, chosen minus rejected"),
    ("unk_chosen", "Unk chosen", 138, "Unknown tokens of the chosen answer in the published vocabulary"),
    ("unk_rejected", "Unk rejected", 148, "Unknown tokens of the rejected answer in the published vocabulary"),
    ("fit", "Fit", 88, "Share of the prompt's words that the rejected answer takes up"),
    ("flags", "Flags", 100, "Findings that name the row"),
)


def _known(name: str) -> str:
    if name not in _COLUMNS:
        raise ValueError("there is no such column")
    return name


ColumnName = Annotated[str, AfterValidator(_known)]


class Filter(TypedDict, total=False):
    """A number filter of the grid, or several that are joined."""

    filterType: str
    type: Literal[
        "equals", "notEqual", "greaterThan", "greaterThanOrEqual", "lessThan", "lessThanOrEqual", "inRange", "blank",
        "notBlank",
    ]  # fmt: skip
    filter: float | None
    filterTo: float | None
    operator: Literal["AND", "OR"]
    conditions: list[Filter]


class Sort(TypedDict):
    """A column that the grid is sorted by."""

    colId: ColumnName
    sort: Literal["asc", "desc"]


class GridRequest(TypedDict):
    """The rows that the grid asks for."""

    startRow: Count
    endRow: Count
    sortModel: list[Sort] | None
    filterModel: dict[ColumnName, Filter] | None


@dataclass(frozen=True)
class TableQuery:
    """A selection: a text, a finding ("" is any), columns to sort by (descending if true), the grid's filters."""

    text: str = ""
    finding: str = ""
    sort: tuple[tuple[ColumnName, bool], ...] = ()
    filters: Mapping[ColumnName, Filter] = field(default_factory=dict)

    @classmethod
    def of_request(cls, text: str | None, finding: str | None, request: GridRequest) -> TableQuery:
        """What the grid's request says, and what stands in the fields above it."""
        sort = tuple((entry["colId"], entry["sort"] == "desc") for entry in request["sortModel"] or [])
        return cls((text or "").strip(), finding or "", sort, dict(request["filterModel"] or {}))

    def to_json(self) -> str:
        """As text, for a link."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> TableQuery:
        """What `to_json` wrote.

        Raises:
            ConfigError: something else.
        """
        try:
            return TypeAdapter(cls).validate_json(text, strict=True)
        except ValidationError as error:
            raise ConfigError("The selection cannot be read: choose it anew on the Data page") from error


def column_definitions() -> list[dict[str, Any]]:
    """The grid's columns."""
    # d3 writes a real minus sign.
    shown = {"function": "params.value == null ? '' : d3.format(',')(params.value)"}
    number = {
        "filter": "agNumberColumnFilter", "cellClass": "ag-right-aligned-cell num", "valueFormatter": shown,
        "headerClass": "ag-right-aligned-header", "sortingOrder": ["desc", "asc", None],
    }  # fmt: skip
    return [
        {"field": "row", "headerName": "Row", "width": 96, **number, "sortingOrder": ["asc", "desc", None]},
        {"field": "prompt", "headerName": "Prompt", "flex": 1, "minWidth": 220, "sortable": False},
        *(
            {"field": name, "headerName": heading, "width": width, "headerTooltip": tip, "hide": name == CHES, **number}
            for name, heading, width, tip in NUMBERS
        ),
    ]


def select(job: AuditJob, asked: TableQuery) -> Places:
    """Places of the pairs that were asked for, in their order; unknown values come last."""
    assert job.data is not None
    key = asked.to_json()
    if key in job.found:
        found: Places = job.found[key]
        return found
    keep = np.ones(len(job.data.pairs), bool)
    if asked.finding:
        keep &= _of_finding(job, asked.finding)
    for name, model in asked.filters.items():
        keep &= _matching(column(job, name), model)
    if asked.text:
        keep &= _holding(job, asked.text)
    places = np.flatnonzero(keep)
    for name, down in reversed(asked.sort):
        values = column(job, name)[places]
        order = np.argsort(-values if down else values, kind="stable")  # NaN sorts last either way
        places = places[order]
    selections = [name for name in job.found if name.startswith("{")]
    if len(selections) >= _MOST_SELECTIONS:
        del job.found[selections[0]]
    job.found[key] = places
    return places


def column(job: AuditJob, name: str) -> Floats:
    """A measure of each pair, NaN where it was not taken (tokens are counted of a sample).

    Raises:
        KeyError: no such column.
    """
    if name not in job.found:
        job.found[name] = _COLUMNS[name](job)
    found: Floats = job.found[name]
    return found


def listed(job: AuditJob, places: Places, start: int) -> list[dict[str, Any]]:
    """Rows for the grid: those of `places`, of which the first is at `start` of the selection."""
    assert job.data is not None
    batch = job.data.pairs[places.tolist()] if len(places) else {"prompt": []}
    rows: list[dict[str, Any]] = [
        {"index": start + at, "prompt": prompt[:_SHOWN]} for at, prompt in enumerate(batch["prompt"])
    ]
    for name in ("row", *(name for name, *_ in NUMBERS)):
        for row, value in zip(rows, column(job, name)[places].tolist(), strict=True):
            row[name] = None if value != value else _SHOWN_AS.get(name, int)(value)
    return rows


def codes_of(job: AuditJob, place: int) -> list[str]:
    """The findings that name a pair's row."""
    assert job.audit is not None
    codes = dict.fromkeys(finding.code for finding in job.audit.findings if finding.rows)
    return [code for code in codes if _of_finding(job, code)[place]]


def with_rows(result: Audit) -> list[dict[str, str]]:
    """Data of the select that lists the pairs of one finding."""
    codes = dict.fromkeys(finding.code for finding in result.findings if finding.rows)
    return [{"value": "", "label": "All pairs"}, *({"value": code, "label": code} for code in codes)]


def exported(pairs: Dataset, places: Places) -> Iterator[str]:
    """Pairs as JSON lines of prompt, chosen and rejected: the layout of the Human-Like data."""
    table = pairs.select_columns(list(SIDES))
    for start in range(0, len(places), _BATCH):
        batch = table[places[start : start + _BATCH].tolist()]
        rows = zip(*(batch[side] for side in SIDES), strict=True)
        yield "".join(json.dumps(dict(zip(SIDES, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)


def _surface(side: str, place: int) -> Callable[[AuditJob], Floats]:
    def read(job: AuditJob) -> Floats:
        assert job.signals is not None
        return job.signals.surface[side][:, place].astype(float)

    return read


def _more(place: int) -> Callable[[AuditJob], Floats]:
    chosen, rejected = _surface("chosen", place), _surface("rejected", place)
    return lambda job: chosen(job) - rejected(job)


def _tokens(job: AuditJob) -> Floats:
    return _counted(job, lambda counted: counted.lengths[:, 1:].max(1))


def _unknown(side: int) -> Callable[[AuditJob], Floats]:
    return lambda job: _counted(job, lambda counted: counted.unknown[:, side])


def _counted(job: AuditJob, pick: Callable[[Any], NDArray[np.int64]]) -> Floats:
    assert job.signals is not None
    values = np.full(len(job.signals.row), np.nan)
    for counted in job.signals.tokens.values():
        values[counted.rows] = pick(counted)
    return values


def _fit(job: AuditJob) -> Floats:
    assert job.signals is not None
    prompt, rejected = job.signals.columns["prompt"], job.signals.columns["rejected"]
    words = len(job.signals.words)
    asked, answered = prompt.presence(words), rejected.presence(words)
    common = np.asarray(asked.multiply(answered).sum(1), dtype=float).ravel()
    shares: Floats = common / np.maximum(np.diff(asked.indptr), 1)
    return shares


def _ches(job: AuditJob) -> Floats:
    assert job.signals is not None
    known = job.scored.scores if job.scored is not None else None
    return np.full(len(job.signals.row), np.nan) if known is None else known


def _flags(job: AuditJob) -> Floats:
    assert job.audit is not None and job.signals is not None
    codes = {finding.code for finding in job.audit.findings if finding.rows}
    counts = np.zeros(len(job.signals.row))
    for code in codes:
        counts += _of_finding(job, code)
    return counts


_COLUMNS: Mapping[str, Callable[[AuditJob], Floats]] = {
    "row": lambda job: job.signals.row.astype(float) if job.signals is not None else np.zeros(0),
    "chosen": _surface("chosen", 0),
    "rejected": _surface("rejected", 0),
    "difference": _more(0),
    "tokens": _tokens,
    "emoji": _more(1),
    "unk_chosen": _unknown(0),
    "unk_rejected": _unknown(1),
    "fit": _fit,
    "flags": _flags,
    CHES: _ches,
}
_SHOWN_AS: Mapping[str, Callable[[float], float]] = {
    "fit": lambda value: round(value, 2),
    CHES: lambda value: float(f"{value:.4g}"),  # its size is that of the policy's hidden states
}


def _matching(values: Floats, model: Filter) -> NDArray[np.bool_]:
    """Which values a number filter of the grid lets through (two conditions may be joined)."""
    if "conditions" in model:
        parts = [_matching(values, part) for part in model["conditions"]]
        joined: NDArray[np.bool_] = np.logical_or.reduce(parts) if model.get("operator") == "OR" else np.all(parts, 0)
        return joined
    low, high = (np.nan if limit is None else float(limit) for limit in (model.get("filter"), model.get("filterTo")))
    known = ~np.isnan(values)
    tests: Mapping[str, Callable[[], NDArray[np.bool_]]] = {
        "equals": lambda: values == low,
        "notEqual": lambda: known & (values != low),
        "greaterThan": lambda: values > low,
        "greaterThanOrEqual": lambda: values >= low,
        "lessThan": lambda: values < low,
        "lessThanOrEqual": lambda: values <= low,
        "inRange": lambda: (values >= low) & (values <= high),
        "blank": lambda: ~known,
        "notBlank": lambda: known,
    }
    return tests[model.get("type", "notBlank")]()


def _of_finding(job: AuditJob, code: str) -> NDArray[np.bool_]:
    """Which places a finding names (by row number, as far as it lists them)."""
    assert job.signals is not None and job.audit is not None
    rows = job.signals.row
    hit = np.zeros(len(rows), bool)
    for finding in job.audit.findings:
        if finding.code == code:
            for first, last in finding.rows:
                hit |= (rows >= first) & (rows <= last)
    return hit


def _holding(job: AuditJob, text: str) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    assert job.data is not None
    hit = np.zeros(len(job.data.pairs), bool)
    arrow = job.data.pairs.with_format("arrow")
    for start in range(0, len(hit), 8192):
        batch = arrow[start : start + 8192]
        for side in SIDES:
            found = pc.match_substring(batch[side], text, ignore_case=True).to_numpy()
            hit[start : start + len(found)] |= found.astype(bool)
    return hit
