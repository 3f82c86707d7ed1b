"""Jobs in a fair order on one thread, each followed by one viewer, who can cancel it.

No torch here: what a service does with a job may import it, in the service's own thread, when the first
job comes; so a dashboard answers at once.
"""

from __future__ import annotations

import itertools
import logging
import queue
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from dpo.errors import BusyError
from dpo.serving.fair_queue import FairQueue

logger = logging.getLogger(__name__)
Event = dict[str, Any]
_POLL_SECONDS = 15.0  # a comment line this often keeps proxies and dead viewers honest


@dataclass(eq=False)
class Work:
    """Something that a viewer waits for; its events are read by that viewer.

    They begin with `queued` (position, wait_seconds) whenever its place changes, and end with
    `finished` (cancelled); `waiting` is a sign of life.
    """

    number: int
    viewer: str = field(default="", kw_only=True)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16), kw_only=True)
    """Cancels it; only its viewer gets it."""
    events: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue, kw_only=True)
    cancelled: threading.Event = field(default_factory=threading.Event, kw_only=True)

    def emit(self, kind: str, **data: Any) -> None:
        """Hand an event to the viewer."""
        self.events.put({"event": kind, **data})


Kind = TypeVar("Kind", bound=Work)


class Service(ABC, Generic[Kind]):
    """Runs jobs one after the other; viewers are served by turns.

    Args:
        name: of the thread.
        capacity: jobs that may wait; more are refused with `BusyError`.
        full: what is waiting then, for the message ("24 {full} already").
    """

    def __init__(self, name: str, capacity: int, full: str) -> None:
        self.capacity = capacity
        self._name, self._full = name, full
        self._waiting: FairQueue[Kind] = FairQueue()
        self._running: tuple[Kind, float] | None = None  # and since when
        self._jobs: dict[int, Kind] = {}
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._elsewhere = 0  # jobs that go on outside of the thread
        self._pace: float | None = None  # seconds that a job takes, from the last ones

    @abstractmethod
    def _serve(self, job: Kind) -> Callable[[], None] | None:
        """Do the job, in the service's thread.

        What goes on elsewhere is returned as something to wait for: the job is finished when that returns,
        and the next one begins meanwhile.
        """

    @abstractmethod
    def _failed(self, job: Kind, error: Exception) -> None:
        """Tell the viewer why the job failed."""

    def _parting(self, job: Kind) -> Event:
        """What `finished` says beside `cancelled`."""
        return {}

    def _queue(self, make: Callable[[int], Kind]) -> Kind:
        """Let a job wait; `make` gets its number.

        Raises:
            BusyError: the queue is full.
        """
        with self._changed:
            if len(self._waiting) + self._elsewhere >= self.capacity:
                raise BusyError(f"{self.capacity} {self._full} already: try again in a moment")
            job = make(next(self._numbers))
            self._waiting.add(job)
            self._jobs[job.number] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
            self._emit_positions()
            self._changed.notify_all()
        return job

    def cancel(self, number: int) -> bool:
        """Cancel a job, waiting or running; whether there was one."""
        with self._changed:
            job = self._jobs.get(number)
            if job is None:
                return False
            job.cancelled.set()
            if self._waiting.remove(number):
                self._jobs.pop(number, None)
                job.emit("finished", cancelled=True)
                self._emit_positions()
        return True

    def withdraw(self, token: str) -> bool:
        """Cancel the job that has this token; whether there was one."""
        given = token.encode(errors="replace")
        with self._changed:
            for number, job in self._jobs.items():
                if secrets.compare_digest(job.token.encode(), given):
                    return self.cancel(number)
        return False

    def follow(self, job: Kind) -> Iterator[Event]:
        """The job's events until it is finished; leaving early cancels it."""
        try:
            while True:
                try:
                    event = job.events.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    event = {"event": "waiting"}
                yield event
                if event["event"] == "finished":
                    return
        finally:
            self.cancel(job.number)

    def close(self) -> None:
        """Stop the thread and every job."""
        with self._changed:
            self._closed = True
            for number in list(self._jobs):
                self.cancel(number)
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not len(self._waiting) and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._waiting.pop()
                began = time.perf_counter()
                self._running = job, began
                self._emit_positions()
            rest: Callable[[], None] | None = None
            try:
                rest = self._serve(job)
            except Exception as error:
                self._failed(job, error)
            with self._changed:
                self._running = None
                self._learn(time.perf_counter() - began)
                self._elsewhere += rest is not None
            if rest is None:
                self._finish(job)
            else:
                threading.Thread(target=self._wait, args=(job, rest), name=f"{self._name}-rest", daemon=True).start()

    def _wait(self, job: Kind, rest: Callable[[], None]) -> None:
        try:
            rest()
        except Exception as error:
            self._failed(job, error)
        with self._changed:
            self._elsewhere -= 1
        self._finish(job)

    def _finish(self, job: Kind) -> None:
        with self._changed:
            self._jobs.pop(job.number, None)
        job.emit("finished", cancelled=job.cancelled.is_set(), **self._parting(job))

    def _learn(self, seconds: float) -> None:
        self._pace = seconds if self._pace is None else 0.7 * self._pace + 0.3 * seconds

    def _emit_positions(self) -> None:
        ahead, left = 0, 0.0
        if self._running is not None:
            ahead = 1
            left = max((self._pace or 0.0) - (time.perf_counter() - self._running[1]), 0.0)
        for place, job in enumerate(self._waiting):
            seconds = None if self._pace is None else round(left + place * self._pace, 1)
            job.emit("queued", position=place + ahead, wait_seconds=seconds)
