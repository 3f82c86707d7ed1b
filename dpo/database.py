"""SQLite files that threads and processes write to, opened in one way: what was written outlives a power cut."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from dpo.errors import StorageError

WAIT_SECONDS = 30.0
_DAMAGED = "it is damaged: move it away, then a new one is begun; `sqlite3 FILE .recover` brings out what is whole"
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_PLACE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR})


def advice(error: BaseException, damaged: str = _DAMAGED, again: str = "try again") -> str:
    """What to do about an error of SQLite, or of a library that has one as its cause.

    Args:
        damaged: what to do where the content is at fault: no database, other tables, a row that cannot be decoded.
        again: how to go on, to be read before "in a moment".
    """
    code = _code(error)
    if code in _HELD:
        return f"another program holds it: {again} in a moment"
    if code == sqlite3.SQLITE_FULL:
        return f"make room on its disk, then {again}"
    if code in _PLACE or (code is None and isinstance(error, OSError)):
        return "its directory must be there and writable"
    return damaged


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
        self._known = False  # whether it has been open

    def exists(self) -> bool:
        """Whether there is anything to read.

        Raises:
            StorageError: it was open before, and its directory is gone: moved, or not mounted.
        """
        if self.path.exists():
            return True
        if self._known and not self.path.parent.is_dir():
            # Made anew here, it would stand in the way of the one that comes back.
            raise StorageError(
                f"{self.path.parent}, the directory of the {self._name}, is gone: bring it back, or make it anew"
            )
        return False

    @contextlib.contextmanager
    def open(self, write: bool) -> Iterator[sqlite3.Connection]:
        """A connection for the block; the tables are there if it writes.

        A `ValueError` of the block says that a row is not what was written there.

        Raises:
            StorageError: the file cannot be written or read.
        """
        if write and not self._turn.acquire(timeout=self.wait_seconds):
            raise StorageError(f"The {self._name} in {self.path} cannot be written now: others write, try again")
        try:
            if write and not self.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                if self._private:
                    self.path.touch(mode=0o600)
            with contextlib.closing(self._connect(write)) as database:
                if write:
                    database.execute("PRAGMA journal_mode=WAL")
                    database.execute("PRAGMA synchronous=FULL")
                    database.executescript(self._schema)
                self._known = True
                yield database
        except (sqlite3.Error, OSError, ValueError) as error:
            done = "written" if write else "read"
            raise StorageError(
                f"The {self._name} in {self.path} cannot be {done} ({error}): {advice(error)}"
            ) from error
        finally:
            if write:
                self._turn.release()

    def _connect(self, write: bool) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=self.wait_seconds)
        try:
            if not write:
                database.execute("PRAGMA schema_version")
        except sqlite3.OperationalError as error:
            database.close()
            wal = self.path.with_name(self.path.name + "-wal")
            if _code(error) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) or wal.exists():
                raise
            # Readers of WAL files write beside them, unless told that nobody can.
            return sqlite3.connect(f"{self.path.resolve().as_uri()}?immutable=1", uri=True)
        except BaseException:
            database.close()
            raise
        return database

    def has(self, database: sqlite3.Connection, table: str) -> bool:
        """Whether a table is there: a file that is just being made has none."""
        found = database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
        return found.fetchone() is not None


def causes(error: BaseException) -> list[BaseException]:
    """The error, what it was raised from, what that was raised from, and so on: SQLAlchemy's hold theirs as `orig`."""
    found = [error]
    while (cause := found[-1].__cause__ or getattr(found[-1], "orig", None)) is not None:
        found.append(cause)
    return found


def _code(error: BaseException) -> int | None:
    """SQLite's number for an error, without its details."""
    return next((one.sqlite_errorcode & 0xFF for one in causes(error) if hasattr(one, "sqlite_errorcode")), None)
