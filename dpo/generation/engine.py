"""One worker for a device: a bounded queue of jobs, streamed, cancellable within one token.

This module imports no torch: the worker thread does, when the first job arrives, so that a
dashboard answers at once and loads PyTorch only when somebody asks for text.

Events of a job, in order: `queued` (position, wait_seconds) whenever its place changes; for each
policy `loading` (policy, message, share, bytes) and `start` (seen, prompt_tokens), or `failed` (message);
then `token` (arm, sample, text, tokens, and log_ratio where asked for) of all policies by turns, `done`
(and text, seconds, first_seconds, tokens_per_second, end) of each answer, and `finished` (cancelled,
same_tokens).  `waiting` is a sign of life.  `arm` is the place of the policy among those that were asked.
Where texts are to be scored, `scored` (scores: those of `dpo.generation.echo`) stands in the place of answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dpo.errors import ConfigError
from dpo.generation.jobs import MOST_POLICIES, Conversation, Job, ScoreJob
from dpo.generation.settings import MAX_SAMPLES, Sampling
from dpo.generation.spec import PolicySpec
from dpo.serving.service import Event, Service

if TYPE_CHECKING:
    from dpo.generation.worker import Worker

logger = logging.getLogger(__name__)
JobKind = TypeVar("JobKind", Job, ScoreJob)


class Engine(Service[Job | ScoreJob]):
    """Runs jobs one after the other on one device; the policies of a job write at the same time.

    Args:
        device: for `load_policy`.
        capacity: jobs that may wait; more are refused with `BusyError`.
        memory: bytes of weights kept loaded; the policy unused for longest is dropped first.
        dtype: of the weights, fp32 or bf16 (`dpo.policies.loading.weights_dtype` says whether the device can).
    """

    def __init__(self, device: str = "auto", capacity: int = 64, memory: int = 4 << 30, dtype: str = "fp32") -> None:
        super().__init__("dpo-engine", capacity, "prompts are waiting")
        self.device, self.memory, self.dtype = device, memory, dtype
        self._worker: Worker | None = None

    def submit(
        self,
        prompt: str | Sequence[int] | Conversation,
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
            prompt: a text, the ids of its tokens (then of one policy), or a conversation.
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
        asked = prompt if isinstance(prompt, str | Conversation) else tuple(prompt)
        if isinstance(asked, tuple) and any(spec.remote for spec in specs):
            raise ConfigError("Another server has tokens of its own: ask it with text")

        return self._enter(
            lambda number: Job(number, asked, specs, sampling, samples, log_ratios, tuple(turns), viewer=viewer)
        )

    def score(
        self, texts: Sequence[str | Sequence[int]], policy: PolicySpec, *, likeliest: int, following: bool, viewer: str
    ) -> ScoreJob:
        """Queue texts (or their tokens' ids) to be scored.

        Args:
            likeliest: tokens of each position that are wanted beside the one that stands there.
            following: also the likeliest token after each text.

        Raises:
            BusyError: the queue is full.
            ConfigError: the policy is not as it is trained, or another engine's.
        """
        if policy.remote or policy.engine != "torch" or policy.strength != 1.0:
            raise ConfigError(f"{policy.policy} is scored by torch as it is: leave lambda and other engines out")
        given = tuple(text if isinstance(text, str) else tuple(text) for text in texts)
        return self._enter(lambda number: ScoreJob(number, given, (policy,), likeliest, following, viewer=viewer))

    def _enter(self, make: Callable[[int], JobKind]) -> JobKind:
        job: Any = self._queue(make)  # what `make` made
        return cast("JobKind", job)

    def loaded(self) -> list[str]:
        """Names of the policies in memory."""
        return [] if self._worker is None else self._worker.store.names()

    def _serve(self, job: Job | ScoreJob) -> Callable[[], None] | None:
        if self._worker is None:
            job.emit("loading", arm=0, message="Starting PyTorch", policy="", share=None, bytes=None)
            from dpo.generation.worker import Worker

            self._worker = Worker(self.device, self.memory, self.dtype)
        if isinstance(job, ScoreJob):
            self._worker.score(job)
            return None
        return self._worker.run(job)

    def _failed(self, job: Job | ScoreJob, error: Exception) -> None:
        logger.error("job %s failed", job.number, exc_info=error)
        for place in range(len(job.policies)):
            job.emit("failed", arm=place, message="This prompt failed: the server's log says more")

    def _parting(self, job: Job | ScoreJob) -> Event:
        return {"same_tokens": job.same_tokens} if isinstance(job, Job) else {}
