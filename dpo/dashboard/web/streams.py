"""Server-sent events, written in one place, and no more of them at a time than leave threads for everything else."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from flask import Response, request

from dpo.dashboard.web.access import signed_in
from dpo.errors import BusyError
from dpo.serving.service import Service, Work

THREADS = 96
"""Of the server: each stream holds one as long as somebody follows it."""
MOST_STREAMS = 64
"""At a time, so that pages and polls always find a thread."""
MOST_EACH = 12
"""Of these for one visitor of a network address, so that others find a place."""
_VIEWER = "dpo_viewer"  # the cookie
_VIEWER_SECONDS = 365 * 24 * 3600
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Kind = TypeVar("Kind", bound=Work)


class Streams:
    """Counts the requests that hold a thread while they wait for a worker.

    Args:
        most: of them at a time.
        each: of one visitor, by name where there are accounts, else by address; None is no limit of its own.
    """

    def __init__(self, most: int = MOST_STREAMS, each: int | None = None) -> None:
        self._most, self._each = most, each
        self._places = threading.BoundedSemaphore(most)
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a thread within the block.

        Raises:
            BusyError: too many are held.
        """
        leave = self.enter()
        try:
            yield
        finally:
            leave()

    def enter(self) -> Callable[[], None]:
        """Hold a thread until the function that is returned is called (once or more often).

        Raises:
            BusyError: too many are held, by all or by this visitor.
        """
        user = signed_in()
        who = f"user {user.name}" if user else request.remote_addr or ""
        with self._lock:
            if self._each is not None and self._held[who] >= self._each:
                raise BusyError(f"You follow {self._each} answers already: wait for one of them to end")
            if not self._places.acquire(blocking=False):
                raise BusyError(f"{self._most} answers are being followed already: try again in a moment")
            self._held[who] += 1
        held = threading.Lock()

        def leave() -> None:
            if held.acquire(blocking=False):
                with self._lock:
                    self._held[who] -= 1
                    self._held += Counter()  # forgets who holds none
                self._places.release()

        return leave

    def follow(self, service: Service[Kind], submit: Callable[[], Kind]) -> Response:
        """A job's events as they come; the first, `job`, holds the token that cancels it.

        Args:
            submit: queues the job.

        Raises:
            BusyError: too many are followed.
        """

        def events(job: Kind) -> Iterator[str]:
            yield written("job", {"job": job.token})
            for event in service.follow(job):
                data = {name: value for name, value in event.items() if name != "event"}
                yield SIGN_OF_LIFE if event["event"] == "waiting" else written(event["event"], data)

        return self.answer(submit, events, lambda job: service.cancel(job.number))

    def answer(
        self, submit: Callable[[], Any], write: Callable[[Any], Iterator[str]], gone: Callable[[Any], Any]
    ) -> Response:
        """A response that writes what `submit` began, and calls `gone` when its reader has left or has all.

        Raises:
            BusyError: too many are followed.
        """
        leave = self.enter()
        try:
            begun = submit()
        except BaseException:
            leave()
            raise

        def end() -> None:
            try:
                gone(begun)
            finally:
                leave()

        def lines() -> Iterator[str]:
            try:
                yield from write(begun)
            finally:
                end()

        response = Response(lines(), mimetype="text/event-stream", headers=_HEADERS)
        response.call_on_close(end)  # also where nothing was read of it
        if _VIEWER not in request.cookies:
            response.set_cookie(
                _VIEWER, secrets.token_hex(16), max_age=_VIEWER_SECONDS, httponly=True, samesite="Strict"
            )
        return response


SIGN_OF_LIFE = ": still here\n\n"


def written(kind: str | None, data: Any) -> str:
    """One event; without a kind it has its data alone, as OpenAI's protocol writes it."""
    return (f"event: {kind}\n" if kind else "") + f"data: {json.dumps(data)}\n\n"


def viewer() -> str:
    """Who asks, for taking turns: whoever has signed in, else a browser by its cookie, a program by its address."""
    user = signed_in()
    if user is not None:
        return f"user {user.name}"
    return request.cookies.get(_VIEWER, "")[:64] or request.remote_addr or ""


def owner() -> str | None:
    """Whose is what is kept for one person alone, as a hash: whoever has signed in, else a browser by its cookie.

    None for programs and for browsers without cookies: an address can be that of many.  A cookie that holds somebody's
    name is not that person, also where the accounts were switched off since.
    """
    user, cookie = signed_in(), request.cookies.get(_VIEWER)
    if user is None and not cookie:
        return None
    who = f"user {user.name}" if user is not None else f"browser {cookie}"
    return hashlib.sha256(who.encode(errors="replace")).hexdigest()
