"""Append-only cursors: a file is read once, and later only what was appended to it.

Each cursor notices a file that was replaced or cut (another inode, or shorter than what was read)
and then reads it from its start again.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from dpo.arrays import Floats
from dpo.runs.files import (
    MOST_LOG_BYTES,
    MOST_STATE_BYTES,
    identity,
    one_line,
    open_file,
    parse_lines,
    read_object,
    reason,
)
from dpo.runs.metrics import Chunk, LeftOut, Metrics, chunk_of_lines, chunk_of_rows, merge
from dpo.runs.schema import MOST_STEP
from dpo.runs.tfevents import Events, read_events

_HEAD_BYTES = 64
_PIECE_BYTES = 32 << 20  # of a file of lines, read at once
_LONGEST_LINE = 1 << 20
T = TypeVar("T")


class MeasureReader(Protocol):
    """Where measures come from."""

    def read(self) -> Metrics:
        """Everything written so far; reads only what is new."""


class Tail:
    """The bytes that were appended to a file since the last call, at most `piece` of them at once (-1: all)."""

    def __init__(self, path: Path, piece: int = -1) -> None:
        self.path, self.piece = path, piece
        self.offset = 0
        self.problem: str | None = None
        self._identity: tuple[int, bytes] | None = None
        self._inside_long_line = False

    def fresh(self) -> tuple[bytes, bool]:
        """New bytes from `offset` on, and whether the file is another one than before."""
        try:
            with open_file(self.path, MOST_LOG_BYTES) as file:
                status = os.fstat(file.fileno())
                identity = (status.st_ino, file.read(_HEAD_BYTES))
                known = self._identity
                # A resumed run rewrites its record: same name, other file.
                replaced = known is not None and (
                    known[0] != identity[0]
                    or status.st_size < self.offset
                    or not identity[1].startswith(known[1][: len(identity[1])])
                )
                if replaced:
                    self.offset = 0
                self._identity, self.problem = identity, None
                file.seek(self.offset)
                return file.read(self.piece), replaced
        except OSError as error:
            gone = self._identity is not None
            self._identity, self.offset = None, 0
            missing = isinstance(error, FileNotFoundError)
            self.problem = None if missing else f"{one_line(self.path.name)} cannot be read ({reason(error)})"
            return b"", gone

    def lines(self) -> tuple[bytes, bool, int]:
        """New complete lines, whether the file is another one, and how many lines were too long to be lines.

        Of a line of more than a mebibyte no more than a piece is in memory at any time.
        """
        parts: list[bytes] = []
        replaced, too_long = False, 0
        while True:
            content, other = self.fresh()
            if other:
                parts, replaced, too_long, self._inside_long_line = [], True, 0, False
            if self._inside_long_line:
                end = content.find(b"\n") + 1
                self._inside_long_line = not end
                self.offset += end or len(content)
            else:
                end = content.rfind(b"\n") + 1
                if end:
                    parts.append(content[:end])
                self.offset += end
                if not end and len(content) > _LONGEST_LINE:
                    self._inside_long_line, too_long = True, too_long + 1
                    self.offset += len(content)
            if len(content) < self.piece:
                return b"".join(parts), replaced, too_long


class Lines(Generic[T]):
    """Complete JSON objects of a growing `.jsonl` file, each as `make` gives it; None from `make`: it does not fit."""

    def __init__(self, path: Path, make: Callable[[dict[str, Any]], T | None]) -> None:
        self.tail = Tail(path, _PIECE_BYTES)
        self._make = make
        self._rows: list[T] = []
        self._damaged = 0
        self._lock = threading.Lock()  # several views of a page read the same run at once

    def read(self) -> list[T]:
        """All complete rows; what is torn, damaged or does not fit is left out and counted."""
        with self._lock:
            content, replaced, too_long = self.tail.lines()
            if replaced:
                self._rows, self._damaged = [], 0
            rows, damaged = parse_lines(content)
            fitting = [item for row in rows if (item := self._make(row)) is not None]
            self._damaged += too_long + damaged + len(rows) - len(fitting)
            self._rows += fitting
            return list(self._rows)

    @property
    def problems(self) -> list[str]:
        """In a line each, what could not be read so far."""
        found = [self.tail.problem] if self.tail.problem else []
        return [*found, *LeftOut(lines=self._damaged).sentences(self.tail.path.name)]


class LineMetrics:
    """Measures of a growing `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.tail = Tail(path, _PIECE_BYTES)
        self._chunks: list[Chunk] = []
        self._left_out = LeftOut()
        self._metrics = Metrics()
        self._lock = threading.Lock()

    def read(self) -> Metrics:
        """Everything written so far."""
        with self._lock:
            before = self.tail.problem
            content, replaced, too_long = self.tail.lines()
            if replaced:
                self._chunks, self._left_out, self._metrics = [], LeftOut(), Metrics()
            self._left_out.lines += too_long
            if content:
                chunk = chunk_of_lines(content)
                self._chunks.append(chunk)
                self._left_out.add(chunk.left_out)
            if content or replaced or too_long or self.tail.problem != before:
                problems = [self.tail.problem] if self.tail.problem else []
                problems += self._left_out.sentences(self.tail.path.name)
                self._metrics = merge(self._chunks, problems)
                # One table again, so that the next append joins two parts and not a thousand.
                self._chunks = [Chunk(self._metrics.arrays, self._metrics.not_finite)] if self._metrics.rows else []
            return self._metrics


class EventMetrics:
    """Scalars of growing TensorBoard event files, with TRL's names for the measures."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._tails = [Tail(path) for path in files]
        self._chunks: list[Chunk] = []
        self._began: float | None = None
        self._damaged: dict[str, int] = {}
        self._problems: list[str] = []
        self._metrics = Metrics()
        self._lock = threading.Lock()

    def read(self) -> Metrics:
        """Everything written so far."""
        with self._lock:
            fresh = [(tail, *tail.fresh()) for tail in self._tails]
            if any(replaced for _, _, replaced in fresh):
                self._chunks, self._damaged, self._began = [], {}, None
                for tail in self._tails:
                    tail.offset = 0
                fresh = [(tail, tail.fresh()[0], True) for tail in self._tails]
            problems = [tail.problem for tail in self._tails if tail.problem]
            changed = problems != self._problems
            self._problems = problems
            for tail, content, replaced in fresh:
                if not content:
                    continue
                events = read_events(content)
                chunks = self._of(events)
                tail.offset += events.end
                if events.damaged:
                    self._damaged[tail.path.name] = self._damaged.get(tail.path.name, 0) + events.damaged
                changed |= bool(events.tags) or replaced or bool(events.damaged)
                self._chunks += chunks
            if changed:
                damaged = [f"{name}: {count} damaged records left out" for name, count in self._damaged.items()]
                self._metrics = merge(self._chunks, problems + damaged)
                self._chunks = [Chunk(self._metrics.arrays, self._metrics.not_finite)]
            return self._metrics

    def _of(self, events: Events) -> list[Chunk]:
        """Columns by tag; a record whose step or time is none counts as damaged."""
        chunks = []
        if self._began is None:
            # The first record of each tag; of records that were all damaged nothing is left.
            self._began = min(filter(math.isfinite, (part.walls[0] for part in events.tags.values())), default=None)
        for tag, part in events.tags.items():
            steps, walls, values = np.array(part.steps), np.array(part.walls), np.array(part.values)
            sound = (steps >= 0) & (steps <= MOST_STEP) & np.isfinite(walls)
            events.damaged += int((~sound).sum())
            steps, walls, values = steps[sound], walls[sound], values[sound]
            name = one_line(measure_name(tag))
            if not len(steps) or not name:
                continue
            finite = np.isfinite(values)
            arrays: dict[str, Floats] = {
                "step": steps.astype(np.float64),
                "time": walls - (self._began or 0.0),
                name: np.where(finite, values, np.nan),
            }
            chunks.append(Chunk(arrays, {} if finite.all() else {name: steps[~finite].tolist()}))
        return chunks


class StateMetrics:
    """Measures of the Trainer's `trainer_state.json`, and of event files that go beyond it."""

    def __init__(self, path: Path, events: EventMetrics | None) -> None:
        self.path, self.events = path, events
        self._known: tuple[int, int, int] | None = None
        self._chunk = Chunk({}, {})
        self._problems: list[str] = []
        self._scalars: Metrics | None = None
        self._merged: Metrics | None = None
        self._lock = threading.Lock()

    def read(self) -> Metrics:
        """Everything written so far; read again only when the file changed."""
        with self._lock:
            now = identity(self.path)
            changed = now != self._known
            if changed:
                self._known, self._problems = now, []
                self._read_history()
            scalars = self.events.read() if self.events is not None else None
            if self._merged is None or changed or scalars is not self._scalars:
                self._scalars = scalars
                beyond = scalars or Metrics()
                parts = [Chunk(beyond.arrays, beyond.not_finite), self._chunk]
                self._merged = merge(parts, [*self._problems, *beyond.problems])
            return self._merged

    def _read_history(self) -> None:
        name = f"{one_line(self.path.parent.name)}/{self.path.name}"
        self._chunk = Chunk({}, {})
        try:
            history = read_object(self.path, MOST_STATE_BYTES).get("log_history")
        except (OSError, ValueError) as error:
            self._problems = [f"{name} cannot be read ({reason(error)})"]
            return
        if not isinstance(history, list):
            self._problems = [f"{name} has no list log_history"]
            return
        rows = [row for row in history if isinstance(row, dict)]
        self._chunk = chunk_of_rows(row for row in rows if "train_runtime" not in row)
        self._chunk.left_out.rows += len(history) - len(rows)
        self._problems = self._chunk.left_out.sentences(name)


def measure_name(tag: str) -> str:
    """TRL's name of a measure: `train/rewards/chosen` -> `rewards/chosen`, `eval/loss` -> `eval_loss`."""
    head, slash, rest = tag.partition("/")
    if slash and head in ("train", "training"):
        name = rest
    elif slash and head in ("eval", "test", "validation"):
        name = f"eval_{rest.removeprefix('eval_')}"
    else:
        name = tag
    return {"global_step": "step_logged", "num_tokens": "tokens", "eval_num_tokens": "eval_tokens"}.get(name, name)
