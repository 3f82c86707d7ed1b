"""Scalars of TensorBoard event files, read without TensorBoard.

An event file is a chain of frames: length (8 bytes), CRC of the length (4), an `Event` message,
CRC of the message (4); TensorFlow's `record_writer.h`, CRC-32C masked by rotation and a constant.
Frames that hold one scalar of one tag differ in wall time, step and value only, so they are decoded
as columns: 1,000,000 scalars take a third of a second, where an object for each takes ten.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dpo.runs.metrics import Floats

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
_HEAD, _TAIL = 12, 4
_MASK_DELTA = 0xA282EAD8
_BLOCK = 1 << 14  # rows decoded at once: what fits the processor's cache is read from memory once
_ALIKE = 16  # frames of one length in a row, after which it is looked how many more there are
_KINDS = 200  # different tags of one length looked for before the slow way is taken


@dataclass
class Scalars:
    """The points of one tag in the order they were written."""

    steps: list[Ints] = field(default_factory=list)
    walls: list[Floats] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    places: list[Ints] = field(default_factory=list)


@dataclass
class Events:
    """What a part of an event file holds; `end` is where the next read goes on, `texts` the last text by tag."""

    tags: dict[str, Scalars] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    end: int = 0
    damaged: int = 0


def read_events(content: bytes, start: int = 0) -> Events:
    """Scalars from the frames of `content` that begin at `start` or later.

    A frame whose checksum is wrong is left out and counted; a frame torn off at the end is left
    for the next read.
    """
    events = Events(end=start)
    data = np.frombuffer(content, dtype=np.uint8)
    for length, of_length in _walk(data, content, events).items():
        for begin in range(0, len(of_length), _BLOCK):
            _decode(data, content, of_length[begin : begin + _BLOCK], length, events)
    for scalars in events.tags.values():
        _in_file_order(scalars)
    return events


def _walk(data: Bytes, content: bytes, events: Events) -> dict[int, Ints]:
    """Where the messages are: their offsets in ascending order, by their length."""
    unpack = struct.Struct("<Q").unpack_from
    single: dict[int, list[int]] = {}
    alike: dict[int, list[Ints]] = {}
    trusted: set[int] = set()
    position, end, before, same = events.end, len(content), -1, 0
    while position + _HEAD <= end:
        size = unpack(content, position)[0]
        if size not in trusted:
            if masked_crc(content[position : position + 8]) != _stored(content, position + 8):
                events.damaged += 1
                found = _resynchronise(content, position + 1)
                if found is None:
                    # Nothing sound follows yet; what is appended later may be.
                    break
                position = found
                continue
            trusted.add(size)
        after = position + _HEAD + size + _TAIL
        if after > end:
            break
        same = same + 1 if size == before else 0
        before = size
        if same == _ALIKE:
            count, same = _run_of(data, position, size), 0
            alike.setdefault(size, []).append(position + _HEAD + (after - position) * np.arange(count))
            position += count * (after - position)
            continue
        single.setdefault(size, []).append(position + _HEAD)
        position = after
    events.end = position
    return {
        # Timsort: the parts are sorted already.
        size: np.sort(np.concatenate([np.asarray(single[size], dtype=np.int64), *alike.get(size, ())]), kind="stable")
        for size in single
    }


def _run_of(data: Bytes, position: int, size: int) -> int:
    """How many complete frames of one size follow each other from `position` on; at least the one there."""
    stride, count, look = _HEAD + size + _TAIL, 0, _ALIKE
    most = (len(data) - position) // stride
    head = data[position : position + 8]
    while count < most:
        begin = position + count * stride
        rows = data[begin : begin + min(look, most - count) * stride].reshape(-1, stride)
        other = np.flatnonzero((rows[:, :8] != head).any(axis=1))
        if len(other):
            return count + int(other[0])
        count, look = count + len(rows), min(2 * look, _BLOCK)
    return count


def _resynchronise(content: bytes, position: int) -> int | None:
    """The next place at which a length agrees with its checksum."""
    for place in range(position, min(len(content) - _HEAD, position + (1 << 20))):
        # Lengths are far below 2^24: most places are ruled out by the upper bytes.
        if content[place + 3 : place + 8] == b"\0\0\0\0\0" and masked_crc(content[place : place + 8]) == _stored(
            content, place + 8
        ):
            return place
    return None


def _decode(data: Bytes, content: bytes, starts: Ints, length: int, events: Events) -> None:
    rest = starts
    for _ in range(_KINDS):
        if not len(rest):
            return
        first = content[int(rest[0]) : int(rest[0]) + length]
        layout = _layout(first)
        if layout is None:
            break
        tag, varint = layout
        frames = _frames(data, rest, length + _TAIL)
        same = _same_kind(frames, first, varint)
        if same.all():
            _add_columns(frames, first, tag, varint, rest, events)
            return
        _add_columns(frames[same], first, tag, varint, rest[same], events)
        rest = rest[~same]
    for start in rest.tolist():
        _add_message(content, start, length, events)


def _frames(data: Bytes, starts: Ints, width: int) -> Bytes:
    """One row for each start; no copy where they are evenly spaced."""
    gap = int(starts[1] - starts[0]) if len(starts) > 1 else width
    begin = int(starts[0])
    if (np.diff(starts) != gap).any():
        return data[starts[:, None] + np.arange(width)]
    return np.lib.stride_tricks.as_strided(data[begin:], (len(starts), width), (gap, 1), writeable=False)


def _layout(message: bytes) -> tuple[str, int] | None:
    """The tag and the bytes of the step, if the message is one plain scalar; None for anything else."""
    if len(message) < 18 or message[0] != 0x09:  # field 1: wall_time
        return None
    place = 9
    varint = 0
    if message[place] == 0x10:  # field 2: step; left out when it is 0
        while place + 1 + varint < len(message) and message[place + 1 + varint] & 0x80:
            varint += 1
        varint += 1
        place += 1 + varint
    # field 5: summary { value { tag, simple_value } }, lengths of one byte each
    if len(message) < place + 11 or message[place] != 0x2A or message[place + 1] != len(message) - place - 2:
        return None
    if message[place + 2] != 0x0A or message[place + 3] != len(message) - place - 4 or message[place + 4] != 0x0A:
        return None
    size = message[place + 5]
    if place + 6 + size + 5 != len(message) or message[-5] != 0x15:
        return None
    return message[place + 6 : place + 6 + size].decode("utf-8", "replace"), varint


def _varying(length: int, varint: int) -> list[int]:
    """Places that differ between frames of one tag: wall time, step, value."""
    return [*range(1, 9), *range(10, 10 + varint), *range(length - 4, length)]


def _same_kind(frames: Bytes, first: bytes, varint: int) -> npt.NDArray[np.bool_]:
    length = len(first)
    fixed = np.ones(length, dtype=bool)
    fixed[_varying(length, varint)] = False
    same: npt.NDArray[np.bool_] = (frames[:, :length][:, fixed] == np.frombuffer(first, np.uint8)[fixed]).all(axis=1)
    for place in range(varint):
        more = (frames[:, 10 + place] & 0x80) != 0
        same &= more if place < varint - 1 else ~more
    return same


def _add_columns(frames: Bytes, first: bytes, tag: str, varint: int, starts: Ints, events: Events) -> None:
    length = len(first)
    # A CRC is linear: what a byte that differs from `first` changes does not depend on the others.
    crc = np.full(len(frames), _crc(first), dtype=np.uint32)
    for place in _varying(length, varint):
        crc ^= _shifted(length - 1 - place)[frames[:, place] ^ first[place]]
    masked = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(_MASK_DELTA)
    stored = np.ascontiguousarray(frames[:, length : length + 4]).view("<u4")[:, 0]
    sound = masked == stored
    if not sound.all():
        events.damaged += int((~sound).sum())
        frames, starts = frames[sound], starts[sound]
    steps = np.zeros(len(frames), dtype=np.int64)
    for place in range(varint):
        steps |= (frames[:, 10 + place].astype(np.int64) & 0x7F) << (7 * place)
    walls = np.ascontiguousarray(frames[:, 1:9]).view("<f8")[:, 0]
    values = np.ascontiguousarray(frames[:, length - 4 : length]).view("<f4")[:, 0].astype(np.float64)
    _append(events, tag, steps, walls, values, starts)


def _add_message(content: bytes, start: int, length: int, events: Events) -> None:
    """Any other message, by its protocol definition."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
    from tensorboard.util import tensor_util  # type: ignore[import-untyped]

    message = content[start : start + length]
    if masked_crc(message) != _stored(content, start + length):
        events.damaged += 1
        return
    try:
        event = Event.FromString(message)
    except DecodeError:
        events.damaged += 1
        return
    for value in event.summary.value:
        if value.HasField("simple_value"):
            number = float(value.simple_value)
        elif value.HasField("tensor") and value.metadata.plugin_data.plugin_name == "text":
            events.texts[value.tag] = b"".join(value.tensor.string_val).decode("utf-8", "replace")
            continue
        elif value.HasField("tensor") and value.metadata.plugin_data.plugin_name in ("", "scalars"):
            try:
                made = tensor_util.make_ndarray(value.tensor)
            except (TypeError, ValueError):  # a shape that its content does not have
                events.damaged += 1
                continue
            if made.size != 1 or made.dtype.kind not in "fiu":
                continue
            number = float(made.reshape(-1)[0])
        else:
            continue
        place = np.array([start])
        _append(events, value.tag, np.array([event.step]), np.array([event.wall_time]), np.array([number]), place)


def _append(events: Events, tag: str, steps: Ints, walls: Floats, values: Floats, places: Ints) -> None:
    scalars = events.tags.setdefault(tag, Scalars())
    scalars.steps.append(steps)
    scalars.walls.append(walls)
    scalars.values.append(values)
    scalars.places.append(places)


def _in_file_order(scalars: Scalars) -> None:
    """Frames were taken by length and kind; here they stand again as they were written."""
    if len(scalars.steps) > 1:
        order = np.argsort(np.concatenate(scalars.places), kind="stable")
        scalars.steps = [np.concatenate(scalars.steps)[order]]
        scalars.walls = [np.concatenate(scalars.walls)[order]]
        scalars.values = [np.concatenate(scalars.values)[order]]
        scalars.places = [np.concatenate(scalars.places)[order]]


@lru_cache(maxsize=1)
def _table() -> npt.NDArray[np.uint32]:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(0x82F63B78), values >> 1)  # Castagnoli, reflected
    return values


@lru_cache(maxsize=512)
def _shifted(zeros: int) -> npt.NDArray[np.uint32]:
    """What each byte contributes to the CRC when `zeros` bytes follow it."""
    if zeros == 0:
        return _table()
    before = _shifted(zeros - 1)
    made: npt.NDArray[np.uint32] = _table()[before & np.uint32(0xFF)] ^ (before >> np.uint32(8))
    return made


@lru_cache(maxsize=1)
def _numbers() -> list[int]:
    return [int(value) for value in _table()]


def _crc(message: bytes) -> int:
    table, crc = _numbers(), 0xFFFFFFFF
    for byte in message:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked_crc(message: bytes) -> int:
    """The checksum that follows a length or a message: CRC-32C, rotated by 15 bits, plus a constant."""
    crc = _crc(message)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _stored(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "little")
