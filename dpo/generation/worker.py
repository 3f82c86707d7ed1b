"""What the engine's worker does with a job: load its policies, let them write by turns."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from dpo.errors import DpoError, PromptError
from dpo.generation.echo import check_tokens, score_texts
from dpo.generation.events import EventEmitter
from dpo.generation.jobs import Conversation, Job, ScoreJob
from dpo.generation.pieces import Piece
from dpo.generation.remote import complete
from dpo.generation.sampler import answer, suit_threads
from dpo.generation.spec import PolicySpec, Turns, reference_of
from dpo.generation.store import PolicyStore
from dpo.generation.tracks import AskedPolicy
from dpo.policies.families import Prompt, plain_conversation, prompt_of
from dpo.policies.loading import Policy

_ANSWER = 64  # tokens that older turns make room for


class Worker:
    """Runs jobs on one device; used by one thread."""

    def __init__(self, device: str, memory: int, dtype: str = "fp32") -> None:
        self.store = PolicyStore(device, memory, dtype)

    def run(self, job: Job) -> Callable[[], None] | None:
        """Answer a job; every policy ends with `done`, `failed` or `skipped`.

        Returns what waits for answers that other servers still write: nobody else has to.
        """
        asked: dict[int, AskedPolicy] = {}
        sources: list[_Source] = []
        emitter = EventEmitter(job)
        others: list[threading.Thread] = []
        used: set[str] = set()
        for place, spec in enumerate(job.policies):
            if job.cancelled.is_set():
                break
            try:
                if spec.remote:
                    others.append(_start_remote(job, place, spec, emitter))
                elif spec.engine == "torch":
                    asked[place] = self._asked(job, place, spec, used)
                else:
                    sources += self._converted(job, place, spec, emitter, used)
            except Exception as error:
                emitter.fail(place, error)
        if asked:
            sources.insert(0, _start_local(job, asked, emitter))
        _by_turns(sources, emitter)
        if not others:
            emitter.finish()
            return None

        def rest() -> None:
            for thread in others:
                thread.join()
            emitter.finish()

        return rest

    def score(self, job: ScoreJob) -> None:
        """Score the job's texts: `scored` with all of them, or `failed`."""
        if job.cancelled.is_set():
            return
        try:
            policy = self._policy(job, 0, job.policies[0].policy, set())
            scores = score_texts(policy, job.texts, job.likeliest, job.following)
        except DpoError as error:
            job.emit("failed", arm=0, message=" ".join(str(error).split()))
        else:
            job.emit("scored", scores=scores)

    def _asked(self, job: Job, place: int, spec: PolicySpec, used: set[str]) -> AskedPolicy:
        policy = self._policy(job, place, spec.policy, used)
        prompt = _prompt(job, spec, policy)
        encoded = policy.encode_prompt(prompt, reserve=1)  # too long a prompt fails before anything is written
        reference = None
        wants = job.log_ratios or spec.strength != 1.0
        name = spec.reference or (reference_of(spec.policy) if wants else None)
        if wants and name is not None:
            reference = self._policy(job, place, name, used)
        if job.log_ratios and spec.strength == 1.0 and reference is None:
            # A base has nothing to be measured from but itself.
            reference = None if hasattr(policy.model, "disable_adapter") else policy
        asked = AskedPolicy(policy, spec.strength, reference, prompt, encoded)
        asked.members(job.log_ratios)
        return asked

    def _converted(
        self, job: Job, place: int, spec: PolicySpec, emitter: EventEmitter, used: set[str]
    ) -> list[_Source]:
        from dpo.generation.ctranslate import converted

        policy = self._policy(job, place, spec.policy, used)
        prompt = _prompt(job, spec, policy)
        prompt_ids = policy.encode_prompt(prompt, reserve=1)
        job.emit("loading", arm=place, policy=spec.policy, message=f"Converting {spec.policy}", share=None, bytes=None)
        engine = converted(policy, "int8" if spec.engine.endswith("int8") else "float32")
        difference = engine.difference(policy, prompt, prompt_ids) if engine.compute == "int8" else None
        seen = policy.family.shown_prompt(policy.tokenizer, prompt_ids)
        emitter.set_vocabulary(place, policy)
        emitter.start(place, seen, len(prompt_ids), ". ".join(filter(None, (spec.note, difference))))
        pieces = [
            engine.stream(policy, prompt_ids, job.sampling, job.cancelled.is_set, place, sample)
            for sample in range(job.samples)
        ]
        return [(stream, (place,)) for stream in pieces]

    def _policy(self, job: Job | ScoreJob, place: int, name: str, used: set[str]) -> Policy:
        def progress(policy: str, share: float, size: int) -> None:
            shown = f" ({size / 1e6:.0f} MB)" if size else ""
            message = f"Reading {policy}{shown}"
            job.emit("loading", arm=place, policy=policy, message=message, share=round(share, 3), bytes=size or None)

        policy = self.store.get(name, progress, frozenset(used))
        used.add(name)
        return policy


def _messages(prompt: str, turns: Turns) -> list[dict[str, str]]:
    spoken = [message for turn in turns for message in zip(("user", "assistant"), turn, strict=True)]
    return [{"role": role, "content": content} for role, content in [*spoken, ("user", prompt)]]


def _prompt(job: Job, spec: PolicySpec, policy: Policy) -> Prompt:
    """The job's prompt after as many of the policy's last turns as there is room for, and an answer of some length."""
    if isinstance(job.prompt, Conversation):
        return prompt_of(policy.tokenizer, {"prompt": job.prompt.text, "messages": job.prompt.messages})
    if isinstance(job.prompt, tuple):
        check_tokens(policy, job.prompt)
    text = job.prompt if isinstance(job.prompt, str) else policy.decode(list(job.prompt))
    turns = spec.turns or job.turns
    for left_out in range(len(turns)):
        messages = _messages(text, turns[left_out:])
        with contextlib.suppress(PromptError):
            policy.encode_prompt(messages, reserve=min(job.sampling.max_new_tokens, _ANSWER))
            return messages
    return text


def _start_local(job: Job, asked: dict[int, AskedPolicy], emitter: EventEmitter) -> _Source:
    for place, one in asked.items():
        emitter.set_vocabulary(place, one.policy)
        assert one.encoded is not None
        seen = one.policy.family.shown_prompt(one.policy.tokenizer, one.encoded)
        note = "Beam search shows its answer when it is complete" if job.sampling.beams > 1 else None
        emitter.start(place, seen, len(one.encoded), note)
    suit_threads(max((one.policy for one in asked.values()), key=lambda p: p.network.num_parameters()))
    return _local(job, asked), tuple(asked)


def _local(job: Job, asked: dict[int, AskedPolicy]) -> Iterator[Piece]:
    order = list(asked)
    pieces = answer(
        list(asked.values()), job.text, job.sampling, samples=job.samples, log_ratios=job.log_ratios,
        cancelled=job.cancelled.is_set,
    )  # fmt: skip
    for piece in pieces:
        yield replace(piece, place=order[piece.place])


_Source = tuple[Iterator[Piece], tuple[int, ...]]
"""Pieces, and the places of the policies that write them."""


def _by_turns(sources: list[_Source], emitter: EventEmitter) -> None:
    """A piece of each source in turn; an error fails the policies of its source, and the others go on."""
    while sources:
        for source in list(sources):
            pieces, places = source
            if emitter.failed.issuperset(places):
                sources.remove(source)  # another sample of the same policy
                continue
            try:
                piece = next(pieces, None)
            except Exception as error:
                sources.remove(source)
                for place in places:
                    if place not in emitter.failed and not emitter.complete(place):
                        emitter.fail(place, error)
                continue
            if piece is None:
                sources.remove(source)
            else:
                emitter.emit(piece)


def _start_remote(job: Job, place: int, spec: PolicySpec, emitter: EventEmitter) -> threading.Thread:
    def run() -> None:
        try:
            text = plain_conversation(_messages(job.text, spec.turns or job.turns))
            for sample in range(job.samples):
                for piece in complete(spec.policy, text, job.sampling, job.cancelled.is_set, sample):
                    emitter.emit(replace(piece, place=place, sample=sample))
        except Exception as error:
            emitter.fail(place, error)

    emitter.start(place, job.text, None, spec.note)
    thread = threading.Thread(target=run, name=f"dpo-remote-{place}", daemon=True)
    thread.start()
    return thread
