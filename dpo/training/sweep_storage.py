"""The database that the workers of a sweep share: SQLite on one machine, a server for several."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from dpo.database import advice, causes
from dpo.errors import StorageError, first_line

_OPENINGS, _PAUSE = 20, 0.5  # how often it is tried, seconds between
_SQLITE = "sqlite:///"
_WAIT_SECONDS = 60.0  # for a file that another program holds
_WHOLE = (
    "its runs are whole and stay; restore the file, or let `sqlite3 FILE .recover` bring out what is whole, "
    "or begin anew under another 'name:'"
)


@contextlib.contextmanager
def database_errors(url: str) -> Iterator[None]:
    """Say in one line what a database that is damaged, locked or gone raises within the block.

    Raises:
        StorageError: that line; the file is as it was, and a training under way goes on to its end by itself.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, json.JSONDecodeError) as error:
        raise _failed(url, error) from error


def _failed(url: str, error: BaseException) -> StorageError:
    if url.startswith(_SQLITE):
        place, then = url.removeprefix(_SQLITE), advice(error, damaged=_WHOLE, again="give the same command")
    else:
        place = make_url(url).render_as_string()  # without its password
        then = "once it answers, the same command goes on"
    return StorageError(f"The database of the sweep, {place}, fails ({first_line(causes(error)[-1])}): {then}")


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Optuna's storage at an SQLAlchemy URL, its tables made if they are not there.

    Raises:
        StorageError: the database cannot be reached, or its driver is missing.
    """
    waits = {"connect_args": {"timeout": _WAIT_SECONDS}} if url.startswith("sqlite") else {}
    for tries in range(_OPENINGS):
        try:
            return optuna.storages.get_storage(optuna.storages.RDBStorage(url, engine_kwargs=waits))
        except ImportError as error:
            wanted = "'dpo-workbench[postgresql]'" if url.startswith("postgresql") else "its driver"
            raise StorageError(
                f"--storage {url} needs the database's driver for Python: pip install {wanted}"
            ) from error
        except (IntegrityError, ProgrammingError) as error:
            # A worker that began at the same moment is making the tables just now.
            if tries == _OPENINGS - 1:
                raise _closed(url, error) from error
            time.sleep(_PAUSE)
        except Exception as error:  # the driver's, SQLAlchemy's or Optuna's own
            raise _closed(url, error) from error
    raise AssertionError("the last try raises")


def _closed(url: str, error: Exception) -> StorageError:
    if url.startswith(_SQLITE) and Path(url.removeprefix(_SQLITE)).exists():
        return _failed(url, error)
    return StorageError(
        f"--storage {url} cannot be opened ({first_line(error)}): give a URL such as sqlite:///sweep.db"
    )
