"""The HTTP interface on a bare server, behind the same guard as the dashboard's."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from dpo.dashboard import api, web
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
