"""One worker for a device: a bounded queue of jobs, streamed, cancellable within one token.

This module imports no torch: the worker thread does, when the first job arrives, so that a
dashboard answers at once and loads PyTorch only when somebody asks for text.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dpo.errors import BusyError, DpoError
from dpo.generation.settings import Sampling

if TYPE_CHECKING:
    from dpo.policies.loading import Policy

logger = logging.getLogger(__name__)
Event = dict[str, Any]
_POLL_SECONDS = 15.0  # a comment line this often keeps proxies and dead viewers honest


@dataclass(eq=False)
class Job:
    """One prompt for several policies; its events are read by one viewer."""

    number: int
    prompt: str
    policies: tuple[str, ...]
    sampling: Sampling
    events: queue.SimpleQueue[Event] = field(default_factory=queue.SimpleQueue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def emit(self, kind: str, **data: Any) -> None:
        """Hand an event to the viewer."""
        self.events.put({"event": kind, **data})


class Engine:
    """Runs jobs one after the other on one device.

    Args:
        device: for `load_policy`.
        capacity: jobs that may wait; more are refused with `BusyError`.
        memory: bytes of weights kept loaded; the policy unused for longest is dropped first.
    """

    def __init__(self, device: str = "auto", capacity: int = 16, memory: int = 4 << 30) -> None:
        self.device, self.capacity, self.memory = device, capacity, memory
        self._waiting: OrderedDict[int, Job] = OrderedDict()
        self._running: Job | None = None
        self._jobs: dict[int, Job] = {}
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._loaded: OrderedDict[str, Policy] = OrderedDict()
        self._worker: threading.Thread | None = None
        self._closed = False

    def submit(self, prompt: str, policies: Sequence[str], sampling: Sampling) -> Job:
        """Queue a job.

        Raises:
            BusyError: the queue is full.
            ConfigError: sampling values out of range.
        """
        sampling.validate()
        with self._changed:
            if len(self._waiting) >= self.capacity:
                raise BusyError(f"{self.capacity} prompts are waiting already: try again in a moment")
            job = Job(next(self._numbers), prompt, tuple(policies), sampling)
            self._waiting[job.number] = self._jobs[job.number] = job
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="dpo-engine", daemon=True)
                self._worker.start()
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
            if self._waiting.pop(number, None) is not None:
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
        return list(self._loaded)

    def close(self) -> None:
        """Stop the worker and every job."""
        with self._changed:
            self._closed = True
            for number in list(self._jobs):
                self.cancel(number)
            self._changed.notify_all()
        if self._worker is not None:
            self._worker.join(timeout=30)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                _, job = self._waiting.popitem(last=False)
                self._running = job
                self._tell_positions()
            try:
                self._run(job)
            finally:
                with self._changed:
                    self._running = None
                    self._jobs.pop(job.number, None)
                job.emit("finished", stopped=job.cancelled.is_set())

    def _run(self, job: Job) -> None:
        for arm, name in enumerate(job.policies):
            if job.cancelled.is_set():
                job.emit("skipped", arm=arm)
                continue
            try:
                self._answer(job, arm, name)
            except DpoError as error:
                job.emit("failed", arm=arm, message=" ".join(str(error).split()))
            except Exception as error:
                logger.exception("arm %s failed", name)
                about = f"{name} failed ({type(error).__name__}): the server's log says more"
                job.emit("failed", arm=arm, message=about)

    def _answer(self, job: Job, arm: int, name: str) -> None:
        policy = self._policy(job, arm, name)
        from dpo.generation.sampler import stream, suit_threads

        suit_threads(policy)
        prompt_ids = policy.encode_prompt(job.prompt, reserve=1)
        seen = policy.family.shown_prompt(policy.tokenizer, prompt_ids)
        job.emit("start", arm=arm, seen=seen, prompt_tokens=len(prompt_ids))
        began = time.perf_counter()
        for piece in stream(policy, job.prompt, job.sampling, job.cancelled.is_set):
            if piece.end is None:
                job.emit("token", arm=arm, text=piece.text, tokens=piece.tokens)
                continue
            seconds = time.perf_counter() - began
            rate = piece.tokens / seconds if seconds > 0 else 0.0
            job.emit(
                "done", arm=arm, text=piece.text, tokens=piece.tokens, seconds=round(seconds, 3),
                tokens_per_second=round(rate, 1), end=piece.end,
            )  # fmt: skip

    def _policy(self, job: Job, arm: int, name: str) -> Policy:
        if name in self._loaded:
            self._loaded.move_to_end(name)
            return self._loaded[name]
        if not self._loaded:
            job.emit("loading", arm=arm, message="Starting PyTorch")
        from dpo.policies.loading import load_policy

        job.emit("loading", arm=arm, message=f"Reading {name}")
        policy = load_policy(name, device=self.device)
        self._loaded[name] = policy
        while len(self._loaded) > 1 and sum(map(_bytes, self._loaded.values())) > self.memory:
            self._loaded.popitem(last=False)
        return policy

    def _tell_positions(self) -> None:
        ahead = 1 if self._running is not None else 0
        for place, job in enumerate(self._waiting.values()):
            job.emit("queued", job=job.number, position=place + ahead)


def _bytes(policy: Policy) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in policy.model.parameters())
