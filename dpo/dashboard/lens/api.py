"""Scoring over HTTP, as server-sent events: `queued`, `loading`, `progress`, `result`, `failed`, `finished`.

Only policies that the dashboard lists can be named, and only a run's own pairs or the sample: a
request cannot make the server read any other file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask, Response

from dpo.dashboard.choices import Choice, references, tuned
from dpo.dashboard.web import reading
from dpo.dashboard.web.names import Allowed
from dpo.dashboard.web.streams import viewer
from dpo.dashboard.workbench import Workbench
from dpo.errors import ConfigError, PolicyError, PromptError, quoted
from dpo.evaluation.prompts import given_prompt
from dpo.evaluation.worker import LensWorker, Task

_MOST_PAIRS = 2000
_MOST_TEXT = 50_000  # characters; tokens are counted by the lens
SOURCES = ("run", "sample")


def register(server: Flask, workbench: Workbench) -> None:
    """Add `/api/lens/look` and `/api/lens/pairs`."""
    worker, allowed, streams = workbench.lens, workbench.allowed, workbench.streams

    def answer(prepare: Callable[[Any], Callable[[LensWorker, Task], None]]) -> Response:
        return streams.follow(worker, lambda: worker.submit(prepare(reading.body()), viewer=viewer()))

    @server.post("/api/lens/look")
    def look() -> Response:
        """One result for each policy: the tokens of one or two texts."""
        return answer(lambda body: _look(body, allowed))

    @server.post("/api/lens/pairs")
    def pairs() -> Response:
        """The rewards of held-out pairs."""
        return answer(lambda body: _pairs(body, allowed))


def _look(body: dict[str, Any], allowed: Allowed) -> Callable[[LensWorker, Task], None]:
    names = body.get("policies")
    if not isinstance(names, list) or not 1 <= len(names) <= 6:
        raise ConfigError("policies must be a list of one to six names")
    chosen = [_known(name, tuned(allowed.roots)) for name in names]
    reference = body.get("reference") or None
    if reference is not None:
        reference = _known(reference, references(allowed.roots)).value
    for place, choice in enumerate(chosen):
        allowed.tuned(choice.value, reference if place == 0 else None)
    prompt, texts = given_prompt(body.get("prompt"), body.get("messages")), body.get("texts")
    if not isinstance(texts, list) or not 1 <= len(texts) <= 2 or not all(isinstance(text, str) for text in texts):
        raise ConfigError("texts must be a list of one or two texts")
    if not all(text.strip() for text in texts):
        raise PromptError("A text is blank: give an answer to score")
    asked = [prompt] if isinstance(prompt, str) else [turn["content"] for turn in prompt]
    letters = sum(map(len, (*asked, *texts)))
    if letters > _MOST_TEXT:
        raise PromptError(f"The texts have {letters:,} characters: score at most {_MOST_TEXT:,} at once")

    def work(worker: LensWorker, task: Task) -> None:
        for place, choice in enumerate(chosen):
            if task.cancelled.is_set():
                return
            # A reference belongs to one vocabulary: the policies beside keep their own.
            other = reference if reference and place == 0 else None
            lens = worker.lens(task, choice.value, other)
            task.emit("progress", done=place, total=len(chosen))
            looks = [look.record() for look in lens.look(prompt, texts)]
            task.emit("result", place=place, texts=looks, **_about(choice, lens.tuning))

    return work


def _pairs(body: dict[str, Any], allowed: Allowed) -> Callable[[LensWorker, Task], None]:
    choice = _known(body.get("policy"), tuned(allowed.roots))
    source = body.get("source", "run")
    if source not in SOURCES:
        raise ConfigError(f"source is {quoted(source)}: it must be one of {', '.join(SOURCES)}")
    allowed.tuned(choice.value)
    if source == "run":
        allowed.pairs_of(choice.value)

    def work(worker: LensWorker, task: Task) -> None:
        lens = worker.lens(task, choice.value)
        task.emit("loading", message="Reading the pairs")
        from dpo.evaluation.pairs import run_pairs, sample_pairs, score_pairs, summary

        pairs, message = run_pairs(choice.value) if source == "run" else sample_pairs()
        scores, left_out = score_pairs(
            lens,
            pairs[:_MOST_PAIRS],
            longest=lens.tuning.drop_over if source == "run" else None,
            progress=lambda done, total: task.emit("progress", done=done, total=total),
            cancelled=task.cancelled.is_set,
        )
        rows = [score.record() for score in scores]
        task.emit(
            "result", pairs=rows, summary=summary(scores), left_out=left_out, available=len(pairs), message=message,
            **_about(choice, lens.tuning),
        )  # fmt: skip

    return work


def _about(choice: Choice, tuning: Any) -> dict[str, Any]:
    return {
        "policy": choice.value,
        "label": choice.label,
        "family": choice.family,
        "model": choice.model,
        "reference": tuning.reference or "adapter off",
        "beta": tuning.beta,
    }


def _known(name: Any, choices: Sequence[Choice]) -> Choice:
    for choice in choices:
        if choice.value == name:
            return choice
    raise PolicyError(
        f"{quoted(name, 200)} is not among the policies that this dashboard lists: choose one of its runs"
    )
