"""Whether a file that somebody sent can be read at all, found out where it can do no harm: in a process of its own.

A file of 50 kB may unpack to gigabytes, or take minutes.  `check` reads it once from end to end in a child with limits
of memory and time; what gets through is then read as any other file is.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from dpo.errors import DataError, DpoError
from dpo.preferences.reading import read_file

MOST_UNPACKED = 512 * 2**20
"""Bytes of all rows as Python holds them, about."""
MOST_COLUMNS = 1000
_MEMORY = 2 * 2**30  # bytes of address space above what the libraries take
_SECONDS = 30
_BATCH = 256
_REFUSED = 3  # the child's exit status, with the reason in a line on stderr


def check(path: Path) -> None:
    """Nothing, for a file that can be read to its end within the limits.

    Raises:
        DataError: it cannot, or its rows have too many columns; the message begins with the path.
    """
    command = [sys.executable, "-m", "dpo.preferences.file_check", str(path.absolute())]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_SECONDS,
            check=False, env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{path} takes more than {_SECONDS} s to read: send a smaller part of it") from error
    if done.returncode == _REFUSED:
        raise DataError(done.stderr.decode(errors="replace").strip()[:400])
    if done.returncode:
        raise DataError(
            f"{path} takes more than {_MEMORY // 2**30} GiB of memory to read: send a smaller part of it, or mend it"
        )


def _read(path: Path) -> None:
    size = 0
    for rows in read_file(path, _BATCH):
        for row in rows:
            if len(row) > MOST_COLUMNS:
                raise DataError(f"{path} has rows of {len(row):,} columns: keep those that hold the pairs")
            size += _size(row)
        if size > MOST_UNPACKED:
            raise DataError(f"{path} is over {MOST_UNPACKED // 2**20} MB when it is unpacked: send a part of it")


def _size(value: object) -> int:
    """Characters of all texts within, and some for each value."""
    if isinstance(value, str | bytes):
        return 50 + len(value)
    if isinstance(value, dict):
        return 50 + sum(_size(name) + _size(item) for name, item in value.items())
    return 50 + sum(map(_size, value)) if isinstance(value, list) else 30


def _main(path: Path) -> int:
    import pyarrow.parquet  # noqa: F401  its libraries are mapped before the limit is set

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _read(path)
    except (DpoError, RecursionError) as error:
        if isinstance(error.__cause__, MemoryError):
            return 1
        print(" ".join(str(error).split()), file=sys.stderr)
        return _REFUSED
    return 0


if __name__ == "__main__":
    os.nice(5)
    raise SystemExit(_main(Path(sys.argv[1])))
