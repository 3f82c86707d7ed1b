"""The HTTP interface on a bare server, behind the same guard as the dashboard's, and the whole dashboard."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from flask import Flask
from waitress.server import create_server

from dpo.dashboard import api, web
from dpo.dashboard.application import create_app
from dpo.dashboard.web.access import LOCAL, Access
from dpo.dashboard.web.names import Allowed
from dpo.dashboard.web.streams import MOST_STREAMS, Streams
from dpo.generation.engine import Engine


def api_server(engine: Engine, *roots: Path, access: Access = LOCAL, most: int = MOST_STREAMS) -> Flask:
    """`/api/generate`, `/api/cancel` and `/v1` over the runs in `roots`, of which `most` are followed at a time."""
    server = Flask("test")
    web.install(server, access)
    api.register(server, engine, Allowed(access, tuple(roots)), Streams(most))
    return server


@contextlib.contextmanager
def listening(server: Flask) -> Iterator[str]:
    """The address under which the server answers within the block."""
    made = create_server(server, host="127.0.0.1", port=0, threads=8, send_bytes=1)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.effective_port}"
    finally:
        made.close()


@contextlib.contextmanager
def dashboard(*roots: Path, votes: Path) -> Iterator[str]:
    """The address of the whole dashboard, with all its routes and its guard, over the runs in `roots`."""
    app = create_app(list(roots), votes=votes, data_directory=votes.parent)
    try:
        with listening(app.server) as address:
            yield address
    finally:
        for service in app.server.config["services"]:
            service.close()
