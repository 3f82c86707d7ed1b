"""Append-only cursors: a file is read once, and later only what was appended to it.

Each cursor notices a file that was replaced or cut (another inode, or shorter than what was read)
and then reads it from its start again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dpo.runs.metrics import Chunk, Floats, Metrics, chunk_of_lines, chunk_of_rows, merge
from dpo.runs.tfevents import Events, read_events

_HEAD_BYTES = 64


class Source(Protocol):
    """Where measures come from."""

    def read(self) -> Metrics:
        """Everything written so far; reads only what is new."""


class Tail:
    """The bytes that were appended to a file since the last call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self._identity: tuple[int, bytes] | None = None

    def fresh(self) -> tuple[bytes, bool]:
        """New bytes from `offset` on, and whether the file is another one than before."""
        try:
            with self.path.open("rb") as file:
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
                self._identity = identity
                file.seek(self.offset)
                return file.read(), replaced
        except OSError:
            gone = self._identity is not None
            self._identity, self.offset = None, 0
            return b"", gone


class Lines:
    """Complete JSON objects of a growing `.jsonl` file."""

    def __init__(self, path: Path) -> None:
        self.tail = Tail(path)
        self.rows: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """All complete rows; a torn or damaged line is left out."""
        content, replaced = self.tail.fresh()
        if replaced:
            self.rows = []
        end = content.rfind(b"\n") + 1
        self.tail.offset += end
        for line in content[:end].splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                self.rows.append(row)
        return self.rows


class LineMetrics:
    """Measures of a growing `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.tail = Tail(path)
        self._chunks: list[Chunk] = []
        self._damaged = 0
        self._metrics = Metrics()
        self._lock = threading.Lock()

    def read(self) -> Metrics:
        """Everything written so far."""
        with self._lock:
            content, replaced = self.tail.fresh()
            if replaced:
                self._chunks, self._damaged, self._metrics = [], 0, Metrics()
            end = content.rfind(b"\n") + 1
            if end:
                self.tail.offset += end
                chunk, damaged = chunk_of_lines(content[:end])
                self._chunks.append(chunk)
                self._damaged += damaged
            if end or replaced:
                problems = [f"{_lines(self._damaged)} of {self.tail.path.name} left out"] if self._damaged else []
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
            changed = False
            for tail, content, replaced in fresh:
                if not content:
                    continue
                events = read_events(content)
                tail.offset += events.end
                if events.damaged:
                    self._damaged[tail.path.name] = self._damaged.get(tail.path.name, 0) + events.damaged
                changed |= bool(events.tags) or replaced or bool(events.damaged)
                self._chunks += self._of(events)
            if changed:
                problems = [f"{name}: {count} damaged records left out" for name, count in self._damaged.items()]
                self._metrics = merge(self._chunks, problems)
                self._chunks = [Chunk(self._metrics.arrays, self._metrics.not_finite)]
            return self._metrics

    def _of(self, events: Events) -> list[Chunk]:
        chunks = []
        if self._began is None and events.tags:
            self._began = min(float(part.walls[0][0]) for part in events.tags.values() if len(part.walls[0]))
        for tag, part in events.tags.items():
            steps, walls, values = part.steps[0], part.walls[0], part.values[0]
            if not len(steps):
                continue
            name = measure_name(tag)
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
        self._known: tuple[int, int] | None = None
        self._chunk = Chunk({}, {})
        self._problems: list[str] = []
        self._scalars: Metrics | None = None
        self._merged: Metrics | None = None
        self._lock = threading.Lock()

    def read(self) -> Metrics:
        """Everything written so far; read again only when the file changed."""
        with self._lock:
            try:
                status = self.path.stat()
                now: tuple[int, int] | None = (status.st_mtime_ns, status.st_size)
            except OSError:
                now = None
            changed = now != self._known
            if changed:
                self._known, self._problems = now, []
                try:
                    history = json.loads(self.path.read_text(encoding="utf-8"))["log_history"]
                    self._chunk = chunk_of_rows(
                        row for row in history if isinstance(row, dict) and "train_runtime" not in row
                    )
                except (OSError, ValueError, KeyError, TypeError) as error:
                    self._chunk = Chunk({}, {})
                    self._problems = [f"{self.path.parent.name}/{self.path.name} cannot be read ({error})"]
            scalars = self.events.read() if self.events is not None else None
            if self._merged is None or changed or scalars is not self._scalars:
                self._scalars = scalars
                beyond = scalars or Metrics()
                parts = [Chunk(beyond.arrays, beyond.not_finite), self._chunk]
                self._merged = merge(parts, [*self._problems, *beyond.problems])
            return self._merged


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


def _lines(count: int) -> str:
    return "1 damaged line" if count == 1 else f"{count} damaged lines"
