"""The Dash application: pages, routes and callbacks put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dash import Dash
from flask import Response, has_request_context, request

from dpo.dashboard import api, commands, head, shell, web
from dpo.dashboard.pages import PAGES
from dpo.dashboard.shell import Page
from dpo.dashboard.web.access import LOCAL, Access, signed_in
from dpo.dashboard.web.headers import hash_of
from dpo.dashboard.web.modules import Modules
from dpo.dashboard.web.schema import checked
from dpo.dashboard.workbench import Workbench
from dpo.resources import resource
from dpo.serving.shared import Shared

# Lines, bars and nothing else: a quarter of the script that Dash brings, and run in a third of the time.
_PLOTLY = "vendor/plotly-basic-4.1.1.min.js"
ASSETS = resource("assets")


class _App(Dash):
    """Dash, drawing with the small build of Plotly's script, and started by the entry of our modules.

    Plotly is fetched with all others where a page has charts, the script of Dash's grids where it has one; else when
    nothing more is to do.
    """

    pages: Sequence[Page] = ()
    workbench: Workbench
    modules: Modules
    theme_script: str
    layouts: Shared[bytes]
    visit_script: str

    def interpolate_index(self, **parts: Any) -> str:
        """The document that is sent for every address."""
        if self.pages:
            page = shell.asked(self.pages, request.path)
            plotly = "preload" if page.charts else "prefetch"
            parts["scripts"], grid = head.without_grid(parts["scripts"], page.grids)
            parts["favicon"] = head.favicon()
            parts["metas"] = (
                parts.get("metas", "")
                + head.description()
                + self.modules.tags()
                + f'<link rel="{plotly}" as="script" href="{self.get_asset_url(_PLOTLY)}">'
                + grid
                + "".join(f"<script>{text}</script>" for text in self.head_scripts())
            )
        document = str(super().interpolate_index(**parts))
        # Its footer holds scripts: to a screen reader it is none.
        for tag, ours in (("<html>", '<html lang="en">'), ("<footer>", "<div>"), ("</footer>", "</div>")):
            document = document.replace(tag, ours)
        return document

    def serve_layout(self) -> Response:
        """What is below `<body>`; of all who open the same page at once, each as the same user, it is made once."""
        page = shell.asked(self.pages, request.referrer)
        made = self.layouts.get((page.path, signed_in()), lambda: bytes(super(_App, self).serve_layout().get_data()))
        return Response(made, mimetype="application/json")

    def callback(self, *parts: Any, **options: Any) -> Any:
        """A callback that is called only with what its annotations allow (`web.schema`)."""
        register = super().callback(*parts, **options)
        return lambda function: register(checked(function))

    def inline_hashes(self) -> list[str]:
        """The hashes of the document's inline scripts: Dash's, and those above."""
        return [*self.csp_hashes(), *map(hash_of, self.head_scripts())]

    def head_scripts(self) -> list[str]:
        """What must be there before any other script: the colour scheme, whose visit it is, and where Plotly is."""
        return [self.theme_script, self.visit_script, self.plotly_script()]

    def plotly_script(self) -> str:
        """Dash's renderer sets this address to that of the whole script; its graphs load what it says."""
        script = self.get_asset_url(_PLOTLY)
        return f"Object.defineProperty(window, '_dashPlotlyJSURL', {{ get: () => '{script}', set() {{}} }})"


def create_app(
    runs: Sequence[Path | str],
    access: Access = LOCAL,
    *,
    port: int = 8050,
    pages: Sequence[Page] = PAGES,
    **options: Any,
) -> Dash:
    """The app, ready to serve; nothing heavy is imported here.

    What it started is in `app.server.config["services"]`: call `close()` of each at the end.

    Args:
        runs: directories in which runs are looked for.
        access: where it is served, and what is allowed there.
        port: where it will be served, for the status bar.
        pages: what it shows; the first one stands at `/`.
        options: `remotes`, `votes`, `data_directory` and `dtype`, as `Workbench` takes them.
    """
    app = _App(
        "dpo",
        title="DPO Workbench",
        update_title=None,
        assets_folder=str(ASSETS),
        # Modules, what they and graphs fetch when they need it, and what stands in the document itself.
        assets_path_ignore=["^js$", "^vendor$", "^inline$"],
        serve_locally=True,
        # Pages come when they are visited; tests/unit/test_layout.py checks that every callback finds its parts.
        suppress_callback_exceptions=True,
    )
    # Dash calls what our modules put on the window: their entry, the last script to run, starts it (assets/js/main.js).
    app.renderer = ""
    web.install(app.server, access, app.callback_map, app.inline_hashes)
    app.layouts = Shared()
    app.theme_script, app.visit_script = (
        (ASSETS / "inline" / name).read_text(encoding="utf-8") for name in ("theme.js", "visit.js")
    )
    app.modules = Modules(ASSETS)
    app.modules.register(app.server)
    workbench = Workbench(runs, access, **options)
    app.pages, app.workbench = pages, workbench
    app.layout = lambda: shell.layout(pages, workbench, f"{access.host}:{port}", shell.asked(pages, _referrer()))
    shell.register(app, pages, workbench)
    commands.register(app.server, workbench)
    api.register(app.server, workbench.engine, workbench.allowed, workbench.streams)
    app.server.config["services"] = (workbench,)
    return app


def _referrer() -> str | None:
    """The address of the page that asks for the layout; none while Dash validates it at the start."""
    return request.referrer if has_request_context() else None
