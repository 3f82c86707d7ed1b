"""OpenAI's protocol over the same engine, so that other programs can talk to a run.

    curl http://127.0.0.1:8050/v1/chat/completions -H 'Content-Type: application/json' \\
         -d '{"model": "demo/gpt2-dpo", "messages": [{"role": "user", "content": "Do you like tea?"}]}'

`/v1/completions` answers a prompt as if it were the only message; with `echo` and `logprobs` it scores a text
(`dpo.generation.echo`).  Beyond OpenAI's fields both take `top_k`, `min_p`, `repetition_penalty`,
`no_repeat_ngram_size` and `lambda` (the alignment strength).  What is not offered is refused instead of ignored
(`dpo.dashboard.completion_requests`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import NotFound

from dpo.dashboard.completion_requests import AnswerRequest, ScoreRequest, read_chat, read_completions, wants_stream
from dpo.dashboard.web import reading
from dpo.dashboard.web.errors import openai_error
from dpo.dashboard.web.names import Allowed
from dpo.dashboard.web.streams import SIGN_OF_LIFE, Streams, viewer, written
from dpo.errors import ConfigError
from dpo.generation.engine import Engine
from dpo.generation.jobs import Job
from dpo.policies.names import BUNDLED
from dpo.runs import find_runs

_FINISH = {"eos": "stop", "stop": "stop", "length": "length", "cancelled": "stop"}


def register(server: Flask, engine: Engine, allowed: Allowed, streams: Streams) -> None:
    """Add `/v1/completions`, `/v1/chat/completions` and `/v1/models`."""
    _register_models(server, allowed)

    @server.post("/v1/completions")
    def completions() -> Response:
        body = reading.body()
        stream, usage = wants_stream(body)
        asked = read_completions(body, allowed)
        if isinstance(asked, ScoreRequest):
            with streams.place():
                return _scores(engine, asked)
        return answer(asked, _Answer, stream, usage)

    @server.post("/v1/chat/completions")
    def chat() -> Response:
        body = reading.body()
        stream, usage = wants_stream(body)
        return answer(read_chat(body, allowed), _ChatAnswer, stream, usage)

    def answer(asked: AnswerRequest, kind: type[_Answer], stream: bool, usage: bool) -> Response:
        def submit() -> _Answer:
            return _submitted(engine, asked, kind)

        if stream:
            return streams.answer(submit, lambda answer: answer.stream(usage), lambda answer: answer.cancel())
        with streams.place():
            return submit().whole()


def _register_models(server: Flask, allowed: Allowed) -> None:
    @server.get("/v1/models")
    def models() -> Response:
        return jsonify({"object": "list", "data": list(_models(allowed).values())})

    # Elsewhere an unknown address is a page; a program that looks for what others offer must not take that for it.
    @server.get("/v1/<path:other>")
    @server.post("/v1/<path:other>")
    def elsewhere(other: str) -> Response:
        kind, _, name = other.partition("/")
        if kind == "models" and request.method == "GET":
            if name not in (found := _models(allowed)):
                raise NotFound(f"There is no model {name[:200]}: /v1/models lists the names")
            return jsonify(found[name])
        raise NotFound(f"/v1/{other[:200]} is not offered: use completions, chat/completions or models")

    @server.get("/tokenizer_info")
    def tokenizer() -> Response:
        raise NotFound("Each model has a tokenizer of its own, in the directory of its policy")


def _models(allowed: Allowed) -> dict[str, dict[str, Any]]:
    """What `/v1/models` says of each policy that can be asked, by its name."""
    runs = [run for run in find_runs(list(allowed.roots)) if run.policy_path and run.path.name not in BUNDLED.values()]
    names = [*BUNDLED, *(str(run.path) for run in runs)]
    return {name: {"id": name, "object": "model", "created": 0, "owned_by": "dpo"} for name in names}


def _facts(kind: str, model: str) -> dict[str, Any]:
    prefix = "chatcmpl" if kind.startswith("chat") else "cmpl"
    return {"id": f"{prefix}-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _scores(engine: Engine, asked: ScoreRequest) -> Response:
    job = engine.score(
        asked.texts, asked.spec, likeliest=asked.likeliest, following=asked.following, viewer=viewer()
    )  # fmt: skip
    scores: Sequence[Any] = ()
    for event in engine.follow(job):
        if event["event"] == "failed":
            raise ConfigError(event["message"])
        if event["event"] == "scored":
            scores = event["scores"]
    written_too = len(scores) * asked.following
    usage = _usage(sum(len(score.tokens) for score in scores) - written_too, written_too)
    choices = [{"index": index} | score.choice() for index, score in enumerate(scores)]
    return jsonify({**_facts("text_completion", asked.spec.policy), "choices": choices, "usage": usage})


def _submitted(engine: Engine, asked: AnswerRequest, kind: type[_Answer]) -> _Answer:
    answer = kind(engine, [], asked.samples, asked.spec.policy)
    try:
        for prompt in asked.prompts:
            answer.jobs.append(
                engine.submit(prompt, [asked.spec], asked.sampling, viewer=viewer(), samples=asked.samples)
            )
    except BaseException:
        answer.cancel()
        raise
    return answer


class _Answer:
    """The choices of one request, as they come or at once."""

    whole_kind = chunk_kind = "text_completion"

    def __init__(self, engine: Engine, jobs: list[Job], samples: int, model: str) -> None:
        self.engine, self.jobs, self.samples = engine, jobs, samples
        self.facts = _facts(self.whole_kind, model)
        self.prompt_tokens = self.completion_tokens = 0

    def choice(self, text: str) -> dict[str, Any]:
        """What a choice of a whole answer holds."""
        return {"text": text}

    def part(self, index: int, text: str) -> dict[str, Any]:
        """What a choice of a chunk holds."""
        return {"text": text}

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
            counts = _usage(self.prompt_tokens, self.completion_tokens)
            yield written(None, {**self.facts, "object": self.chunk_kind, "choices": [], "usage": counts})
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
            {"index": index, **self.choice(text), "logprobs": None, "finish_reason": end}
            for index, (text, end) in enumerate(zip(texts, ends, strict=True))
        ]
        usage = _usage(self.prompt_tokens, self.completion_tokens)
        return jsonify({**self.facts, "choices": choices, "usage": usage})

    def _events(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for place, job in enumerate(self.jobs):
            for event in self.engine.follow(job):
                if event["event"] == "start":
                    self.prompt_tokens += event["prompt_tokens"] or 0
                elif event["event"] == "done":
                    self.completion_tokens += event["tokens"]
                yield place * self.samples + event.get("sample", 0), event

    def _chunk(self, index: int, text: str, end: str | None) -> str:
        choice = {"index": index, **self.part(index, text), "logprobs": None, "finish_reason": end}
        return written(None, {**self.facts, "object": self.chunk_kind, "choices": [choice]})


class _ChatAnswer(_Answer):
    """The same as messages of the assistant."""

    whole_kind, chunk_kind = "chat.completion", "chat.completion.chunk"

    def __init__(self, engine: Engine, jobs: list[Job], samples: int, model: str) -> None:
        super().__init__(engine, jobs, samples, model)
        self._begun: set[int] = set()

    def choice(self, text: str) -> dict[str, Any]:
        """The message."""
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def part(self, index: int, text: str) -> dict[str, Any]:
        """What is new of a message; its first part says who speaks."""
        first = {} if index in self._begun else {"role": "assistant"}
        self._begun.add(index)
        return {"delta": first | {"content": text}}
