"""Opening and parsing the files of a run: plain files of a sensible size, and nothing that waits or overflows.

A directory of runs is shared, copied and cut off by full disks; some of what lies in it is no record
at all.  Everything that reads a run goes through here, so that a pipe cannot hold a thread, a list
nested a hundred thousand times cannot end a page, and half a character cannot end an answer.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

MOST_RECORD_BYTES = 4 << 20
"""Of a JSON file that is read as a whole: ours have some kilobytes."""
MOST_STATE_BYTES = 256 << 20
"""Of a `trainer_state.json`, which holds all rows that were ever logged."""
MOST_LOG_BYTES = 2 << 30
"""Of a file that grows while a training goes on."""
_NUMBERED = re.compile(r"checkpoint-([0-9]{1,12})")
_HALF_CHARACTERS = re.compile("[\ud800-\udfff]")
# Escape codes move a terminal's cursor and colour it; marks of direction turn a line around.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def open_file(path: Path, most: int) -> BinaryIO:
    """A plain file of at most `most` bytes, opened for reading without ever waiting for it.

    Raises:
        OSError: missing, unreadable, too large, or a directory, pipe or device.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its writer
    except ValueError as error:  # NUL or half a character in the name
        raise OSError(errno.EINVAL, "its name is no file's name", str(path)) from error
    status = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = OSError(errno.EINVAL, "it is not a plain file", str(path))
    elif status.st_size > most:
        problem = OSError(errno.EFBIG, f"it has {status.st_size:,} bytes, at most {most:,} are read", str(path))
    if problem is not None:
        os.close(descriptor)
        raise problem
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, most: int = MOST_RECORD_BYTES) -> bytes:
    """The content of a plain file of at most `most` bytes.

    Raises:
        OSError: see `open_file`.
    """
    with open_file(path, most) as file:
        return file.read(most)


Identity = tuple[int, int, int]


def identity(path: str | Path) -> Identity | None:
    """Inode, size (bytes) and time of change (ns) of a file: another content has another one; None if it is missing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def parse(content: bytes | str) -> Any:
    """The value that a JSON text says.

    Raises:
        ValueError: it is no JSON text, not UTF-8, or nested too deeply.
    """
    try:
        return from_json(content)  # in a third of the time of json's, for the same values
    except ValueError:
        pass  # half characters, another encoding than UTF-8, 200 levels: for json, which also says what is wrong
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_lines(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects of complete lines, and how many lines are damaged or something else."""
    rows, damaged = [], 0
    for line in filter(bytes.strip, content.split(b"\n")):
        try:
            row = parse(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            damaged += 1
    return rows, damaged


def read_object(path: Path, most: int = MOST_RECORD_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: see `open_file`.
        ValueError: see `parse`; or it is no object.
    """
    content = parse(read_file(path, most))
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    return content


def reason(error: Exception) -> str:
    """Why a file could not be read, in the middle of a sentence."""
    return (error.strerror or "it cannot be read") if isinstance(error, OSError) else str(error)


def checkpoint_step(path: Path) -> int | None:
    """The step of a directory `checkpoint-STEP`; None if it is not called so."""
    found = _NUMBERED.fullmatch(path.name)
    return int(found[1]) if found else None


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half of a character, which no page and no file can take."""
    return _HALF_CHARACTERS.sub("\ufffd", text)


def printable(text: str) -> str:
    """The text with U+FFFD also for what would steer a terminal instead of being shown."""
    return _CONTROLS.sub("\ufffd", whole_characters(text))


def one_line(text: str) -> str:
    """The printable text as one line."""
    return " ".join(printable(text).split())
