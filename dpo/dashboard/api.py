"""The HTTP interface beside the pages: streaming generation for the page and for programs.

    curl -N http://127.0.0.1:8050/api/generate -H 'Content-Type: application/json' \\
         -d '{"prompt": "Do you like tea?", "policies": ["demo/gpt2-dpo"]}'

A page on another site must not be able to drive this server: only JSON is taken (which a foreign
page cannot send without asking first), a foreign `Origin` is refused, and so is a host name that is
not this machine's (DNS rebinding).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, jsonify, request

from dpo.errors import BusyError, ConfigError, DpoError, PromptError
from dpo.generation.engine import Engine, Job
from dpo.generation.settings import Sampling

_MAX_BODY = 256 * 1024
_MAX_POLICIES = 8
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_SETTINGS = ("temperature", "top_p", "top_k", "max_new_tokens", "seed")


def register(server: Flask, engine: Engine, host: str) -> None:
    """Add the routes; `host` is the address the server is bound to."""
    allowed = _LOOPBACK | {host}

    @server.before_request
    def refuse_strangers() -> Response | None:
        # Bound to every address, the server is meant to be reached under names it cannot know.
        if host not in ("0.0.0.0", "::") and _hostname(f"//{request.host}") not in allowed:
            return _error(f"{request.host} is not this server's name: use http://{host}", 403)
        if request.method == "POST":
            origin = request.headers.get("Origin")
            if origin and urlsplit(origin).netloc != request.host:
                return _error("requests from other sites are refused", 403)
            if request.path.startswith("/api/") and not request.is_json:
                return _error("send JSON with Content-Type: application/json", 415)
            if request.path.startswith("/api/") and (request.content_length or 0) > _MAX_BODY:
                return _error(f"the request is over {_MAX_BODY // 1024} KiB: shorten the prompt", 413)
        return None

    @server.post("/api/generate")
    def generate() -> Response:
        try:
            job = _submit(engine, request.get_json(silent=True))
        except BusyError as error:
            return _error(str(error), 429)
        except DpoError as error:
            return _error(str(error), 400)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Response(_events(engine, job), mimetype="text/event-stream", headers=headers)

    @server.post("/api/cancel")
    def cancel() -> Response:
        body = request.get_json(silent=True)
        number = body.get("job") if isinstance(body, dict) else None
        if not isinstance(number, int):
            return _error('give the job\'s number: {"job": 1}', 400)
        return jsonify({"cancelled": engine.cancel(number)})


def _submit(engine: Engine, body: Any) -> Job:
    if not isinstance(body, dict):
        raise ConfigError('the body must be a JSON object such as {"prompt": "...", "policies": ["demo/gpt2"]}')
    prompt, policies = body.get("prompt"), body.get("policies")
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError("The prompt is blank: write a question or a sentence")
    if not isinstance(policies, list) or not policies or not all(isinstance(name, str) for name in policies):
        raise ConfigError('policies must be a list of names, such as ["demo/t5", "demo/t5-dpo"]')
    if len(policies) > _MAX_POLICIES:
        raise ConfigError(f"{len(policies)} policies at once: ask for at most {_MAX_POLICIES}")
    unknown = set(body) - {"prompt", "policies", *_SETTINGS}
    if unknown:
        raise ConfigError(f"unknown field {sorted(unknown)[0]!r}: use prompt, policies, {', '.join(_SETTINGS)}")
    sampling = Sampling.from_values({name: body[name] for name in _SETTINGS if name in body})
    return engine.submit(prompt, policies, sampling)


def _events(engine: Engine, job: Job) -> Iterator[str]:
    yield f"event: job\ndata: {json.dumps({'job': job.number})}\n\n"
    for event in engine.follow(job):
        kind = event["event"]
        data = {name: value for name, value in event.items() if name != "event"}
        yield ": still here\n\n" if kind == "waiting" else f"event: {kind}\ndata: {json.dumps(data)}\n\n"


def _hostname(netloc: str) -> str | None:
    try:
        return urlsplit(netloc).hostname
    except ValueError:
        return None


def _error(message: str, status: int) -> Response:
    response = jsonify({"error": message})
    response.status_code = status
    return response
