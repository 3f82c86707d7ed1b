"""The headers that every answer carries."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable, Sequence

from flask import Flask, Response

# Scripts: our own files, and the inline ones of Dash's document by their hash; never a string made into code.
# Styles may be inline: Mantine, AG Grid and Plotly write style elements and attributes as they draw.
_POLICY = (
    "default-src 'self'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_ALWAYS = {
    # A foreign page must not show this one in a frame: clicks there would be ours.
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def register(server: Flask, inline: Callable[[], Sequence[str]] = tuple) -> None:
    """Add them to every answer, also where a request is refused.

    Args:
        inline: the hashes of the scripts within our document, asked for once, when the first answer is given.
    """

    @functools.cache
    def headers() -> dict[str, str]:
        return _ALWAYS | {"Content-Security-Policy": _POLICY.format(hashes="".join(f" {text}" for text in inline()))}

    @server.after_request
    def protect(response: Response) -> Response:
        response.headers.update(headers())
        return response


def hash_of(script: str) -> str:
    """An inline script's hash as a Content-Security-Policy names it.

    >>> hash_of("alert()")
    "'sha256-S8S/VNmXuUuoIR6OhqBqwIiIkuCxXq31hCCHAHnicV8='"
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
