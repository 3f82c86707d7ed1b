"""What stands between a request and the pages: headers, rights, reading, errors, streams.

`install` puts it on a server; every route and every callback then has its right in `rights`, reads its body by
`reading.body`, may raise a `DpoError`, and streams by `streams.Streams`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Flask

from dpo.dashboard.web import compression, errors, guard, headers, reading, sign_in
from dpo.dashboard.web.access import Access


def install(
    server: Flask,
    access: Access,
    callbacks: Mapping[str, Any] | None = None,
    inline: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Add the guard, the error handler, the headers and what makes answers small.

    Args:
        access: what was allowed at the start of the server.
        callbacks: Dash's `callback_map`, which may be filled later.
        inline: the hashes of the scripts within the document; no others run.
    """
    server.config["access"] = access
    reading.register(server)
    errors.register(server)
    sessions = sign_in.Sessions()
    guard.register(server, access, callbacks if callbacks is not None else {}, sessions)
    sign_in.register(server, access, sessions)
    headers.register(server, inline)
    compression.register(server)
