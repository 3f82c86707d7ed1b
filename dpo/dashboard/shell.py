"""The frame around every page: header, navigation, status bar, shortcuts, theme."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import dash_mantine_components as dmc
from dash import Dash, dcc, html

from dpo.dashboard.components import action, icon
from dpo.dashboard.theme import MANTINE


@dataclass(frozen=True)
class Page:
    """A page: `body` makes what is in it when it is first looked at, and it stays from then on.

    Of a dozen cards with charts and grids a browser takes seconds to draw what nobody sees yet; once
    there, a page is hidden and shown by path, so that answers survive a look elsewhere.
    """

    path: str
    key: str
    label: str
    body: Callable[[], Any]
    shortcut: str
    charts: bool = False


_KEYS = (
    ("Ctrl Enter", "generate"),
    ("Esc", "stop, close"),
    ("1 – 4", "focus an answer"),
    ("d", "word diff on or off"),
    ("b", "blind on or off"),
    ("v", "vote, then ← → and Enter"),
    ("g c", "Compare"),
    ("g t", "Training"),
    ("g l", "Lens"),
    ("← → Enter", "Lens: another token, keep it"),
    ("g d", "Data"),
    ("g r", "Runs"),
    ("?", "this list"),
)


def asked(pages: Sequence[Page], referrer: str | None) -> Page:
    """The page that a browser at the address `referrer` looks at; the first for an unknown path."""
    try:
        path = urlsplit(referrer or "").path
    except ValueError:  # no address at all
        path = ""
    return next((page for page in pages if page.path == path), pages[0])


def layout(pages: Sequence[Page], host: str, shown: Page) -> Any:
    """The whole document below `<body>`, with the page `shown` in it; the others come when they are visited."""
    first = pages[0]
    header = html.Div(
        [
            html.A(
                [html.Span(className="brand-mark"), html.B("DPO Workbench")], href=first.path, className="brand js-nav"
            ),
            html.Div(
                [
                    action("help", "Shortcuts (?)", id="open-help", n_clicks=0),
                    action("moon", "Switch between light and dark", id="theme-switch", n_clicks=0),
                ],
                className="row tight end",
            ),
        ],
        className="topbar",
    )
    status = html.Div(
        [
            html.Span(
                [html.Span(className="dot idle", id="status-dot"), html.Span("Ready", id="status-text")],
                className="row tight",
                role="status",
                **{"aria-live": "polite"},
            ),
            html.Span(id="status-runs", className="hide-sm"),
            html.Span(f"{host} · dpo {importlib.metadata.version('dpo-workbench')}", className="hide-sm mono"),
        ],
        className="statusbar",
    )
    tabs = html.Nav([_nav(page) for page in pages], className="tabbar", **{"aria-label": "Pages, bottom"})
    frame = dmc.AppShell(
        [
            dmc.AppShellHeader(header),
            dmc.AppShellNavbar(
                html.Nav([_nav(page) for page in pages], className="navigation", **{"aria-label": "Pages"})
            ),
            dmc.AppShellMain(
                [
                    html.Div(
                        page.body() if page is shown else html.P(f"Opening {page.label}", className="sub page-opening"),
                        id=f"page-{page.key}",
                        className=f"page page-{page.key}",
                        hidden=page is not shown,
                    )
                    for page in pages
                ]
            ),
            dmc.AppShellFooter([status, tabs]),
        ],
        header={"height": 52},
        navbar={"width": 76, "breakpoint": "sm", "collapsed": {"mobile": True}},
        footer={"height": {"base": 60, "sm": 28}},
        padding=0,
    )
    return dmc.MantineProvider(
        id="theme",
        theme=MANTINE,
        defaultColorScheme="auto",
        children=[
            dcc.Location(id="url", refresh=False),
            *(dcc.Store(id=f"visit-{page.key}") for page in pages),
            frame,
            _help(),
        ],
    )


def register(app: Dash, pages: Sequence[Page]) -> None:
    """Navigation, theme and help, in the browser (assets/shell.js), and the bodies of pages from here."""
    from dash import ClientsideFunction, Input, Output, State

    app.clientside_callback(
        ClientsideFunction("shell", "show"),
        *(Output(f"page-{page.key}", "hidden") for page in pages),
        *(Output(f"visit-{page.key}", "data") for page in pages),
        Input("url", "pathname"),
    )
    for page in pages:
        _mounted(app, page)
    app.clientside_callback(
        ClientsideFunction("shell", "help"),
        Output("help", "opened"),
        Input("open-help", "n_clicks"),
        State("help", "opened"),
        prevent_initial_call=True,
    )


def _mounted(app: Dash, page: Page) -> None:
    from dash import Input, Output

    @app.callback(Output(f"page-{page.key}", "children"), Input(f"visit-{page.key}", "data"), prevent_initial_call=True)
    def mount(_: float) -> Any:
        return page.body()


def _nav(page: Page) -> html.A:
    return html.A(
        [icon(page.key, 20), html.Span(page.label)],
        href=page.path,
        className="nav-item js-nav",
        **{"data-page": page.key, "data-key": page.shortcut},
    )


def _help() -> Any:
    rows = [html.Tr([html.Td(dmc.Kbd(keys)), html.Td(text)]) for keys, text in _KEYS]
    return dmc.Modal(
        id="help",
        title="Shortcuts",
        children=[
            html.Table(html.Tbody(rows), className="keys"),
            html.P("Single keys are off while you type in a field.", className="sub"),
        ],
        centered=True,
        size=380,
    )
