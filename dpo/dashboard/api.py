"""The HTTP interface beside the pages: streaming generation for the page and for programs.

    curl -N http://127.0.0.1:8050/api/generate -H 'Content-Type: application/json' \\
         -d '{"prompt": "Do you like tea?", "policies": ["demo/gpt2-dpo"]}'

Beside the prompt and the policies it takes every field of `Sampling`, `samples` and `log_ratios`; a
policy may be an object with `lambda`, `reference`, `engine` and `turns`.  `/v1/chat/completions`, `/v1/completions` and
`/v1/models` speak OpenAI's protocol (`dpo.dashboard.completions`).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from flask import Flask, Response, jsonify

from dpo.dashboard import completions
from dpo.dashboard.web import reading
from dpo.dashboard.web.names import Allowed
from dpo.dashboard.web.streams import Streams, viewer
from dpo.errors import ConfigError, PromptError, quoted
from dpo.generation.engine import Engine
from dpo.generation.jobs import MOST_POLICIES, Job
from dpo.generation.settings import Sampling
from dpo.generation.spec import PolicySpec

_SETTINGS = tuple(spec.name for spec in fields(Sampling))
_MODES = ("samples", "log_ratios")


def register(server: Flask, engine: Engine, allowed: Allowed, streams: Streams) -> None:
    """Add the routes."""

    @server.post("/api/generate")
    def generate() -> Response:
        return streams.follow(engine, lambda: _submit(engine, allowed, reading.body()))

    @server.post("/api/cancel")
    def cancel() -> Response:
        """Stop a job by the token that its stream began with."""
        return jsonify({"cancelled": engine.withdraw(reading.text(reading.body(), "job"))})

    completions.register(server, engine, allowed, streams)


def _submit(engine: Engine, allowed: Allowed, body: dict[str, Any]) -> Job:
    prompt, policies = body.get("prompt"), body.get("policies")
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError("The prompt is blank: write a question or a sentence")
    if not isinstance(policies, list) or not policies:
        raise ConfigError('policies must be a list of names, such as ["demo/t5", "demo/t5-dpo"]')
    unknown = set(body) - {"prompt", "policies", *_MODES, *_SETTINGS}
    if unknown:
        known = ", ".join(["prompt", "policies", *_MODES, *_SETTINGS])
        raise ConfigError(f"unknown field {quoted(sorted(unknown)[0])}: use {known}")
    sampling = Sampling.from_values({name: body[name] for name in _SETTINGS if name in body})
    if not isinstance(body.get("log_ratios", False), bool):
        raise ConfigError(f"log_ratios is {quoted(body['log_ratios'])}: it must be true or false")
    log_ratios = bool(body.get("log_ratios", False))
    specs = [allowed.asked_for(PolicySpec.of(policy), log_ratios) for policy in policies[: MOST_POLICIES + 1]]
    return engine.submit(
        prompt, specs, sampling, viewer=viewer(), samples=body.get("samples", 1), log_ratios=log_ratios
    )  # fmt: skip
