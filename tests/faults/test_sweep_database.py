"""The database of a sweep damaged or held by another program: one line, and nothing in it is changed."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from optuna.trial import TrialState

from dpo.errors import StorageError
from dpo.training import sweep_storage
from dpo.training.sweep import Sweep
from dpo.training.sweep_plan import plan_of

PLAN = """
name: rates
method: grid
measure: margin
settings: {model: nowhere, dataset: sample}
search: {beta: [0.1, 0.3]}
"""


def opened(directory: Path) -> Sweep:
    return Sweep(plan_of(PLAN, "The sweep", "sweep"), directory, f"sqlite:///{directory / 'sweep.db'}", print)


def test_a_damaged_database_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    opened(tmp_path)
    file = tmp_path / "sweep.db"
    whole = file.read_bytes()
    page = whole.index(b"CREATE TABLE")  # what the tables are called, and where they are
    broken = {
        "text": b"This is a text.\n" * 500,
        "half": whole[: len(whole) // 2],
        "zeros": b"\0" * len(whole),
        "names": whole[:page] + bytes(400) + whole[page + 400 :],
        "plan": whole.replace(b'{"name"', b'[1name"'),
    }
    for name, content in broken.items():
        assert content != whole, name
        file.write_bytes(content)
        with pytest.raises(StorageError, match=r"sweep\.db, fails \(.*\): its runs are whole and stay") as told:
            opened(tmp_path)
        assert "\n" not in str(told.value) and file.read_bytes() == content, name
    file.write_bytes(whole)
    sweep = opened(tmp_path)
    assert sweep._count(TrialState.WAITING) == 2
    file.write_bytes(broken["text"])  # while a worker works
    with pytest.raises(StorageError, match=r"sweep\.db, fails"):
        sweep.run()
    assert file.read_bytes() == broken["text"]
    file.write_bytes(whole)
    assert sweep._count(TrialState.WAITING) == 2


def test_a_database_that_another_program_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_storage, "_WAIT_SECONDS", 0.1)
    sweep = opened(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "sweep.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for work in (sweep.run, lambda: opened(tmp_path)):
            with pytest.raises(StorageError, match="another program holds it: give the same command in a moment"):
                work()
        other.execute("ROLLBACK")
    assert opened(tmp_path)._count(TrialState.WAITING) == 2
