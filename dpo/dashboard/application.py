"""The Dash application: pages, routes and callbacks put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dash import Dash

from dpo.dashboard import api, compare, data, shell, training
from dpo.dashboard.data.desk import Desk
from dpo.generation.engine import Engine

ASSETS = Path(__file__).resolve().parents[2] / "assets"


def create_app(
    runs: Sequence[Path | str], host: str = "127.0.0.1", port: int = 8050, data_directory: Path | str = "data"
) -> Dash:
    """The app, ready to serve; nothing heavy is imported here.

    Args:
        runs: directories in which runs are looked for.
        host, port: where it will be served, for the status bar and the check of host names.
        data_directory: files of preference pairs that the Data page offers.
    """
    roots = [Path(root) for root in runs]
    app = Dash(
        "dpo",
        title="DPO Workbench",
        update_title=None,
        assets_folder=str(ASSETS),
        serve_locally=True,
        suppress_callback_exceptions=False,
    )
    engine = Engine()
    desk = Desk(Path(data_directory))
    pages = [compare.page(roots), training.page(roots), data.page(desk)]
    app.layout = lambda: shell.layout([compare.page(roots), training.page(roots), data.page(desk)], f"{host}:{port}")
    shell.register(app, pages)
    compare.register(app, roots)
    training.register(app, roots)
    data.register(app, desk)
    api.register(app.server, engine, host)
    app.server.config["engine"] = engine
    return app
