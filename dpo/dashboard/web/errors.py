"""One answer to everything that goes wrong: JSON with one line, and the status that fits."""

from __future__ import annotations

import itertools
import logging
from typing import Any

from dash.exceptions import DependencyException, InvalidCallbackReturnValue
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from dpo.errors import AccessError, BusyError, DpoError, SignInError, StorageError, TooLargeError

logger = logging.getLogger(__name__)
_STATUS: tuple[tuple[type[DpoError], int], ...] = (
    (SignInError, 401), (AccessError, 403), (TooLargeError, 413), (BusyError, 429), (StorageError, 503),
)  # fmt: skip
# What a value of the wrong kind raises where it is first used.
_UNFIT = (
    ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError, InvalidCallbackReturnValue,
)  # fmt: skip
_MOST_LETTERS = 600


def register(server: Flask) -> None:
    """Answer every exception that a route lets through."""
    numbers = itertools.count(1)

    @server.errorhandler(DpoError)
    def tell(error: DpoError) -> Response:
        return refusal(str(error), status_of(error))

    @server.errorhandler(HTTPException)
    def pass_on(error: HTTPException) -> Response | HTTPException:
        if error.code is None or error.code < 400:
            return error  # a redirect
        return refusal(error.description or error.name, error.code)

    @server.errorhandler(DependencyException)
    def miss(_error: DependencyException) -> Response:
        return refusal("There is no such script", 404)

    @server.errorhandler(Exception)
    def fail(error: Exception) -> Response:
        number = next(numbers)
        logger.error("note %d: %s %s failed", number, request.method, request.path, exc_info=error)
        # Without a body or a query there was nothing that could be wrong with the request: the fault is ours.
        if isinstance(error, _UNFIT) and (request.content_length or request.query_string):
            return refusal(f"A value of this request does not fit (note {number} in the server's log)", 400)
        return refusal(f"This request failed (note {number} in the server's log says more)", 500)


def status_of(error: DpoError) -> int:
    """The HTTP status that says what kind of error it is; 400 for a request that cannot be met."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 400)


def refusal(message: str, status: int) -> Response:
    """`{"error": message}` in one line of bounded length; below `/v1` in OpenAI's form."""
    line = " ".join(message[: 4 * _MOST_LETTERS].split())
    line = line if len(line) <= _MOST_LETTERS else line[: _MOST_LETTERS - 1] + "…"
    response = jsonify({"error": openai_error(line, status) if request.path.startswith("/v1/") else line})
    response.status_code = status
    return response


def openai_error(message: str, status: int) -> dict[str, Any]:
    """An error as OpenAI's protocol writes it."""
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"message": message, "type": kind, "param": None, "code": None}
