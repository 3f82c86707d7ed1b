"""The frame around every page: header, navigation, status bar, shortcuts, theme."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, dcc, html

from dpo.dashboard.components import action, icon
from dpo.dashboard.theme import MANTINE


@dataclass(frozen=True)
class Page:
    """A page: all are mounted at once and shown by path, so that answers survive a look elsewhere."""

    path: str
    key: str
    label: str
    body: Any


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


def layout(pages: Sequence[Page], host: str) -> Any:
    """The whole document below `<body>`."""
    first = pages[0]
    header = html.Div(
        [
            html.A([html.Span(className="mark"), html.B("DPO Workbench")], href=first.path, className="brand js-nav"),
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
            dmc.AppShellNavbar(html.Nav([_nav(page) for page in pages], className="rail", **{"aria-label": "Pages"})),
            dmc.AppShellMain(
                [
                    html.Div(
                        page.body, id=f"page-{page.key}", className=f"page page-{page.key}", hidden=page is not first
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
        children=[dcc.Location(id="url", refresh=False), frame, _help()],
    )


def register(app: Dash, pages: Sequence[Page]) -> None:
    """Navigation, theme and help: all in the browser (assets/shell.js)."""
    from dash import ClientsideFunction, Input, Output, State

    app.clientside_callback(
        ClientsideFunction("shell", "show"),
        [Output(f"page-{page.key}", "hidden") for page in pages],
        Input("url", "pathname"),
    )
    app.clientside_callback(
        ClientsideFunction("shell", "help"),
        Output("help", "opened"),
        Input("open-help", "n_clicks"),
        State("help", "opened"),
        prevent_initial_call=True,
    )


def _nav(page: Page) -> html.A:
    return html.A(
        [icon(page.key, 20), html.Span(page.label)],
        href=page.path,
        className="nav-item js-nav",
        **{"data-page": page.key},
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
