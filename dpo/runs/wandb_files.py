"""W&B's own files of offline runs (`wandb/offline-run-*/run-ID.wandb`), read through the wandb package.

A file is a LevelDB log (https://github.com/google/leveldb/blob/main/doc/log_format.md: blocks of 32 KiB,
frames of CRC, length and kind) behind a head of seven bytes; its records are messages that
`wandb.proto.wandb_internal_pb2` defines.  Since wandb 0.20 the package's reader of the log is part of
its compiled core, so the frames are read here and the messages there.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpo.errors import RunError

_HEAD = struct.Struct("<4sHB")
_IDENT, _MAGIC = b":W&B", 0xBEE1
_FRAME = struct.Struct("<IHB")  # CRC-32 of kind and data, length, kind
_BLOCK = 1 << 15
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

HistoryRow = dict[str, Any]


def wandb_files(source: Path) -> list[Path]:
    """The `.wandb` files that `source` means: itself, those of a run's folder, or of a `wandb` folder of runs."""
    if source.is_file():
        return [source] if source.suffix == ".wandb" else []
    found = [*source.glob("run-*.wandb"), *source.glob("*run-*/run-*.wandb"), *source.glob("wandb/*run-*/run-*.wandb")]
    return sorted({path.resolve(): path for path in found}.values())  # `latest-run` is a link to one of them


def read_wandb(path: Path) -> tuple[str, dict[str, Any], list[HistoryRow]]:
    """A run's name, its settings by name, and its rows under the names that were logged.

    None stands for what is not finite.  A file that is torn off or damaged is read as far as it is good.

    Raises:
        RunError: wandb is not installed, or this is no such file.
    """
    try:
        from google.protobuf.message import DecodeError
        from wandb.proto import wandb_internal_pb2 as messages
    except ImportError as error:
        raise RunError(
            f"{path} is in W&B's own format, which its package reads: pip install 'dpo-workbench[wandb]' "
            "and import it again, or export the run's history as CSV and import that"
        ) from error
    name, rows = path.stem, list[HistoryRow]()
    settings: dict[str, Any] = {}
    for content in _records(path):
        record = messages.Record()
        try:
            record.ParseFromString(content)
        except DecodeError:
            break
        kind = record.WhichOneof("record_type")
        if kind == "run":
            name = record.run.display_name or name
            settings |= _items(record.run.config.update)
        elif kind == "config":
            settings |= _items(record.config.update)
        elif kind == "history":
            row = _items(record.history.item)
            own = {key: value for key, value in row.items() if not key.startswith("_")}
            rows.append({"step": record.history.step.num, "time": row.get("_runtime")} | own)
    settings.pop("_wandb", None)
    return name, settings, [{name: _finite(value) for name, value in row.items()} for row in rows]


def _items(items: Any) -> dict[str, Any]:
    made = {}
    for item in items:
        try:
            made["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        except ValueError:
            continue
    return made


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _records(path: Path) -> Iterator[bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) < _HEAD.size or _HEAD.unpack_from(content)[:2] != (_IDENT, _MAGIC):
        raise RunError(f"{path} is not a file of W&B: give the run-*.wandb of an offline run")
    parts: list[bytes] = []
    place = _HEAD.size
    while place + _FRAME.size <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _FRAME.size:  # too little for a frame: the block is filled up
            place += left
            continue
        checksum, length, kind = _FRAME.unpack_from(content, place)
        data = content[place + _FRAME.size : place + _FRAME.size + length]
        if len(data) < length or checksum != zlib.crc32(data, zlib.crc32(bytes([kind]))):
            return  # torn off, or damaged from here on
        place += _FRAME.size + length
        parts = [*parts, data] if kind in (_MIDDLE, _LAST) else [data]
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []
