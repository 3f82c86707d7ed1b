"""Runs as rows: the settings that differ, and what came of them (pure functions; no dash here)."""

from __future__ import annotations

import operator
import re
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from dpo.dashboard.choices import base_of, policies_of
from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.runs_page.row_index import FEW, RowIndex
from dpo.errors import ConfigError, RunError, StorageError
from dpo.evaluation.votes import Vote, Votes
from dpo.files import cache_directory
from dpo.runs import Metrics, Run
from dpo.runs.files import identity
from dpo.runs.find import names
from dpo.runs.manage import comes_with_dpo
from dpo.runs.newest import TRAINING, newest
from dpo.runs.record import AUDIT, NOTE

Row = dict[str, Any]
ReadRows = dict[str, tuple[str, Row]]  # by path: what the files were, and what was read of them
# Always distinct, or of no interest when runs are compared.
_NOT_COMPARED = {"output_dir", "resume", "report_to", "probes", "logging_steps", "save_steps", "keep_checkpoints"}
# Measures of a row: field, heading, digits.
MEASURES = (
    ("loss", "Loss", ".3f"), ("accuracy", "Accuracy", ".1%"), ("margin", "Margin", ".3f"), ("kl", "KL", ".2f"),
    ("energy", "Wh per nat", ".3f"),
)  # fmt: skip
# Beside its columns, for assets/js/runs/cells.js, tooltips, and whether one may write into it.
_DRAWN_BY = frozenset({"path", "family", "kind", "pinned", "flawed", "reason", "own", "over", "votes"})
_OF_PAIRS = ("loss", "accuracy", "margin")
_SHORT = {"beta": "β", "learning_rate": "lr", "loss_type": "Objective", "batch_size": "Batch", "lora_rank": "Rank"}
_FIRST_SETTINGS = 3
_STATES = {"finished": "done", "interrupted": "killed"}
_MOST_FILTER = 500  # characters
_CONDITION = re.compile(r"^\s*([\w /-]+?|β)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*$")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip


class RunTable:
    """The rows of all runs, read anew when a run or the votes have changed.

    Args:
        index: where rows of many runs are kept from one server to the next.
    """

    def __init__(self, reader: RunReader, votes: Votes, index: RowIndex | None = None) -> None:
        self.reader, self.votes = reader, votes
        self._index = RowIndex(cache_directory() / "runs.sqlite") if index is None else index
        self._turn = threading.Lock()
        self._rows: tuple[str, list[Row]] = ("", [])
        self._known: ReadRows = {}

    def signature(self) -> str:
        """Changes whenever a row may."""
        look = self.reader.look()
        marks = zlib.crc32(str([identity(run.path / NOTE) for run in look.runs]).encode())
        return f"{look.signature}-{marks}-{self.votes.signature()}"

    def rows(self, signature: str) -> list[Row]:
        """The rows at this signature."""
        with self._turn:  # who comes while thousands of runs are being read waits for that
            known, rows = self._rows
            if known != signature:
                rows = self._read()
                self._rows = signature, rows
            return rows

    def prepare(self) -> None:
        """Read all runs before somebody asks."""
        self.rows(self.signature())

    def _read(self) -> list[Row]:
        new = {str(run.path) for run in self.reader.look().runs} - self._known.keys()
        if len(new) >= FEW:
            self._known |= self._index.find(new)
        before = dict(self._known)
        rows = rows_of(self.reader, self._votes(), self._known)
        read = {path: made for path, made in self._known.items() if path not in before or before[path][0] != made[0]}
        if len(read) >= FEW:
            self._index.keep(read)
        return rows

    def named(self, paths: Sequence[str]) -> list[Row]:
        """The rows of the runs at `paths`, in that order; a path that is no run's has none."""
        known = {row["path"]: row for row in self.rows(self.signature())}
        return [known[path] for path in paths if path in known]

    def _votes(self) -> Sequence[Vote]:
        try:
            return self.votes.all()
        except StorageError:  # Compare reports it; the table does without
            return ()


def rows_of(reader: RunReader, votes: Sequence[Vote] = (), known: ReadRows | None = None) -> list[Row]:
    """A row for each run, those that are pinned first; settings are under `set/NAME`, checkpoints under `points`.

    `won` is the share of the blind votes between what the run made and what it began with that went
    to the run, `votes` how many there were.

    Args:
        known: rows of an earlier call: those of runs whose files are the same are not read again.
    """
    listing, known = reader.look(), {} if known is None else known
    before = dict(known)
    known.clear()
    made = []
    for run, label in zip(listing.runs, names(listing.runs), strict=True):
        path = str(run.path)
        beside = identity(f"{path}/{NOTE}"), identity(f"{path}/{AUDIT}")
        key = repr((tuple(listing.stamps[path]), listing.states[path], run.problem, *beside))
        old = before.get(path)
        row = old[1] if old is not None and old[0] == key else _row(run, label, reader)
        known[path] = key, row
        made.append(row | {"name": label} | _won(run, votes))
    return sorted(made, key=lambda row: not row["pinned"])


def differing(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Settings that differ between the rows, and those that do not (names without `set/`)."""
    known = list(dict.fromkeys(name[4:] for row in rows for name in row if name.startswith("set/")))
    differ = [name for name in known if _differs(f"set/{name}", rows)]
    first = [name for name in ("loss_type", "beta", "learning_rate") if name in differ]
    differ = first + [name for name in differ if name not in first]
    return differ, [name for name in known if name not in differ]


def _differs(field: str, rows: Sequence[Row]) -> bool:
    # By their text: 1, 1.0 and "1" are three settings.  Of thousands of runs most differ at the second already.
    first = repr(rows[0].get(field))
    return any(repr(row.get(field)) != first for row in rows)


def columns_of(
    rows: Sequence[Row], chosen: Sequence[str] = (), apart: tuple[list[str], list[str]] | None = None
) -> list[dict[str, Any]]:
    """Columns of the grid: run, state, the first settings that differ, what came of it, note, the other settings.

    Args:
        chosen: the fields that are wanted beside run and state; those that tell the runs apart where none is.
        apart: `differing` of the rows, where that is known: of thousands it takes a third of a second.
    """
    fixed: list[dict[str, Any]] = [
        {"field": "name", "headerName": "Run", "pinned": "left", "width": 200, "cellRenderer": "RunCell",
         "editable": {"function": "params.data.own"}, "tooltipField": "path"},
        {"field": "state", "headerName": "Status", "width": 96, "cellRenderer": "StatusCell",
         "tooltipField": "reason"},
    ]  # fmt: skip
    differ, alike = differing(rows) if apart is None else apart
    first, others = differ[:_FIRST_SETTINGS], differ[_FIRST_SETTINGS:]
    if chosen:
        made = [*(_setting(name, rows) for name in differ + alike), *_measured(rows, always=True), *_beside()]
        return fixed + [column for column in made if column["field"] in set(chosen)]
    # What came of a run, and what was noted, stays in sight, however many settings differ.
    return [
        *fixed, *(_setting(name, rows) for name in first), *_measured(rows), *_beside(),
        *(_setting(name, rows) for name in others),
    ]  # fmt: skip


def sent(rows: Sequence[Row], columns: Sequence[dict[str, Any]]) -> list[Row]:
    """The rows as the grid gets them: what a column shows, and what cells are drawn by.

    The grid sends all its rows back whenever one is chosen, so that of 10,000 runs each field costs twice.
    """
    fields = _DRAWN_BY | {column["field"] for column in columns}
    return [{field: value for field, value in row.items() if field in fields} for row in rows]


def choices_of(rows: Sequence[Row], apart: tuple[list[str], list[str]]) -> list[dict[str, str]]:
    """The fields of which a column can be chosen, as a select takes them; `apart` is `differing` of the rows."""
    differ, alike = apart
    settings = [{"value": f"set/{name}", "label": name.replace("_", " ")} for name in differ + alike]
    shown = [*_measured(rows, always=True), *_beside()]
    return [{"value": column["field"], "label": column["headerName"]} for column in shown] + settings


_RIGHT = {"type": "rightAligned", "cellClass": "ag-right-aligned-cell num", "filter": "agNumberColumnFilter"}


def _setting(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    values = [row.get(f"set/{name}") for row in rows]
    column = {"field": f"set/{name}", "headerName": heading(name), "width": max(84, 40 + 8 * len(heading(name))),
              "headerTooltip": name}  # fmt: skip
    if not all(isinstance(value, int | float | None) for value in values):
        return column | {"tooltipField": f"set/{name}"}
    # One notation in a column: 5e-3 beside 7e-4, and 0.05 beside 0.1.
    tiny = any(value and abs(value) < 1e-3 for value in values)
    return column | _RIGHT | {"valueFormatter": {"function": f"{'dpoPower' if tiny else 'dpoNumber'}(params.value)"}}


def _measured(rows: Sequence[Row], always: bool = False) -> list[dict[str, Any]]:
    """What came of the runs: the measures that one of them has."""
    made: list[dict[str, Any]] = [{"field": "step", "headerName": "Step", "width": 70, **_RIGHT}]
    for field, title, digits in MEASURES:
        if always or any(row.get(field) is not None for row in rows):
            shown = {"function": f"dpoMeasure(params.value, {digits[1]})"}
            if digits.endswith("%"):
                shown = {"function": f"params.value == null ? '' : d3.format('{digits}')(params.value)"}
            made.append({"field": field, "headerName": title, "width": max(76, 36 + 8 * len(title)),
                         "valueFormatter": shown, **_RIGHT,
                         **({"tooltipField": "over"} if field in _OF_PAIRS else {})})  # fmt: skip
    if any(row.get("over") == TRAINING for row in rows):
        made.append({"field": "over", "headerName": "Over", "width": 84,
                     "headerTooltip": "Which pairs loss, accuracy and margin are of"})  # fmt: skip
    if always or any(row.get("won") is not None for row in rows):
        shown = {"function": "params.value == null ? '' : d3.format('.0%')(params.value) + ' of ' + params.data.votes"}
        made.append({"field": "won", "headerName": "Votes won", "width": 104, "valueFormatter": shown, **_RIGHT,
                     "headerTooltip": "Of the blind votes between its policy and what it was tuned from"})  # fmt: skip
    return made


def _beside() -> list[dict[str, Any]]:
    """What people put beside a run."""
    own = {"editable": {"function": "params.data.own"}}
    return [
        {"field": "tags", "headerName": "Tags", "width": 112, "cellRenderer": "TagsCell", "tooltipField": "tags",
         "headerTooltip": "Double-click; commas between them", **own},
        {"field": "note", "headerName": "Note", "flex": 1, "minWidth": 150, "tooltipField": "note", **own},
    ]  # fmt: skip


def heading(name: str) -> str:
    """A setting's column heading."""
    return _SHORT.get(name, name.replace("_", " "))


def filtered(rows: Sequence[Row], text: str) -> list[Row]:
    """Rows that meet all conditions of a line such as `beta < 0.3 and kl < 5 and gpt2`.

    A part without a comparison is looked for in name, status, tags and note.

    Raises:
        ConfigError: a comparison names no column, or compares a number with a word, or the line is too long.
    """
    if len(text) > _MOST_FILTER:
        raise ConfigError(f"The filter has {len(text):,} characters: {_MOST_FILTER} at most")
    left = list(rows)
    for part in filter(None, (part.strip() for part in re.split(r"\s+and\s+|\s*&\s*", text.strip()))):
        found = _CONDITION.match(part)
        if found is None:
            left = [row for row in left if _mentions(row, part)]
            continue
        name, sign, wanted = found.groups()
        field = _field(name, rows)
        left = [row for row in left if _meets(row.get(field), sign, wanted, name)]
    return left


def spoken(value: Any) -> Any:
    """A setting as the grid shows it: lists as words, switches as yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _row(run: Run, label: str, reader: RunReader) -> Row:
    metrics, problems = Metrics(), [run.problem] if run.problem else []
    damaged = run.damaged
    try:
        if not damaged:
            run, metrics = reader.read(str(run.path))
            problems = run.problems()
    except RunError as error:
        damaged, problems = True, [str(error)]

    reached, energy = newest(metrics), run.info.get("energy_wh")
    margin, marks = reached.margin, run.marks()
    settings = {f"set/{name}": spoken(value) for name, value in run.config.items()
                if name not in _NOT_COMPARED and isinstance(value, bool | int | float | str | list | None)}  # fmt: skip
    return settings | {
        "path": str(run.path),
        "name": label,
        "family": run.family,
        "kind": run.kind,
        "state": "damaged" if damaged else _STATES.get(run.state, run.state),
        "reason": "; ".join([*problems, *filter(None, [run.info.get("reason")])]),
        "flawed": bool(problems) and not damaged,
        "own": not damaged and not run.info.get("foreign") and not comes_with_dpo(run),
        "step": metrics.steps[-1] if metrics.rows else 0,
        "loss": reached.loss,
        "accuracy": reached.accuracy,
        "margin": margin,
        "over": reached.over,
        "kl": metrics.last("eval_kl"),
        "energy": energy / margin if isinstance(energy, int | float) and margin is not None and margin > 0 else None,
        "note": marks["note"],
        "tags": ", ".join(marks["tags"]),
        "pinned": marks["pinned"],
        "points": _points(metrics),
    }


def _won(run: Run, votes: Sequence[Vote]) -> dict[str, Any]:
    if not votes:
        return {"won": None, "votes": 0}
    before, after = base_of(run), set(policies_of(run).values())
    between = [vote for vote in votes if before in (vote.policy_a, vote.policy_b)
               and after & {vote.policy_a, vote.policy_b}]  # fmt: skip
    if before is None or not between:
        return {"won": None, "votes": 0}
    from dpo.evaluation.vote_statistics import tally

    found = [tally(between, before, name)[name] for name in sorted(after)]
    wins, count = (sum(entry[part] for entry in found) for part in ("wins", "n"))
    return {"won": wins / count if count else None, "votes": count}


def _points(metrics: Metrics) -> list[dict[str, float]]:
    """Held-out evaluations that measured the KL: step, nats per answer, margin and accuracy."""
    steps, distances = metrics.series("eval_kl")
    margins = dict(zip(*metrics.series("eval_rewards/margins"), strict=True))
    accuracies = dict(zip(*metrics.series("eval_rewards/accuracies"), strict=True))
    made = []
    for step, kl in zip(steps, distances, strict=True):
        if step in margins:
            point = {"step": step, "kl": kl, "margin": margins[step]}
            made.append(point | ({"accuracy": accuracies[step]} if step in accuracies else {}))
    return made


def _mentions(row: Row, part: str) -> bool:
    looked_at = ("name", "state", "tags", "note", "family")
    return any(part.lower() in str(row.get(field) or "").lower() for field in looked_at)


def _field(name: str, rows: Sequence[Row]) -> str:
    wanted = name.strip().lower().replace(" ", "_").replace("-", "_")
    fields = dict.fromkeys(field for row in rows for field in row if field != "points")
    for field in fields:
        plain = field.removeprefix("set/")
        if wanted in (plain.lower(), heading(plain).lower().replace(" ", "_")):
            return field
    known = ", ".join(field.removeprefix("set/") for field in fields if field in ("loss", "margin", "kl", "set/beta"))
    raise ConfigError(f"No column is called {name.strip()!r}: try {known or 'loss, margin or kl'}")


def _meets(value: Any, sign: str, wanted: str, name: str) -> bool:
    if value is None:
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(wanted.rstrip("%")) / (100 if wanted.endswith("%") else 1)
        except ValueError:
            raise ConfigError(f"{name.strip()} is a number, {wanted!r} is none: write {name.strip()} < 0.3") from None
        return _COMPARE[sign](float(value), number)
    if sign not in ("=", "!="):
        raise ConfigError(f"{name.strip()} is no number: write {name.strip()} = {value}")
    return _COMPARE[sign](str(value).lower(), wanted.strip("\"'").lower())
