"""Answers that are sent small, and files that a browser may remember: a network is slower than the machine.

Flask-Compress would compress files anew for every viewer, half a second of a core for a first visit; here each is
compressed once, by gzip, since over plain HTTP browsers ask for nothing better.  Server-sent events are left alone,
and so is the document: compressed together with what a stranger can make it say, a secret in it could be guessed by
its length (BREACH).
"""

from __future__ import annotations

import gzip
from collections import OrderedDict
from threading import Lock

from flask import Flask, Response, request

_KINDS = {"text/css", "text/javascript", "application/javascript", "application/json", "image/svg+xml"}
_LEAST = 1024  # bytes; less fits into one packet either way
_REMEMBERED = 256  # files; a first visit of every page asks for some 130
_ANSWERS = 32  # that several viewers get alike: what made them says so by an ETag
# Files whose address changes with what they hold: by a fingerprint (Dash), a version, or the time of their change.
_FOREVER = "public, max-age=31536000, immutable"
_A_WEEK = "public, max-age=604800"


class _Compressed:
    """What was compressed lately, by address and ETag."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[str, str]) -> bytes | None:
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
            return self._made.get(key)

    def put(self, key: tuple[str, str], data: bytes) -> None:
        with self._lock:
            self._made[key] = data
            if len(self._made) > self._most:
                self._made.popitem(last=False)


def register(server: Flask) -> None:
    """Compress what the browser can read compressed, and say for how long files hold."""
    files, answers = _Compressed(_REMEMBERED), _Compressed(_ANSWERS)

    @server.after_request
    def small(response: Response) -> Response:
        file = _lasting(response)
        if response.status_code != 200 or request.method == "HEAD" or response.mimetype not in _KINDS:
            return response
        response.headers.add("Vary", "Accept-Encoding")
        streams = response.is_streamed and not response.direct_passthrough  # a file is no stream
        if streams or not request.accept_encodings["gzip"]:
            return response
        response.direct_passthrough = False
        data = response.get_data()
        if len(data) < _LEAST:
            return response
        etag, _ = response.get_etag()
        key = (request.path, etag or "")
        known = files if file else answers
        made = known.get(key) if etag else None
        if made is None:
            made = gzip.compress(data, 9 if file else 4, mtime=0)
            if etag:
                known.put(key, made)
        response.set_data(made)
        response.headers["Content-Encoding"] = "gzip"
        if etag:
            response.set_etag(etag, weak=True)  # another encoding of the same
        return response


def _lasting(response: Response) -> bool:
    """Whether the answer is a file that stays as it is under its address; tells the browser so."""
    path = request.path
    if path.startswith("/assets/") and response.status_code == 200:
        versioned = "m" in request.args or path.startswith("/assets/vendor/")
        if versioned or path.startswith("/assets/fonts/"):
            response.headers["Cache-Control"] = _FOREVER if versioned else _A_WEEK
        return True
    return path.startswith(("/_dash-component-suites/", "/modules/"))
