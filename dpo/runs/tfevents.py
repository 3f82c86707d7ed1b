"""Scalars of TensorBoard event files; messages and checksums are those of the tensorboard package.

An event file is a chain of frames: length (8 bytes), CRC of the length (4), an `Event` message, CRC of the
message (4).  TensorBoard's own reader (`RawEventFileLoader`) stops for good at the first damaged frame and
imports TensorFlow where that is installed, so the frames are walked here: what follows the damage is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_HEAD, _TAIL = 12, 4
_SEARCHED = 1 << 20  # bytes after a damaged length in which the next sound one is looked for


@dataclass
class EventScalars:
    """The points of one tag in the order they were written: steps, wall times (Unix, seconds) and values."""

    steps: list[int] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass
class Events:
    """What a part of an event file holds; `end` is where the next read goes on, `texts` the last text by tag."""

    tags: dict[str, EventScalars] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    end: int = 0
    damaged: int = 0


def read_events(content: bytes, start: int = 0) -> Events:
    """Scalars from the frames of `content` that begin at `start` or later.

    A frame whose checksum is wrong is left out and counted; a frame torn off at the end is left
    for the next read.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]

    events = Events(end=start)
    for message in _messages(content, events):
        try:
            event = Event.FromString(message)
        except DecodeError:
            events.damaged += 1
            continue
        for value in event.summary.value:
            number = _number(value, events)
            if number is not None:
                scalars = events.tags.setdefault(value.tag, EventScalars())
                scalars.steps.append(event.step)
                scalars.walls.append(event.wall_time)
                scalars.values.append(number)
    return events


def _messages(content: bytes, events: Events) -> Iterator[bytes]:
    """The sound messages from `events.end` on, which moves along."""
    while events.end + _HEAD <= len(content):
        if not _sound(content, events.end, 8):
            events.damaged += 1
            found = _resynchronise(content, events.end + 1)
            if found is None:  # nothing sound follows yet; what is appended later may be
                return
            events.end = found
            continue
        begin = events.end + _HEAD
        size = struct.unpack_from("<Q", content, events.end)[0]
        if begin + size + _TAIL > len(content):
            return
        events.end = begin + size + _TAIL
        if _sound(content, begin, size):
            yield content[begin : begin + size]
        else:
            events.damaged += 1


def _number(value: Any, events: Events) -> float | None:
    """The scalar in a summary's value; None if it is something else, a text of which is kept."""
    from tensorboard.util import tensor_util  # type: ignore[import-untyped]

    if value.HasField("simple_value"):
        return float(value.simple_value)
    plugin = value.metadata.plugin_data.plugin_name
    if value.HasField("tensor") and plugin == "text":
        events.texts[value.tag] = b"".join(value.tensor.string_val).decode("utf-8", "replace")
    elif value.HasField("tensor") and plugin in ("", "scalars"):
        try:
            array = tensor_util.make_ndarray(value.tensor)
        except (TypeError, ValueError):  # a shape that its content does not have
            events.damaged += 1
            return None
        if array.size == 1 and array.dtype.kind in "fiu":
            return float(array.reshape(-1)[0])
    return None


def _resynchronise(content: bytes, position: int) -> int | None:
    """The next place at which a length agrees with its checksum."""
    for place in range(position, min(len(content) - _HEAD, position + _SEARCHED)):
        # Lengths are far below 2^24: most places are ruled out by the upper bytes.
        if content[place + 3 : place + 8] == b"\0\0\0\0\0" and _sound(content, place, 8):
            return place
    return None


def _sound(content: bytes, begin: int, size: int) -> bool:
    """Whether the checksum that follows `size` bytes is theirs."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c  # type: ignore[import-untyped]

    end = begin + size
    return bool(masked_crc32c(content[begin:end]) == int.from_bytes(content[end : end + _TAIL], "little"))
