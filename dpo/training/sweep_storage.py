"""The database that the workers of a sweep share: SQLite on one machine, a server for several."""

from __future__ import annotations

import time

import optuna
from sqlalchemy.exc import IntegrityError, ProgrammingError

from dpo.errors import StorageError, first_line

_OPENINGS, _PAUSE = 20, 0.5  # how often it is tried, seconds between


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """Optuna's storage at an SQLAlchemy URL, its tables made if they are not there.

    Raises:
        StorageError: the database cannot be reached, or its driver is missing.
    """
    waits = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
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
    return StorageError(
        f"--storage {url} cannot be opened ({first_line(error)}): give a URL such as sqlite:///sweep.db"
    )
