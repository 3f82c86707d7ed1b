"""The Dash application: pages, routes and callbacks put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dash import Dash
from flask import has_request_context, request

from dpo.dashboard import api, compare, data, lens, runs_page, shell, training
from dpo.dashboard.compare import votes as voting
from dpo.dashboard.data.desk import Desk
from dpo.dashboard.training import launch, learn
from dpo.evaluation.votes import DEFAULT_VOTES, Votes
from dpo.evaluation.worker import LensWorker
from dpo.generation.engine import Engine
from dpo.generation.remote import Remote

# Lines, bars and nothing else: a quarter of the script that Dash brings, and run in a third of the time.
_PLOTLY = "vendor/plotly-basic-4.1.1.min.js"
ASSETS = Path(__file__).resolve().parents[2] / "assets"


class _Workbench(Dash):
    """Dash, drawing with the small build of Plotly's script.

    It is fetched with all others where a page has charts, else when nothing more is to do.
    """

    pages: Sequence[shell.Page] = ()

    def interpolate_index(self, **parts: Any) -> str:
        """The document that is sent for every address."""
        if self.pages:
            script = self.get_asset_url(_PLOTLY)
            when = "preload" if shell.asked(self.pages, request.path).charts else "prefetch"
            # Dash's renderer sets this address to that of the whole script; its graphs load what it says.
            ours = f"Object.defineProperty(window, '_dashPlotlyJSURL', {{ get: () => '{script}', set() {{}} }})"
            parts["metas"] = (
                parts.get("metas", "") + f'<link rel="{when}" as="script" href="{script}"><script>{ours}</script>'
            )
        return str(super().interpolate_index(**parts))


def create_app(
    runs: Sequence[Path | str],
    host: str = "127.0.0.1",
    port: int = 8050,
    remotes: Sequence[Remote] = (),
    votes: Path | str = DEFAULT_VOTES,
    data_directory: Path | str = "data",
    allow_training: bool = False,
    dtype: str = "fp32",
) -> Dash:
    """The app, ready to serve; nothing heavy is imported here.

    Args:
        runs: directories in which runs are looked for.
        host, port: where it will be served, for the status bar and the check of host names.
        remotes: OpenAI-compatible servers that may be asked for answers.
        votes: the file that votes are kept in.
        data_directory: files of preference pairs that the Data page offers.
        allow_training: let pages start trainings although `host` is not this machine alone.
        dtype: of the weights that answer, fp32 or bf16; Lens and training have fp32 in any case.
    """
    roots = [Path(root) for root in runs]
    app = _Workbench(
        "dpo",
        title="DPO Workbench",
        update_title=None,
        assets_folder=str(ASSETS),
        assets_ignore=r"plotly-basic.*",  # graphs fetch it when there are any
        serve_locally=True,
        # Pages come when they are visited; tests/unit/test_layout.py checks that every callback finds its parts.
        suppress_callback_exceptions=True,
    )
    engine = Engine(dtype=dtype)
    worker = LensWorker()
    desk = Desk(Path(data_directory))

    pages = [
        shell.Page("/", "compare", "Compare", lambda: compare.page(roots, remotes)),
        shell.Page("/training", "training", "Training", lambda: training.page(roots), charts=True),
        shell.Page("/lens", "lens", "Lens", lambda: lens.page(roots), charts=True),
        shell.Page("/data", "data", "Data", lambda: data.page(desk), charts=True),
        shell.Page("/runs", "runs", "Runs", runs_page.page, charts=True),
    ]

    app.pages = pages
    app.layout = lambda: shell.layout(pages, f"{host}:{port}", shell.asked(pages, _referrer()))
    shell.register(app, pages)
    compare.register(app, roots, remotes)
    training.register(app, roots)
    lens.register(app, worker, roots)
    data.register(app, desk)
    cast = Votes(votes)
    runs_page.register(app, roots, host, cast)
    voting.register(app.server, cast, roots)
    api.register(app.server, engine, host, roots, [remote.url for remote in remotes])
    launch.register(app.server, roots, host, allow_training)
    learn.register(app.server, worker, roots)
    app.server.config["engine"] = engine
    app.server.config["lens"] = worker
    return app


def _referrer() -> str | None:
    """The address of the page that asks for the layout; none while Dash validates it at the start."""
    return request.referrer if has_request_context() else None
