"""One worker for a device: a bounded queue of jobs, streamed, cancellable within one token.

This module imports no torch: the worker thread does, when the first job arrives, so that a
dashboard answers at once and loads PyTorch only when somebody asks for text.

Events of a job, in order: `queued` (position, wait_seconds) whenever its place changes; for each
policy `loading` (policy, message, share, bytes) and `start` (seen, prompt_tokens), or `failed` (message);
then `token` (arm, sample, text, tokens, and log_ratio where asked for) of all policies by turns, `done`
(and text, seconds, first_seconds, tokens_per_second, end) of each answer, and `finished` (cancelled,
same_tokens).  `waiting` is a sign of life.  `arm` is the place of the policy among those that were asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dpo.errors import ConfigError
from dpo.generation.jobs import MOST_POLICIES, Job
from dpo.generation.settings import MAX_SAMPLES, Sampling
from dpo.generation.spec import PolicySpec
from dpo.serving.service import Event, Service

if TYPE_CHECKING:
    from dpo.generation.worker import Worker

logger = logging.getLogger(__name__)


class Engine(Service[Job]):
    """Runs jobs one after the other on one device; the policies of a job write at the same time.

    Args:
        device: for `load_policy`.
        capacity: jobs that may wait; more are refused with `BusyError`.
        memory: bytes of weights kept loaded; the policy unused for longest is dropped first.
        dtype: of the weights, fp32 or bf16 (`dpo.policies.loading.weights_dtype` says whether the device can).
    """

    def __init__(self, device: str = "auto", capacity: int = 24, memory: int = 4 << 30, dtype: str = "fp32") -> None:
        super().__init__("dpo-engine", capacity, "prompts are waiting")
        self.device, self.memory, self.dtype = device, memory, dtype
        self._worker: Worker | None = None

    def submit(
        self,
        prompt: str,
        policies: Sequence[str | PolicySpec],
        sampling: Sampling,
        *,
        viewer: str = "",
        samples: int = 1,
        log_ratios: bool = False,
        turns: Sequence[tuple[str, str]] = (),
    ) -> Job:
        """Queue a job.

        Args:
            policies: names or specs.
            viewer: who asks; viewers are served by turns.
            samples: answers of each policy, with the seeds `seed`, `seed + 1`, ...
            log_ratios: measure each token against its policy's reference.
            turns: of the conversation before, (prompt, answer); the oldest are left out where the context is
                too short.

        Raises:
            BusyError: the queue is full.
            ConfigError: values out of range.
        """
        sampling.validate()
        specs = tuple(PolicySpec.of(policy) for policy in policies)
        if not 1 <= len(specs) <= MOST_POLICIES:
            raise ConfigError(f"{len(specs)} policies at once: ask for at least 1 and at most {MOST_POLICIES}")
        if isinstance(samples, bool) or not isinstance(samples, int) or not 1 <= samples <= MAX_SAMPLES:
            raise ConfigError(f"samples is {samples!r}: it must be a whole number from 1 to {MAX_SAMPLES}")
        return self._queue(
            lambda number: Job(number, prompt, specs, sampling, samples, log_ratios, tuple(turns), viewer=viewer)
        )

    def loaded(self) -> list[str]:
        """Names of the policies in memory."""
        return [] if self._worker is None else self._worker.store.names()

    def _serve(self, job: Job) -> Callable[[], None] | None:
        if self._worker is None:
            job.emit("loading", arm=0, message="Starting PyTorch", policy="", share=None, bytes=None)
            from dpo.generation.worker import Worker

            self._worker = Worker(self.device, self.memory, self.dtype)
        return self._worker.run(job)

    def _failed(self, job: Job, error: Exception) -> None:
        logger.error("job %s failed", job.number, exc_info=error)
        for place in range(len(job.policies)):
            job.emit("failed", arm=place, message="This prompt failed: the server's log says more")

    def _parting(self, job: Job) -> Event:
        return {"same_tokens": job.same_tokens}
