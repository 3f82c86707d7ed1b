"""The HTTP interface beside the pages: streaming generation for the page and for programs.

    curl -N http://127.0.0.1:8050/api/generate -H 'Content-Type: application/json' \\
         -d '{"prompt": "Do you like tea?", "policies": ["demo/gpt2-dpo"]}'

Beside the prompt and the policies it takes every field of `Sampling`, `samples` and `log_ratios`; a
policy may be an object with `lambda`, `reference`, `engine` and `turns`.  `/v1/completions` and `/v1/models`
speak OpenAI's protocol (`dpo.dashboard.completions`).

A page on another site must not be able to drive this server: only JSON is taken (which a foreign
page cannot send without asking first), a foreign `Origin` is refused, and so is a host name that is
not this machine's (DNS rebinding).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, jsonify, request

from dpo.dashboard import completions
from dpo.dashboard.reach import VIEWER, Reach, viewer
from dpo.errors import BusyError, ConfigError, DpoError, PromptError
from dpo.generation.engine import Engine, Job
from dpo.generation.settings import Sampling
from dpo.generation.spec import ArmSpec

_MAX_BODY = 2 * 1024 * 1024  # 100,000 emoji, written as escapes, are 1.2 MB
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_SETTINGS = tuple(spec.name for spec in fields(Sampling))
_MODES = ("samples", "log_ratios")


def register(
    server: Flask, engine: Engine, host: str, roots: Sequence[Path | str] = (), remotes: Sequence[str] = ()
) -> None:
    """Add the routes.

    Args:
        host: the address the server is bound to.
        roots: directories of runs that requests may name.
        remotes: addresses of OpenAI-compatible servers that requests may name.
    """
    allowed = _LOOPBACK | {host}
    reach = Reach(tuple(map(Path, roots)), tuple(remotes))

    @server.before_request
    def refuse_strangers() -> Response | None:
        # Bound to every address, the server is meant to be reached under names it cannot know.
        if host not in ("0.0.0.0", "::") and _hostname(f"//{request.host}") not in allowed:
            return _error(f"{request.host} is not this server's name: use http://{host}", 403)
        if request.method == "POST":
            origin = request.headers.get("Origin")
            if origin and urlsplit(origin).netloc != request.host:
                return _error("requests from other sites are refused", 403)
            if request.path.startswith(("/api/", "/v1/")):
                if not request.is_json:
                    return _error("send JSON with Content-Type: application/json", 415)
                if (request.content_length or 0) > _MAX_BODY:
                    return _error(f"the request is over {_MAX_BODY // 1024} KiB: shorten the prompt", 413)
                request.max_content_length = _MAX_BODY  # also of a body that doesn't say its length
        return None

    @server.post("/api/generate")
    def generate() -> Response:
        try:
            job = _submit(engine, reach, request.get_json(silent=True))
        except BusyError as error:
            return _error(str(error), 429)
        except DpoError as error:
            return _error(str(error), 400)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = Response(_events(engine, job), mimetype="text/event-stream", headers=headers)
        if VIEWER not in request.cookies:
            response.set_cookie(VIEWER, secrets.token_hex(8), httponly=True, samesite="Strict")
        return response

    @server.post("/api/cancel")
    def cancel() -> Response:
        body = request.get_json(silent=True)
        number = body.get("job") if isinstance(body, dict) else None
        if not isinstance(number, int):
            return _error('give the job\'s number: {"job": 1}', 400)
        return jsonify({"cancelled": engine.cancel(number)})

    completions.register(server, engine, reach)


def _submit(engine: Engine, reach: Reach, body: Any) -> Job:
    if not isinstance(body, dict):
        raise ConfigError('the body must be a JSON object such as {"prompt": "...", "policies": ["demo/gpt2"]}')
    prompt, policies = body.get("prompt"), body.get("policies")
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError("The prompt is blank: write a question or a sentence")
    if not isinstance(policies, list) or not policies:
        raise ConfigError('policies must be a list of names, such as ["demo/t5", "demo/t5-dpo"]')
    unknown = set(body) - {"prompt", "policies", *_MODES, *_SETTINGS}
    if unknown:
        known = ", ".join(["prompt", "policies", *_MODES, *_SETTINGS])
        raise ConfigError(f"unknown field {sorted(unknown)[0]!r}: use {known}")
    sampling = Sampling.from_values({name: body[name] for name in _SETTINGS if name in body})
    if not isinstance(body.get("log_ratios", False), bool):
        raise ConfigError(f"log_ratios is {body['log_ratios']!r}: it must be true or false")
    arms = [reach.check(ArmSpec.of(policy)) for policy in policies]
    return engine.submit(
        prompt, arms, sampling, viewer=viewer(), samples=body.get("samples", 1),
        log_ratios=body.get("log_ratios", False),
    )  # fmt: skip


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
