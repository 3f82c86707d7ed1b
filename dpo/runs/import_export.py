"""Runs out to files of other tools, and in from them."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from dpo.errors import RunError
from dpo.runs.cursor import measure_name
from dpo.runs.files import one_line, reason
from dpo.runs.find import runs_of
from dpo.runs.foreign import family_of
from dpo.runs.metrics import Metrics
from dpo.runs.reader import open_run
from dpo.runs.record import RUN, RunRecord, read_lines
from dpo.runs.wandb_files import read_wandb, wandb_files

Rows = list[dict[str, Any]]
_FORMULA = ("=", "+", "-", "@")
FORMATS = ("csv", "jsonl", "parquet")
_NOT_FINITE = ("NaN", "Infinity", "-Infinity", "nan", "inf", "-inf")


def export(metrics: Metrics, form: str) -> bytes:
    """All measures by step as `csv`, `jsonl` or `parquet`; a missing value is empty, left out or null."""
    columns = metrics.columns
    if form == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        sink = pa.BufferOutputStream()
        parquet.write_table(pa.table(columns), sink)
        return bytes(sink.getvalue())
    text = io.StringIO()
    rows = zip(*columns.values(), strict=True)
    if form == "csv":
        writer = csv.writer(text, lineterminator="\n")
        # What begins like a formula would be run by a spreadsheet: an apostrophe makes it text.
        writer.writerow([f"'{name}" if name[:1] in _FORMULA else name for name in columns])
        writer.writerows(["" if value is None else value for value in row] for row in rows)
    else:
        for row in rows:
            known = {name: value for name, value in zip(columns, row, strict=True) if value is not None}
            text.write(json.dumps(known) + "\n")
    return text.getvalue().encode()


def import_runs(source: Path, target: Path, name: str | None = None) -> list[Path]:
    """Write the runs in `source` as records of ours below `target`; returns their directories.

    `source` is an output directory of a Trainer (or what holds several), an event file, a `.jsonl` or
    `.csv` of measures, a Trackio database (`<project>.db`, one run for each of its runs), or W&B's
    offline runs (a `.wandb` file, or the folder `wandb` that holds them).

    Raises:
        RunError: there is nothing to import, its reader is not installed, or a run of that name is there already.
    """
    if not source.exists():
        raise RunError(f"{source} does not exist: check the path")
    offline = wandb_files(source)
    if offline:
        found = _wandb(offline)
    elif source.suffix == ".db":
        found = _trackio(source)
    elif source.suffix in (".jsonl", ".csv"):
        rows = _lines(source) if source.suffix == ".jsonl" else _csv(source)
        found = {source.stem: ({}, _named(rows))}
    else:
        found = _recorded(source)
    found = {own: content for own, content in found.items() if content[1]}
    if not found:
        raise RunError(f"{source} holds no measures with steps: nothing to import")
    if name is not None and len(found) > 1:
        raise RunError(f"{source} holds {len(found)} runs ({', '.join(found)}): import them without --name")
    written = []
    for own, (facts, rows) in found.items():
        about = {"kind": "dpo", "family": family_of(Path(name or own)), "state": "unknown",
                 "reason": "it was imported, and nothing says how it ended", "imported_from": source.name}  # fmt: skip
        about |= facts
        given = name or _free(own, str(about["imported_from"]), target)
        directory = target / _folder(given)
        try:
            record = RunRecord.create(directory, {"name": given} | about)
        except RunError as error:
            raise RunError(f"{error}, or give the run another name with --name") from error
        record.log_all(rows)
        written.append(directory)
    return written


def removable(path: Path) -> int:
    """Bytes that deleting the run would free.

    Raises:
        RunError: it is not a record of ours, or it is running.
    """
    if not (path / RUN).is_file():
        raise RunError(f"{path} was not made by dpo (no {RUN}): delete it yourself if you mean to")
    run = open_run(path)
    if run.state == "running":
        raise RunError(f"{path} is running (process {run.info.get('pid')}): stop it first")
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _recorded(source: Path) -> dict[str, tuple[dict[str, Any], Rows]]:
    """The runs in a directory or an event file, with what is known of each."""
    found: dict[str, tuple[dict[str, Any], Rows]] = {}
    for run in runs_of(source) if source.is_dir() else [open_run(source)]:
        known = {key: run.info[key] for key in ("kind", "family", "config", "progress", "reason") if run.info.get(key)}
        if run.state in ("finished", "stopped", "failed", "interrupted"):
            known["state"] = run.state
        name = f"{run.name}-{run.path.name}" if run.name in found else run.name
        found[name] = (known | {"imported_from": one_line(run.path.name)}, _rows(run.metrics()))
    return found


def _free(own: str, source: str, target: Path) -> str:
    """The run's own name; where another run has it, as the second of one output directory, its folder's beside it."""
    taken = target / _folder(own)
    try:
        other = open_run(taken).info.get("imported_from") != source
    except RunError:
        return own
    return f"{own}-{source}" if other and not own.endswith(source) else own


def _lines(path: Path) -> Rows:
    try:
        return read_lines(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read ({reason(error)}): check the file") from error


def _rows(metrics: Metrics) -> Rows:
    columns = metrics.columns
    bad = {name: set(steps) for name, steps in metrics.not_finite.items()}
    rows: Rows = []
    for row in zip(*columns.values(), strict=True):
        made = dict(zip(columns, row, strict=True))
        rows.append({k: v for k, v in made.items() if v is not None or made["step"] in bad.get(k, ())})
    return rows


def _trackio(path: Path) -> dict[str, tuple[dict[str, Any], Rows]]:
    """Trackio keeps a project in one SQLite file: `metrics` has a JSON object for each logged step."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            logged = database.execute("SELECT run_name, timestamp, step, metrics FROM metrics ORDER BY id").fetchall()
            configs = dict(database.execute("SELECT run_name, config FROM configs").fetchall())
    except sqlite3.Error as error:
        raise RunError(f"{path} cannot be read as a Trackio database ({error}): give its <project>.db") from error
    found: dict[str, tuple[dict[str, Any], Rows]] = {}
    began: dict[str, datetime] = {}
    for run, stamp, step, measures in logged:
        at = datetime.fromisoformat(stamp)
        row = {"step": step, "time": (at - began.setdefault(run, at)).total_seconds()}
        facts = {"config": _settings(configs.get(run))}
        found.setdefault(run, (facts, []))[1].append(row | json.loads(measures))
    return {run: (facts, _named(rows)) for run, (facts, rows) in found.items()}


def _wandb(files: Sequence[Path]) -> dict[str, tuple[dict[str, Any], Rows]]:
    found: dict[str, tuple[dict[str, Any], Rows]] = {}
    for file in files:
        name, settings, rows = read_wandb(file)
        # Two runs may have one name; the file's is W&B's id.
        found[f"{name}-{file.stem}" if name in found else name] = ({"config": settings}, _named(rows))
    return found


def _settings(text: Any) -> dict[str, Any]:
    try:
        read = json.loads(text) if text else {}
    except ValueError:
        return {}
    return {name: value for name, value in read.items() if not name.startswith("_")} if isinstance(read, dict) else {}


def _csv(path: Path) -> Rows:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [{name: _value(text) for name, text in row.items() if name and text} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path} cannot be read as CSV ({error}): give a file with a head line") from error


def _named(rows: Iterable[Mapping[str, Any]]) -> Rows:
    """TRL's names, the Trainer's own step where a tracker counted its calls, null for what is not finite."""
    made: Rows = []
    for row in rows:
        names = {measure_name(_plain(name)): value for name, value in row.items()}
        step = names.pop("step_logged", None)
        if isinstance(step, int | float):
            names["step"] = step
        made.append({name: None if value in _NOT_FINITE else value for name, value in names.items()})
    return [row for row in made if isinstance(row.get("step"), int | float)]


def _plain(column: str) -> str:
    """W&B's CSV writes `<run> - train/loss` and `Step`."""
    column = column.rpartition(" - ")[2]
    return "step" if column in ("Step", "_step", "trainer/global_step") else column


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _folder(name: str) -> str:
    """A name as a folder: nothing that leaves the target directory."""
    return re.sub(r"[^\w.()+-]+", "-", name).strip(".-") or "imported"
