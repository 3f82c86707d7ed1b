"""Rows of thousands of runs kept on disk, so that a server that was just started need not read all their measures.

Nothing is lost with the file: what is missing in it, or was made of other files, is read from the runs themselves.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Container, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dpo.database import Database
from dpo.errors import StorageError

_SCHEMA = "CREATE TABLE IF NOT EXISTS rows (path TEXT PRIMARY KEY, key TEXT NOT NULL, row TEXT NOT NULL)"
_MOST = 100_000  # rows; the oldest go
_WAIT_SECONDS = 1.0  # a page waits
FEW = 500
"""Runs that are read so quickly that the file is left alone."""


class RowIndex:
    """The rows by the run's path, each with a key of what it was made of.

    Args:
        path: of the file, which is made when many rows are first kept.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA, "index of runs", _WAIT_SECONDS, private=True)
        self._made_by = f"{version('dpo-workbench')} {Path(__file__).with_name('table.py').stat().st_mtime_ns} "

    def find(self, paths: Container[str]) -> dict[str, tuple[str, dict[str, Any]]]:
        """Key and row of those of the runs that are there; none where the file cannot be read."""
        made: dict[str, tuple[str, dict[str, Any]]] = {}
        with contextlib.suppress(StorageError):
            if not self._database.exists():
                return made
            with self._database.open(write=False) as database:
                for path, key, row in database.execute("SELECT path, key, row FROM rows"):
                    if path in paths and key.startswith(self._made_by):
                        made[path] = key.removeprefix(self._made_by), json.loads(row)
        return made

    def keep(self, rows: Mapping[str, tuple[str, Mapping[str, Any]]]) -> None:
        """Put these in the place of what was kept of the same runs; the file does without where it can't be written."""
        entries = [(path, self._made_by + key, json.dumps(row)) for path, (key, row) in rows.items()]
        with contextlib.suppress(StorageError), self._database.open(write=True) as database, database:
            database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", entries)
            oldest = "SELECT rowid FROM rows ORDER BY rowid DESC LIMIT -1 OFFSET ?"
            database.execute(f"DELETE FROM rows WHERE rowid IN ({oldest})", (_MOST,))
