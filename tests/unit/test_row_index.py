"""Rows of many runs outlive the server: the same rows, and only what has changed is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.runs_page import row_index, table
from dpo.dashboard.runs_page.row_index import RowIndex
from dpo.dashboard.runs_page.table import Row, RunTable, rows_of
from dpo.evaluation.votes import Votes
from dpo.runs import RunRecord, open_run
from dpo.runs.manage import annotate


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
