"""One worker for the lens: scoring in turn, with progress, never in a web request's own thread.

Beside the generation engine, so that reading a lens does not wait for somebody's long answer.  No
torch here: the worker's thread imports it with the first task.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dpo.errors import BusyError, DpoError

if TYPE_CHECKING:
    from dpo.evaluation.lens import Lens

logger = logging.getLogger(__name__)
Event = dict[str, Any]
_POLL_SECONDS = 15.0


@dataclass(eq=False)
class Task:
    """Something to score; its events are read by one viewer."""

    work: Callable[[LensWorker, Task], None]
    events: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def emit(self, kind: str, **data: Any) -> None:
        """Hand an event to the viewer."""
        self.events.put({"event": kind, **data})


class LensWorker:
    """Runs tasks one after the other on one device.

    Args:
        device: for `open_lens`.
        capacity: tasks that may wait; more are refused with `BusyError`.
        keep: policies (each with its reference) that stay in memory; the one unused for longest goes.
    """

    def __init__(self, device: str = "auto", capacity: int = 16, keep: int = 4) -> None:
        self.device, self.capacity, self.keep = device, capacity, keep
        self._waiting: list[Task] = []
        self._running: Task | None = None
        self._changed = threading.Condition()
        self._open: OrderedDict[tuple[str, str | None, float | None], Lens] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Callable[[LensWorker, Task], None]) -> Task:
        """Queue a task.

        Raises:
            BusyError: the queue is full.
        """
        with self._changed:
            if len(self._waiting) >= self.capacity:
                raise BusyError(f"{self.capacity} texts are waiting to be scored already: try again in a moment")
            task = Task(work)
            self._waiting.append(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="dpo-lens", daemon=True)
                self._thread.start()
            self._tell_positions()
            self._changed.notify_all()
        return task

    def follow(self, task: Task) -> Iterator[Event]:
        """The task's events until it is finished; leaving early cancels it."""
        try:
            while True:
                try:
                    event = task.events.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    event = {"event": "waiting"}
                yield event
                if event["event"] == "finished":
                    return
        finally:
            task.cancelled.set()
            with self._changed, contextlib.suppress(ValueError):
                self._waiting.remove(task)
                self._tell_positions()

    def lens(self, task: Task, name: str, reference: str | None = None, beta: float | None = None) -> Lens:
        """The lens of a policy, read from disk if it is not in memory (worker's thread only)."""
        key = (name, reference, beta)
        if key not in self._open:
            task.emit("loading", message=f"Reading {name}" if self._open else f"Starting PyTorch, reading {name}")
            from dpo.evaluation.lens import open_lens

            self._open[key] = open_lens(name, reference=reference, beta=beta, device=self.device)
            while len(self._open) > self.keep:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return self._open[key]

    def close(self) -> None:
        """Stop the worker and every task."""
        with self._changed:
            self._closed = True
            for task in [*self._waiting, *([self._running] if self._running else [])]:
                task.cancelled.set()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                task = self._running = self._waiting.pop(0)
                self._tell_positions()
            try:
                task.work(self, task)
            except DpoError as error:
                task.emit("failed", message=" ".join(str(error).split()))
            except Exception as error:
                logger.exception("scoring failed")
                task.emit("failed", message=f"Scoring failed ({type(error).__name__}): the server's log says more")
            finally:
                with self._changed:
                    self._running = None
                task.emit("finished")

    def _tell_positions(self) -> None:
        ahead = 1 if self._running is not None else 0
        for place, task in enumerate(self._waiting):
            task.emit("queued", position=place + ahead)
