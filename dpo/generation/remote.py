"""A remote OpenAI-compatible server as a policy: vLLM, llama.cpp, another workbench (no torch here)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from dpo.errors import ConfigError, PolicyError
from dpo.generation.pieces import End, Piece
from dpo.generation.settings import Sampling

API_KEY = "DPO_REMOTE_API_KEY"
# What its protocol has words for, OpenAI's and those of vLLM and llama.cpp; `same_noise` is ours, and lost on it.
_KNOWN = frozenset(
    {"temperature", "top_p", "top_k", "max_new_tokens", "seed", "min_p", "repetition_penalty", "stop", "same_noise"}
)
# Not OpenAI's own words, but those of vLLM and llama.cpp, each with its value for "off", at which it is not sent.
_EXTRAS = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
_SECONDS = 60.0  # without a byte
_CONNECT_SECONDS = 10.0
_LOOK_SECONDS = 0.1  # between two looks whether the answer is still wanted
_ENDS: dict[str | None, End] = {"stop": "eos", "length": "length", None: "length"}


@dataclass(frozen=True)
class Remote:
    """A server that may be asked, as `--remote NAME=URL[,MODEL]` names it."""

    name: str
    url: str
    model: str = ""

    @property
    def policy(self) -> str:
        """The policy's name, as a spec takes it."""
        return f"{self.url}#{self.model}" if self.model else self.url

    @classmethod
    def of(cls, text: str) -> Self:
        """From what the flag was given; without a name the address is the name.

        Raises:
            ConfigError: no address of a server.
        """
        name, mark, rest = text.partition("=")
        if not mark or "/" in name:  # an equals sign within the address
            name, rest = "", text
        url, _, model = rest.strip().partition(",")
        url = url.strip().rstrip("/")
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            known = False
        if not known or parts.username or parts.query or parts.fragment:
            raise ConfigError(f"--remote {text}: give NAME=URL[,MODEL], such as big=http://gpu:8000/v1,my-7b")
        model = model.strip()
        return cls(name.strip() or parts.netloc + (f" {model}" if model else ""), url, model)


def complete(
    name: str, prompt: str, sampling: Sampling, cancelled: Callable[[], bool], sample: int = 0
) -> Iterator[Piece]:
    """Stream a completion from `http://host:port/v1#model`; `cancelled` is asked while the server is silent too.

    Where the server doesn't count tokens, its chunks are counted.

    Raises:
        PolicyError: the server can't be reached, refuses, or answers something else.
        ConfigError: settings that this protocol has no word for.
    """
    import httpx2 as httpx

    base, _, model = name.partition("#")
    if setting := sampling.beyond(_KNOWN):
        raise ConfigError(f"{base} has no word for {setting}: leave it out for a remote policy")
    tokens, counted = 0, None
    end: End = "length"
    try:
        for chunk in _until(cancelled, _chunks(base, _body(model, prompt, sampling, sample))):
            if chunk is None:
                end = "cancelled"
                break
            counted = (chunk.get("usage") or {}).get("completion_tokens", counted)
            for choice in chunk.get("choices") or []:
                text = choice.get("text") or ""
                if choice.get("finish_reason"):
                    end = _ENDS.get(choice["finish_reason"], "length")
                if text:
                    tokens += 1
                    yield Piece(text, tokens)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise PolicyError(
            f"{base} can't be asked ({reason}): is the server running, and is this its address?"
        ) from error
    yield Piece("", counted if isinstance(counted, int) and end != "cancelled" else tokens, end)


def _until(
    cancelled: Callable[[], bool], source: AsyncGenerator[dict[str, Any], None]
) -> Iterator[dict[str, Any] | None]:
    """What `source` gives, and None as the last once `cancelled()` holds; the connection is closed then."""
    reader = _Reader(source)
    reader.start()
    try:
        while not cancelled():
            try:
                chunk = reader.chunks.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if chunk is not None:
                yield chunk
                continue
            if reader.error is not None:
                raise reader.error
            return
        yield None
    finally:
        reader.stop()


class _Reader(threading.Thread):
    """Reads `source` in an event loop of its own: the caller may be in one already, as in a notebook.

    `chunks` has what was read, None last; `error` is what ended it early.
    """

    def __init__(self, source: AsyncGenerator[dict[str, Any], None]) -> None:
        super().__init__(daemon=True)
        self.source = source
        self.chunks: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.error: Exception | None = None
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Read to the end, or until `stop`."""
        with contextlib.suppress(asyncio.CancelledError):
            try:
                asyncio.run(self._read())
            except Exception as error:
                self.error = error
        self._begun.set()
        self.chunks.put(None)

    async def _read(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._begun.set()
        async with contextlib.aclosing(self.source) as source:
            async for chunk in source:
                self.chunks.put(chunk)

    def stop(self) -> None:
        """Close the connection, wherever reading is, and wait for that."""
        self._begun.wait()
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # over already: its loop is closed
                self._loop.call_soon_threadsafe(self._task.cancel)
        self.join()


def _body(model: str, prompt: str, sampling: Sampling, sample: int) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": prompt,
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed + sample,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if model:
        body["model"] = model
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    asked = {key: getattr(sampling, key) for key in _EXTRAS}
    return body | {key: value for key, value in asked.items() if value != _EXTRAS[key]}


async def _chunks(base: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    import httpx2 as httpx  # here: the dashboard names remote servers long before it asks one

    headers = {"Accept": "text/event-stream", **_authorization()}
    async with (
        httpx.AsyncClient(timeout=httpx.Timeout(_SECONDS, connect=_CONNECT_SECONDS)) as client,
        client.stream("POST", base.rstrip("/") + "/completions", json=body, headers=headers) as response,
    ):
        if response.status_code >= 300:
            reason = _reason(await response.aread())
            raise PolicyError(f"{base} refused ({response.status_code}): {reason}{_unknown(body, reason)}")
        if "event-stream" not in response.headers.get("Content-Type", ""):
            raise PolicyError(
                f"{base} doesn't stream completions: is it the /v1 address of an OpenAI-compatible server?"
            )
        async for line in response.aiter_lines():
            if not line.startswith("data:"):
                continue
            content = line.removeprefix("data:").strip()
            if content == "[DONE]":
                return
            chunk = json.loads(content)
            if not isinstance(chunk, dict) or "error" in chunk:
                about = chunk.get("error") if isinstance(chunk, dict) else chunk
                raise PolicyError(f"{base} failed: {about.get('message', about) if isinstance(about, dict) else about}")
            yield chunk


def _unknown(body: dict[str, Any], reason: str) -> str:
    """What to do where the reason of a refusal names one of the fields that OpenAI's protocol has not.

    Asked again without it, the server would answer under other settings than the policies beside it.
    """
    named = [key for key in _EXTRAS if key in body and key in reason]
    off = " and ".join(f"{key.replace('_', ' ')} to {_EXTRAS[key]:g}" for key in named)
    return f"; this server may have no word for it: set {off}, its value for off" if off else ""


def _authorization() -> dict[str, str]:
    key = os.environ.get(API_KEY)
    return {"Authorization": f"Bearer {key}"} if key else {}


def _reason(body: bytes) -> str:
    """What the server says of a refusal: the message of its JSON, else its words."""
    text = body.decode("utf-8", "replace")
    try:
        content = json.loads(text)
    except ValueError:
        return text[:200]
    about = content.get("error", content) if isinstance(content, dict) else content
    return str(about.get("message", about) if isinstance(about, dict) else about)[:200]
