"""One worker for a device: a bounded queue of jobs, streamed, cancellable within one token.

This module imports no torch: the worker thread does, when the first job arrives, so that a
dashboard answers at once and loads PyTorch only when somebody asks for text.

Events of a job, in order: `queued` (position, wait_seconds) whenever its place changes; for each arm
`loading` (policy, message, share, bytes) and `start` (seen, prompt_tokens), or `failed` (message);
then `token` (arm, sample, text, tokens, and log_ratio where asked for) of all arms by turns, `done`
(and text, seconds, first_seconds, tokens_per_second, end) of each answer, and `finished` (stopped,
same_tokens).  `waiting` is a sign of life.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dpo.errors import BusyError, ConfigError
from dpo.generation.line import Line
from dpo.generation.settings import MAX_SAMPLES, Sampling
from dpo.generation.spec import ArmSpec

if TYPE_CHECKING:
    from dpo.generation.work import Worker

logger = logging.getLogger(__name__)
Event = dict[str, Any]
_POLL_SECONDS = 15.0  # a comment line this often keeps proxies and dead viewers honest
_MAX_ARMS = 8


@dataclass(eq=False)
class Job:
    """One prompt for several policies; its events are read by one viewer."""

    number: int
    prompt: str
    arms: tuple[ArmSpec, ...]
    sampling: Sampling
    viewer: str = ""
    samples: int = 1
    log_ratios: bool = False
    turns: tuple[tuple[str, str], ...] = ()
    events: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)
    cancelled: threading.Event = field(default_factory=threading.Event)
    same_tokens: list[dict[str, Any]] = field(default_factory=list)

    def emit(self, kind: str, **data: Any) -> None:
        """Hand an event to the viewer."""
        self.events.put({"event": kind, **data})


class Engine:
    """Runs jobs one after the other on one device; the arms of a job write at the same time.

    Args:
        device: for `load_policy`.
        capacity: jobs that may wait; more are refused with `BusyError`.
        memory: bytes of weights kept loaded; the policy unused for longest is dropped first.
        dtype: of the weights, fp32 or bf16 (`dpo.policies.loading.weights_dtype` says whether the device can).
    """

    def __init__(
        self, device: str = "auto", capacity: int = 24, memory: int = 4 << 30, dtype: str = "fp32"
    ) -> None:
        self.device, self.capacity, self.memory, self.dtype = device, capacity, memory, dtype
        self._waiting: Line[Job] = Line()
        self._running: tuple[Job, float] | None = None  # and since when
        self._jobs: dict[int, Job] = {}
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._worker: Worker | None = None
        self._closed = False
        self._pace: float | None = None  # seconds that a job takes, from the last ones

    def submit(
        self,
        prompt: str,
        policies: Sequence[str | ArmSpec],
        sampling: Sampling,
        *,
        viewer: str = "",
        samples: int = 1,
        log_ratios: bool = False,
        turns: Sequence[tuple[str, str]] = (),
    ) -> Job:
        """Queue a job.

        Args:
            policies: names or specs, one for each arm.
            viewer: who asks; viewers are served by turns.
            samples: answers of each arm, with the seeds `seed`, `seed + 1`, ...
            log_ratios: measure each token against the arm's reference.
            turns: what was said before, (prompt, answer); the oldest are left out where the context is too short.

        Raises:
            BusyError: the queue is full.
            ConfigError: values out of range.
        """
        sampling.validate()
        arms = tuple(ArmSpec.of(policy) for policy in policies)
        if not 1 <= len(arms) <= _MAX_ARMS:
            raise ConfigError(f"{len(arms)} policies at once: ask for at least 1 and at most {_MAX_ARMS}")
        if isinstance(samples, bool) or not isinstance(samples, int) or not 1 <= samples <= MAX_SAMPLES:
            raise ConfigError(f"samples is {samples!r}: it must be a whole number from 1 to {MAX_SAMPLES}")
        with self._changed:
            if len(self._waiting) >= self.capacity:
                raise BusyError(f"{self.capacity} prompts are waiting already: try again in a moment")
            job = Job(next(self._numbers), prompt, arms, sampling, viewer, samples, log_ratios, tuple(turns))
            self._waiting.add(job)
            self._jobs[job.number] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="dpo-engine", daemon=True)
                self._thread.start()
            self._tell_positions()
            self._changed.notify_all()
        return job

    def cancel(self, number: int) -> bool:
        """Stop a job, waiting or running; whether there was one."""
        with self._changed:
            job = self._jobs.get(number)
            if job is None:
                return False
            job.cancelled.set()
            if self._waiting.remove(number):
                self._jobs.pop(number, None)
                job.emit("finished", stopped=True)
                self._tell_positions()
        return True

    def follow(self, job: Job) -> Iterator[Event]:
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

    def loaded(self) -> list[str]:
        """Names of the policies in memory."""
        return [] if self._worker is None else self._worker.store.names()

    def close(self) -> None:
        """Stop the worker and every job."""
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
                self._tell_positions()
            try:
                if self._worker is None:
                    job.emit("loading", arm=0, message="Starting PyTorch", policy="", share=None, bytes=None)
                    from dpo.generation.work import Worker

                    self._worker = Worker(self.device, self.memory, self.dtype)
                self._worker.run(job)
            except Exception:
                logger.exception("job %s failed", job.number)
                for arm in range(len(job.arms)):
                    job.emit("failed", arm=arm, message="This prompt failed: the server's log says more")
            finally:
                with self._changed:
                    self._running = None
                    self._jobs.pop(job.number, None)
                    self._learn(time.perf_counter() - began)
                job.emit("finished", stopped=job.cancelled.is_set(), same_tokens=job.same_tokens)

    def _learn(self, seconds: float) -> None:
        self._pace = seconds if self._pace is None else 0.7 * self._pace + 0.3 * seconds

    def _tell_positions(self) -> None:
        ahead, left = 0, 0.0
        if self._running is not None:
            ahead = 1
            left = max((self._pace or 0.0) - (time.perf_counter() - self._running[1]), 0.0)
        for place, job in enumerate(self._waiting):
            seconds = None if self._pace is None else round(left + place * self._pace, 1)
            job.emit("queued", job=job.number, position=place + ahead, wait_seconds=seconds)
