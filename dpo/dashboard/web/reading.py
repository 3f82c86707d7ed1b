"""Reading what a request sends, strictly: what no page of ours would send is refused before anything looks at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Flask, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from dpo.errors import ConfigError, TooLargeError

MOST_BODY = 2 * 1024 * 1024
"""Bytes of a body: 100,000 emoji, written as escapes, are 1.2 MB."""
MOST_CALLBACK = 16 * 1024 * 1024
"""Bytes that a page sends with its state: the rows of thousands of runs."""
MOST_UPLOAD_BODY = 68 * 1024 * 1024
"""Bytes of an upload in a callback: 50 MB as base64."""
MOST_WHOLE = 10**300
"""Of either sign; what is larger is no float, and later code stumbles over it."""
_MOST_DEPTH = 64
_UNREADABLE = (
    f"the body is no JSON that is read here: send UTF-8 of at most {_MOST_DEPTH} levels, without NUL, half characters "
    "or whole numbers beyond 1e300"
)


class StrictJSON(DefaultJSONProvider):
    """JSON as the standard has it, without what later code would stumble over."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """The value of a text.

        Raises:
            ValueError: not JSON, deeper than 64 levels, a text with NUL or half a character.
        """
        try:
            value = json.loads(s, **kwargs)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        check(value)
        return value


def check(value: Any) -> None:
    """Nothing, for a JSON value that is plain enough (`StrictJSON.loads` says how).

    Raises:
        ValueError: it is not.
    """
    level = [value]
    for _ in range(_MOST_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                for name in item:
                    _check_text(name)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str):
                _check_text(item)
            elif isinstance(item, int) and not -MOST_WHOLE <= item <= MOST_WHOLE:
                raise ValueError("a number that no float holds")  # inf is refused by its field, in its words
        if not below:
            return
        level = below
    raise ValueError("nested too deeply")


def register(server: Flask) -> None:
    """Let the server read JSON strictly."""
    server.json = StrictJSON(server)


def limit(most: int) -> None:
    """Take no body of more than `most` bytes, also where it does not say its length.

    Raises:
        TooLargeError: it says that it is longer.
    """
    if (request.content_length or 0) > most:
        raise TooLargeError(f"the request is over {most // 1024} KiB: shorten what it sends")
    request.max_content_length = most


def value() -> Any:
    """The JSON value that was sent.

    Raises:
        ConfigError: it cannot be read.
        TooLargeError: it is longer than `limit` allows.
    """
    try:
        return request.get_json()
    except RequestEntityTooLarge as error:
        raise TooLargeError("the request is too long: shorten what it sends") from error
    except BadRequest as error:
        raise ConfigError(_UNREADABLE) from error


def body() -> dict[str, Any]:
    """The JSON object that was sent.

    Raises:
        ConfigError: it cannot be read, or is something else.
    """
    sent = value()
    if not isinstance(sent, dict):
        raise ConfigError("the body must be a JSON object")
    return sent


def text(sent: Mapping[str, Any], name: str) -> str:
    """A field that must be a text.

    Raises:
        ConfigError: it is missing, empty or something else.
    """
    found = sent.get(name)
    if not isinstance(found, str) or not found:
        raise ConfigError(f'{name} is missing: give it as text, {{"{name}": "..."}}')
    return found


def check_address() -> None:
    """Nothing, for a path and a query that are whole text.

    Raises:
        ConfigError: there is a NUL or half a character in them.
    """
    try:
        for part in (request.path, *request.args.keys(), *request.args.values()):
            _check_text(part)
    except ValueError as error:
        raise ConfigError("the address holds a NUL or half a character: write it anew") from error


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("a NUL in a text")
    if not text.isascii():
        text.encode()  # half a character (a lone surrogate) is a UnicodeEncodeError, which is a ValueError
