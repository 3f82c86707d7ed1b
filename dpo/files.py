"""Writing files so that a reader, a kill or a power cut never meets half of one: the only place that does it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


def cache_directory() -> Path:
    """Where things are kept that can be made again: `DPO_CACHE`, else `dpo` in the user's cache directory."""
    given = os.environ.get("DPO_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "dpo"


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block ends well, and vanishes if not.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file (text as UTF-8) whole or not at all, so that it is there also after a power cut.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object as `write_atomically` does.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def flush(directory: Path) -> None:
    """Have the disk hold every file and folder below `directory`, so that a power cut loses none of it.

    Raises:
        OSError: the disk is full or broken.
    """
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            _sync(Path(folder) / name)
        flush_folder(Path(folder))


def flush_folder(folder: Path) -> None:
    """Have the disk hold the names in a folder: a rename counts only from then on."""
    if os.name == "posix":  # elsewhere folders cannot be opened
        _sync(folder)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
