"""OpenAI's completions protocol over the same engine, so that other programs can talk to a run.

    curl http://127.0.0.1:8050/v1/completions -H 'Content-Type: application/json' \\
         -d '{"model": "demo/gpt2-dpo", "prompt": "Do you like tea?", "max_tokens": 40}'

Beyond OpenAI's fields it takes `top_k`, `min_p`, `repetition_penalty`, `no_repeat_ngram_size` and
`lambda` (the alignment strength).  Fields that would change the answer and are not known here are
refused instead of ignored.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, jsonify

from dpo.dashboard.web import reading
from dpo.dashboard.web.errors import openai_error
from dpo.dashboard.web.names import Allowed
from dpo.dashboard.web.streams import SIGN_OF_LIFE, Streams, viewer, written
from dpo.errors import ConfigError, PromptError, quoted
from dpo.generation.engine import Engine
from dpo.generation.jobs import Job
from dpo.generation.settings import MAX_SAMPLES, Sampling
from dpo.generation.spec import PolicySpec
from dpo.policies.names import BUNDLED
from dpo.runs import find_runs

# Their word -> ours, and their default where it is not ours.
_SETTINGS: dict[str, tuple[str, Any]] = {
    "temperature": ("temperature", 1.0),
    "top_p": ("top_p", 1.0),
    "max_tokens": ("max_new_tokens", 16),
    "seed": ("seed", None),
    "stop": ("stop", None),
    "top_k": ("top_k", None),
    "min_p": ("min_p", None),
    "repetition_penalty": ("repetition_penalty", None),
    "no_repeat_ngram_size": ("no_repeat_ngram", None),
}
_OWN = {"model", "prompt", "n", "stream", "stream_options", "lambda", "user", *_SETTINGS}
# Known, not offered: fine as long as they ask for nothing.
_OFF: dict[str, tuple[Any, ...]] = {
    "echo": (False, None),
    "logprobs": (None, 0, False),
    "best_of": (None, 1),
    "suffix": (None, ""),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
}
_FINISH = {"eos": "stop", "stop": "stop", "length": "length", "cancelled": "stop"}


def register(server: Flask, engine: Engine, allowed: Allowed, streams: Streams) -> None:
    """Add `/v1/completions` and `/v1/models`."""

    @server.get("/v1/models")
    def models() -> Response:
        runs = [
            run for run in find_runs(list(allowed.roots)) if run.policy_path and run.path.name not in BUNDLED.values()
        ]
        names = [*BUNDLED, *(str(run.path) for run in runs)]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "dpo"} for name in names]
        return jsonify({"object": "list", "data": data})

    @server.post("/v1/completions")
    def completions() -> Response:
        body = reading.body()

        def submit() -> _Answer:
            return _submitted(engine, allowed, body)

        if body.get("stream"):
            options = body.get("stream_options") or {}
            if not isinstance(options, dict):
                raise ConfigError(f"stream_options is {quoted(options)}: it must be an object")
            usage = bool(options.get("include_usage"))
            return streams.answer(submit, lambda answer: answer.stream(usage), lambda answer: answer.cancel())
        with streams.place():
            return submit().whole()


def _submitted(engine: Engine, allowed: Allowed, body: dict[str, Any]) -> _Answer:
    spec, prompts, sampling, samples = _read(body, allowed)
    answer = _Answer(engine, [], samples, spec.policy)
    try:
        for prompt in prompts:
            answer.jobs.append(engine.submit(prompt, [spec], sampling, viewer=viewer(), samples=samples))
    except BaseException:
        answer.cancel()
        raise
    return answer


class _Answer:
    """The choices of one request, as they come or at once."""

    def __init__(self, engine: Engine, jobs: list[Job], samples: int, model: str) -> None:
        self.engine, self.jobs, self.samples = engine, jobs, samples
        self.facts = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self.prompt_tokens = self.completion_tokens = 0

    def stream(self, usage: bool) -> Iterator[str]:
        """Server-sent events; a failure after the start is an `error` event."""
        for index, event in self._events():
            kind = event["event"]
            if kind == "waiting":
                yield SIGN_OF_LIFE
            elif kind == "failed":
                yield written(None, {"error": openai_error(event["message"], 400)})
                return
            elif kind == "token" and event["text"]:
                yield self._chunk(index, event["text"], None)
            elif kind == "done":
                yield self._chunk(index, event["text"], _FINISH[event["end"]])
        if usage:
            yield written(None, {**self.facts, "choices": [], "usage": self._usage()})
        yield "data: [DONE]\n\n"

    def cancel(self) -> None:
        """Stop what is not written yet."""
        for job in self.jobs:
            self.engine.cancel(job.number)

    def whole(self) -> Response:
        """All choices in one body."""
        texts = [""] * (len(self.jobs) * self.samples)
        ends: list[str | None] = [None] * len(texts)
        for index, event in self._events():
            if event["event"] == "failed":
                self.cancel()
                raise ConfigError(event["message"])
            if event["event"] in ("token", "done"):
                texts[index] += event["text"]
                ends[index] = _FINISH.get(event.get("end", ""))
        choices = [
            {"index": index, "text": text, "logprobs": None, "finish_reason": end}
            for index, (text, end) in enumerate(zip(texts, ends, strict=True))
        ]
        return jsonify({**self.facts, "choices": choices, "usage": self._usage()})

    def _events(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for place, job in enumerate(self.jobs):
            for event in self.engine.follow(job):
                if event["event"] == "start":
                    self.prompt_tokens += event["prompt_tokens"] or 0
                elif event["event"] == "done":
                    self.completion_tokens += event["tokens"]
                yield place * self.samples + event.get("sample", 0), event

    def _chunk(self, index: int, text: str, end: str | None) -> str:
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": end}
        return written(None, {**self.facts, "choices": [choice]})

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


def _read(body: dict[str, Any], allowed: Allowed) -> tuple[PolicySpec, list[str], Sampling, int]:
    for name in body:
        if name not in _OWN and not (name in _OFF and body[name] in _OFF[name]):
            raise ConfigError(f"{name[:80]} is not offered here: leave it out")
    if not isinstance(body.get("model"), str):
        raise ConfigError("model is missing: /v1/models lists the names")
    prompts = [body["prompt"]] if isinstance(body.get("prompt"), str) else body.get("prompt")
    if not isinstance(prompts, list) or not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise ConfigError("prompt must be a text or a list of texts")
    if not all(prompt.strip() for prompt in prompts):
        raise PromptError("The prompt is blank: write a question or a sentence")
    if len(prompts) > MAX_SAMPLES:
        raise ConfigError(f"{len(prompts)} prompts at once: send at most {MAX_SAMPLES}")
    values = {ours: body.get(theirs, default) for theirs, (ours, default) in _SETTINGS.items()}
    if values["seed"] is None:
        values["seed"] = secrets.randbelow(2**32)  # as with OpenAI: another answer each time unless asked otherwise
    spec = PolicySpec.of({"policy": body["model"], "lambda": body.get("lambda")})
    samples = 1 if body.get("n") is None else body["n"]
    return allowed.asked_for(spec), prompts, Sampling.from_values(values), samples
