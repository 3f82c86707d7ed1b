"""The Dash application: pages, routes and callbacks put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dash import Dash
from flask import has_request_context, request

from dpo.dashboard import api, compare, data, lens, runs_page, shell, training, web
from dpo.dashboard.compare import votes as voting
from dpo.dashboard.data.audit_jobs import Desk
from dpo.dashboard.training import jobs_api, learn
from dpo.dashboard.web.access import LOCAL, Access
from dpo.dashboard.web.headers import hash_of
from dpo.dashboard.web.names import Allowed
from dpo.dashboard.web.streams import Streams
from dpo.evaluation.votes import DEFAULT_VOTES, Votes
from dpo.evaluation.worker import LensWorker
from dpo.generation.engine import Engine
from dpo.generation.remote import Remote
from dpo.resources import resource
from dpo.training.jobs import Jobs

# Lines, bars and nothing else: a quarter of the script that Dash brings, and run in a third of the time.
_PLOTLY = "vendor/plotly-basic-4.1.1.min.js"
ASSETS = resource("assets")


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
            parts["metas"] = (
                parts.get("metas", "")
                + f'<link rel="{when}" as="script" href="{script}"><script>{self.plotly_script()}</script>'
            )
        return str(super().interpolate_index(**parts))

    def inline_hashes(self) -> list[str]:
        """The hashes of the document's inline scripts: Dash's, and the one above."""
        return [*self.csp_hashes(), hash_of(self.plotly_script())]

    def plotly_script(self) -> str:
        """Dash's renderer sets this address to that of the whole script; its graphs load what it says."""
        script = self.get_asset_url(_PLOTLY)
        return f"Object.defineProperty(window, '_dashPlotlyJSURL', {{ get: () => '{script}', set() {{}} }})"


def create_app(
    runs: Sequence[Path | str],
    access: Access = LOCAL,
    *,
    port: int = 8050,
    remotes: Sequence[Remote] = (),
    votes: Path | str = DEFAULT_VOTES,
    data_directory: Path | str = "data",
    dtype: str = "fp32",
) -> Dash:
    """The app, ready to serve; nothing heavy is imported here.

    What it started is in `app.server.config["services"]`: call `close()` of each at the end.

    Args:
        runs: directories in which runs are looked for.
        access: where it is served, and what is allowed there.
        port: where it will be served, for the status bar.
        remotes: OpenAI-compatible servers that may be asked for answers.
        votes: the file that votes are kept in.
        data_directory: files of preference pairs that the Data page offers.
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
    web.install(app.server, access, app.callback_map, app.inline_hashes)
    engine = Engine(dtype=dtype)
    worker = LensWorker()
    desk = Desk(Path(data_directory))
    allowed = Allowed(access, tuple(roots), tuple(remote.url for remote in remotes), Path(data_directory))
    streams, jobs = Streams(), Jobs(jobs_api.own_root(roots))
    cast = Votes(votes, wait_seconds=2.0)  # a page waits with a thread of the server

    pages = app.pages = _pages(access, roots, remotes, desk)
    app.layout = lambda: shell.layout(pages, f"{access.host}:{port}", shell.asked(pages, _referrer()))
    shell.register(app, pages)
    compare.register(app, roots, remotes)
    training.register(app, roots)
    lens.register(app, worker, allowed, streams)
    data.register(app, desk)
    runs_page.register(app, roots, access, cast)
    voting.register(app.server, cast, jobs, roots)
    api.register(app.server, engine, allowed, streams)
    jobs_api.register(app.server, jobs, roots, access)
    learn.register(app.server, worker, allowed, streams)
    app.server.config["services"] = (engine, worker, desk)
    return app


def _pages(access: Access, roots: Sequence[Path], remotes: Sequence[Remote], desk: Desk) -> list[shell.Page]:
    return [
        shell.Page("/", "compare", "Compare", lambda: compare.page(roots, remotes), "c"),
        shell.Page("/training", "training", "Training", lambda: training.page(roots), "t", charts=True),
        shell.Page("/lens", "lens", "Lens", lambda: lens.page(roots), "l", charts=True),
        shell.Page("/data", "data", "Data", lambda: data.page(desk), "d", charts=True),
        shell.Page("/runs", "runs", "Runs", lambda: runs_page.page(access), "r", charts=True),
    ]


def _referrer() -> str | None:
    """The address of the page that asks for the layout; none while Dash validates it at the start."""
    return request.referrer if has_request_context() else None
