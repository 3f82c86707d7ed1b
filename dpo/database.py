"""SQLite files that threads and processes write to, opened in one way: what was written outlives a power cut."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from dpo.errors import StorageError

WAIT_SECONDS = 30.0


class Database:
    """One file, made when something is first written.  Safe to share between threads.

    Storage is in WAL mode: readers never wait for writers, and each write is one committed transaction, so what
    several processes write at once is all kept.

    Args:
        schema: the statements that make its tables where they are missing.
        name: what it holds, for messages: "votes".
        wait_seconds: how long to wait for a file that another process is writing to.
        private: whether only the one who runs this may read the file.
    """

    def __init__(
        self, path: Path, schema: str, name: str, wait_seconds: float = WAIT_SECONDS, private: bool = False
    ) -> None:
        self.path, self.wait_seconds = path, wait_seconds
        self._schema, self._name, self._private = schema, name, private
        # Threads take turns here: SQLite lets whoever asks first wait as long as it likes.
        self._turn = threading.Lock()

    @contextlib.contextmanager
    def open(self, write: bool) -> Iterator[sqlite3.Connection]:
        """A connection for the block; the tables are there if it writes.

        Raises:
            StorageError: the file cannot be written or read.
        """
        if write and not self._turn.acquire(timeout=self.wait_seconds):
            raise StorageError(f"The {self._name} in {self.path} cannot be written now: others write, try again")
        try:
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                if self._private and not self.path.exists():
                    self.path.touch(mode=0o600)
            with contextlib.closing(sqlite3.connect(self.path, timeout=self.wait_seconds)) as database:
                if write:
                    database.execute("PRAGMA journal_mode=WAL")
                    database.execute("PRAGMA synchronous=FULL")
                    database.executescript(self._schema)
                yield database
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"The {self._name} in {self.path} cannot be {'written' if write else 'read'} ({error})"
            ) from error
        finally:
            if write:
                self._turn.release()

    def has(self, database: sqlite3.Connection, table: str) -> bool:
        """Whether a table is there: a file that is just being made has none."""
        found = database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
        return found.fetchone() is not None
