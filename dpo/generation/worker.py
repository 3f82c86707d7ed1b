"""What the engine's worker does with a job: load its arms, let them write by turns, tell the viewer."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

from dpo.errors import DpoError, PromptError
from dpo.generation.pieces import Piece
from dpo.generation.remote import complete
from dpo.generation.sampler import answer, suit_threads
from dpo.generation.spec import ArmSpec, Turns, reference_of
from dpo.generation.store import PolicyStore
from dpo.generation.tracks import Arm
from dpo.policies.families import Prompt, plain_conversation
from dpo.policies.loading import Policy

if TYPE_CHECKING:
    from dpo.generation.engine import Job

logger = logging.getLogger(__name__)
_ANSWER = 64  # tokens that older turns make room for


class Worker:
    """Runs jobs on one device; used by one thread."""

    def __init__(self, device: str, memory: int, dtype: str = "fp32") -> None:
        self.store = PolicyStore(device, memory, dtype)

    def run(self, job: Job) -> Callable[[], None] | None:
        """Answer a job; every arm ends with `done`, `failed` or `skipped`.

        Returns what waits for answers that other servers still write: nobody else has to.
        """
        arms: dict[int, Arm] = {}
        sources: list[_Source] = []
        teller = _Teller(job)
        others: list[threading.Thread] = []
        used: set[str] = set()
        for index, spec in enumerate(job.arms):
            if job.cancelled.is_set():
                break
            try:
                if spec.remote:
                    others.append(_start_remote(job, index, spec, teller))
                elif spec.engine == "torch":
                    arms[index] = self._arm(job, index, spec, used)
                else:
                    sources += self._converted(job, index, spec, teller, used)
            except Exception as error:
                teller.fail(index, error)
        if arms:
            sources.insert(0, _start_local(job, arms, teller))
        _by_turns(sources, teller)
        if not others:
            teller.finish()
            return None

        def rest() -> None:
            for thread in others:
                thread.join()
            teller.finish()

        return rest

    def _arm(self, job: Job, index: int, spec: ArmSpec, used: set[str]) -> Arm:
        policy = self._policy(job, index, spec.policy, used)
        prompt = _prompt(job, spec, policy)
        encoded = policy.encode_prompt(prompt, reserve=1)  # too long a prompt is told before anything is written
        reference = None
        wants = job.log_ratios or spec.strength != 1.0
        name = spec.reference or (reference_of(spec.policy) if wants else None)
        if wants and name is not None:
            reference = self._policy(job, index, name, used)
        if job.log_ratios and spec.strength == 1.0 and reference is None:
            # A base has nothing to be measured from but itself.
            reference = None if hasattr(policy.model, "disable_adapter") else policy
        arm = Arm(policy, spec.strength, reference, prompt, encoded)
        arm.members(job.log_ratios)
        return arm

    def _converted(self, job: Job, index: int, spec: ArmSpec, teller: _Teller, used: set[str]) -> list[_Source]:
        from dpo.generation.ctranslate import converted

        policy = self._policy(job, index, spec.policy, used)
        prompt = _prompt(job, spec, policy)
        prompt_ids = policy.encode_prompt(prompt, reserve=1)
        job.emit("loading", arm=index, policy=spec.policy, message=f"Converting {spec.policy}", share=None, bytes=None)
        engine = converted(policy, "int8" if spec.engine.endswith("int8") else "float32")
        difference = engine.difference(policy, prompt, prompt_ids) if engine.compute == "int8" else None
        seen = policy.family.shown_prompt(policy.tokenizer, prompt_ids)
        teller.reads(index, policy)
        teller.start(index, seen, len(prompt_ids), ". ".join(filter(None, (spec.note, difference))))
        pieces = [
            engine.stream(policy, prompt_ids, job.sampling, job.cancelled.is_set, arm=index, sample=sample)
            for sample in range(job.samples)
        ]
        return [(stream, (index,)) for stream in pieces]

    def _policy(self, job: Job, index: int, name: str, used: set[str]) -> Policy:
        def progress(policy: str, share: float, size: int) -> None:
            shown = f" ({size / 1e6:.0f} MB)" if size else ""
            message = f"Reading {policy}{shown}"
            job.emit("loading", arm=index, policy=policy, message=message, share=round(share, 3), bytes=size or None)

        policy = self.store.get(name, progress, frozenset(used))
        used.add(name)
        return policy


class _Teller:
    """Turns pieces into events, with the facts about each answer; used by several threads."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.began = time.perf_counter()
        self.first: dict[tuple[int, int], float] = {}
        self.tokens: dict[tuple[int, int], list[int]] = {}
        self.ratios: dict[tuple[int, int], float] = {}
        self.ended: set[tuple[int, int]] = set()
        self.failed: set[int] = set()
        self.vocabularies: dict[int, int] = {}

    def reads(self, arm: int, policy: Policy) -> None:
        """Arms whose tokens mean the same can be compared token by token."""
        self.vocabularies[arm] = hash((policy.family.key, len(policy.tokenizer)))

    def start(self, arm: int, seen: str, prompt_tokens: int | None, note: str | None = None) -> None:
        self.began = time.perf_counter()
        self.job.emit("start", arm=arm, seen=seen, prompt_tokens=prompt_tokens, note=note)

    def tell(self, piece: Piece) -> None:
        key, now = (piece.arm, piece.sample), time.perf_counter()
        if piece.end is None:
            self.first.setdefault(key, now - self.began)
            if piece.token is not None:
                self.tokens.setdefault(key, []).append(piece.token)
            extra: dict[str, Any] = {}
            if piece.log_ratio is not None:
                self.ratios[key] = self.ratios.get(key, 0.0) + piece.log_ratio
                extra = {"log_ratio": round(piece.log_ratio, 5)}
            self.job.emit(
                "token", arm=piece.arm, sample=piece.sample, text=piece.text, tokens=piece.tokens, **extra
            )  # fmt: skip
            return
        seconds = now - self.began
        first = self.first.get(key)
        self.ended.add(key)
        ratio = self.ratios.get(key)
        self.job.emit(
            "done", arm=piece.arm, sample=piece.sample, text=piece.text, tokens=piece.tokens, end=piece.end,
            seconds=round(seconds, 3), first_seconds=None if first is None else round(first, 4),
            tokens_per_second=round(piece.tokens / seconds, 1) if seconds > 0 else 0.0,
            log_ratio=None if ratio is None else round(ratio, 5),
        )  # fmt: skip

    def fail(self, arm: int, error: BaseException) -> None:
        self.failed.add(arm)
        if isinstance(error, DpoError):
            message = " ".join(str(error).split())
        else:
            name = self.job.arms[arm].policy
            logger.error("arm %s failed", name, exc_info=error)
            message = f"{name} failed ({type(error).__name__}): the server's log says more"
        self.job.emit("failed", arm=arm, message=message)

    def complete(self, arm: int) -> bool:
        """Whether all of an arm's answers have ended."""
        return all((arm, sample) in self.ended for sample in range(self.job.samples))

    def finish(self) -> None:
        for arm in range(len(self.job.arms)):
            if arm not in self.failed and not any((arm, k) in self.ended for k in range(self.job.samples)):
                self.job.emit("skipped", arm=arm)
        self.job.same_tokens = [
            {"arms": [a, b], "share": round(_agreement(self.tokens[a, 0], self.tokens[b, 0]), 4)}
            for a, b in combinations(sorted(arm for arm, k in self.tokens if k == 0), 2)
            if self.vocabularies.get(a) == self.vocabularies.get(b)
        ]


def _messages(prompt: str, turns: Turns) -> list[dict[str, str]]:
    spoken = [message for turn in turns for message in zip(("user", "assistant"), turn, strict=True)]
    return [{"role": role, "content": content} for role, content in [*spoken, ("user", prompt)]]


def _prompt(job: Job, spec: ArmSpec, policy: Policy) -> Prompt:
    """The job's prompt after as many of the arm's last turns as there is room for, and an answer of some length."""
    turns = spec.turns or job.turns
    for left_out in range(len(turns)):
        messages = _messages(job.prompt, turns[left_out:])
        with contextlib.suppress(PromptError):
            policy.encode_prompt(messages, reserve=min(job.sampling.max_new_tokens, _ANSWER))
            return messages
    return job.prompt


def _start_local(job: Job, arms: dict[int, Arm], teller: _Teller) -> _Source:
    for index, arm in arms.items():
        teller.reads(index, arm.policy)
        assert arm.encoded is not None
        seen = arm.policy.family.shown_prompt(arm.policy.tokenizer, arm.encoded)
        note = "Beam search shows its answer when it is complete" if job.sampling.beams > 1 else None
        teller.start(index, seen, len(arm.encoded), note)
    suit_threads(max((arm.policy for arm in arms.values()), key=lambda p: p.network.num_parameters()))
    return _local(job, arms), tuple(arms)


def _local(job: Job, arms: dict[int, Arm]) -> Iterator[Piece]:
    order = list(arms)
    pieces = answer(
        list(arms.values()), job.prompt, job.sampling, samples=job.samples, log_ratios=job.log_ratios,
        cancelled=job.cancelled.is_set,
    )  # fmt: skip
    for piece in pieces:
        yield Piece(piece.text, piece.tokens, piece.end, order[piece.arm], piece.sample, piece.log_ratio, piece.token)


_Source = tuple[Iterator[Piece], tuple[int, ...]]
"""Pieces, and the arms that write them."""


def _by_turns(sources: list[_Source], teller: _Teller) -> None:
    """A piece of each source in turn; an error fails the arms of its source, and the others go on."""
    while sources:
        for source in list(sources):
            pieces, arms = source
            if teller.failed.issuperset(arms):
                sources.remove(source)  # another sample of the same arm
                continue
            try:
                piece = next(pieces, None)
            except Exception as error:
                sources.remove(source)
                for arm in arms:
                    if arm not in teller.failed and not teller.complete(arm):
                        teller.fail(arm, error)
                continue
            if piece is None:
                sources.remove(source)
            else:
                teller.tell(piece)


def _start_remote(job: Job, index: int, spec: ArmSpec, teller: _Teller) -> threading.Thread:
    def run() -> None:
        try:
            text = plain_conversation(_messages(job.prompt, spec.turns or job.turns))
            for sample in range(job.samples):
                for piece in complete(spec.policy, text, job.sampling, job.cancelled.is_set, sample):
                    end: Any = piece.end
                    teller.tell(Piece(piece.text, piece.tokens, end, index, sample))
        except Exception as error:
            teller.fail(index, error)

    teller.start(index, job.prompt, None, spec.note)
    thread = threading.Thread(target=run, name=f"dpo-remote-{index}", daemon=True)
    thread.start()
    return thread


def _agreement(a: list[int], b: list[int]) -> float:
    """Share of positions with the same token, of the longer answer."""
    return sum(x == y for x, y in zip(a, b, strict=False)) / max(len(a), len(b), 1)
