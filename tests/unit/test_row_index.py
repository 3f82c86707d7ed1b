"""Rows of many runs outlive the server: the same rows, only what has changed is read again, and few fields are sent."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.runs_page import row_index, table
from dpo.dashboard.runs_page.row_index import RowIndex
from dpo.dashboard.runs_page.table import Row, RunTable, columns_of, rows_of, sent
from dpo.dashboard.web.reading import MOST_CALLBACK
from dpo.evaluation.votes import Votes
from dpo.runs import RunRecord, open_run
from dpo.runs.manage import annotate
from dpo.training.config import TrainConfig

CELLS = Path(__file__).parents[2] / "assets" / "js" / "runs" / "cells.js"


def test_a_new_server_reads_only_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, file = tmp_path / "runs", tmp_path / "cache" / "runs.sqlite"
    records: dict[str, RunRecord] = {}
    for name in ("a", "b", "c"):
        records[name] = RunRecord.create(root / name, {"name": name, "kind": "dpo", "config": {"beta": 0.1}})
        records[name].log_all([{"step": 1, "eval_loss": 0.5, "eval_kl": 2.0, "eval_rewards/margins": 0.2}])
    monkeypatch.setattr(table, "FEW", 1)  # three runs are many
    read: list[str] = []
    made_of = table._row
    monkeypatch.setattr(table, "_row", lambda run, *given: read.append(run.name) or made_of(run, *given))

    def served() -> list[Row]:
        """The rows of a server that was just started; `read` has the runs that it read."""
        read.clear()
        runs = RunTable(RunReader([root]), Votes(tmp_path / "votes.sqlite"), RowIndex(file))
        runs.prepare()
        return runs.rows(runs.signature())

    first = served()
    assert sorted(read) == ["a", "b", "c"] and file.stat().st_mode & 0o077 == 0
    assert served() == first and read == []
    records["b"].log_all([{"step": 2, "eval_loss": 0.25}])
    annotate(open_run(root / "c"), note="Look at this")
    second = served()
    assert sorted(read) == ["b", "c"]
    assert {row["name"]: (row["loss"], row["note"]) for row in second} == {
        "a": (0.5, ""), "b": (0.25, ""), "c": (0.5, "Look at this"),
    }  # fmt: skip
    read.clear()
    assert second == rows_of(RunReader([root])) and len(read) == 3
    for content in (b"no database at all\n" * 100, file.read_bytes()[:4096]):  # nothing is lost with the file
        file.write_bytes(content)
        for left in file.parent.glob("runs.sqlite-*"):
            left.unlink()
        assert served() == second and len(read) == 3
    file.unlink()
    monkeypatch.setattr(row_index, "_MOST", 2)
    assert served() == second and len(read) == 3
    assert served() == second and len(read) == 1  # the oldest went


def test_the_grid_gets_what_it_shows(tmp_path: Path) -> None:
    for number in range(4):
        config = asdict(TrainConfig(beta=0.1 + number, learning_rate=1e-4 * (1 + number), seed=number))
        record = RunRecord.create(tmp_path / str(number), {"name": f"run {number}", "kind": "dpo", "config": config})
        points = [{"step": step, "eval_kl": 2.0, "eval_rewards/margins": 0.2} for step in range(20)]
        record.log_all([{"step": 1, "eval_loss": 0.5}, *points])
    rows = rows_of(RunReader([tmp_path]))
    columns = columns_of(rows)
    shown = sent(rows, columns)
    for column in columns:
        assert [row.get(column["field"]) for row in shown] == [row.get(column["field"]) for row in rows]
    cells = re.findall(r"props\.data\.(\w+)", CELLS.read_text())
    drawn_by = {*cells, "family", "kind", "path", "own", "reason", "over"}
    assert len(drawn_by) > 6 and all(drawn_by <= row.keys() for row in shown)
    assert not any("points" in row or "set/warmup_ratio" in row for row in shown)
    # The grid sends all its rows back with a choice: ten thousand runs, with long names and notes, must fit.
    assert max(len(json.dumps(row)) for row in shown) * 10_000 < MOST_CALLBACK / 2
