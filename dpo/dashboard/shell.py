"""The frame around every page: header, navigation, status bar, shortcuts, theme."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html

from dpo.dashboard.browser import in_browser
from dpo.dashboard.components import action, box, dialog, icon
from dpo.dashboard.theme import MANTINE
from dpo.dashboard.web import sign_in
from dpo.dashboard.web.access import signed_in
from dpo.dashboard.web.accounts import User
from dpo.dashboard.workbench import Workbench


@dataclass(frozen=True)
class Page:
    """A page of the app; navigation, shortcuts, help and routing follow from the table of them (`pages.PAGES`).

    Of a dozen cards with charts and grids a browser takes seconds to draw what nobody sees yet: a page is made when
    it is first looked at.  From then on it is hidden and shown by path, so that answers survive a look elsewhere.

    Args:
        path: its address.
        title: what it is called; in small letters it is part of the ids `page-TITLE` and `visit-TITLE`.
        icon: a name of assets/icons.css.
        key: the letter that opens it after `g`; empty for none.
        layout: makes what is in it.
        register: adds its callbacks and routes; each needs its line in `web.rights`.
        charts: whether it draws charts, so that their script is fetched at once.
        grids: whether it has one of Dash's grids, whose script must have run before it is drawn.
        keys: its own shortcuts, (keys, what they do).
        docs: the document that explains it (`dpo.dashboard.manual`).
        within: the title of the page from which one comes to this one, in small letters: it has no entry of its own in
            the navigation, where that page's is marked.
    """

    path: str
    title: str
    icon: str
    key: str
    layout: Callable[[Workbench], Any]
    register: Callable[[Dash, Workbench], None]
    charts: bool = False
    grids: bool = False
    keys: tuple[tuple[str, str], ...] = ()
    docs: str = ""
    within: str | None = None

    @property
    def name(self) -> str:
        """The title in small letters, for ids."""
        return self.title.lower()


def asked(pages: Sequence[Page], referrer: str | None) -> Page:
    """The page that a browser at the address `referrer` looks at; the first for an unknown path."""
    try:
        path = urlsplit(referrer or "").path
    except ValueError:  # no address at all
        path = ""
    return next((page for page in pages if page.path == path), pages[0])


def layout(pages: Sequence[Page], workbench: Workbench, host: str, shown: Page) -> Any:
    """The whole document below `<body>`, with the page `shown` in it; the others come when they are visited."""
    navigation = html.Nav([_nav(page) for page in pages], className="navigation", **{"aria-label": "Pages"})
    tabs = html.Nav([_nav(page) for page in pages], className="tabbar", **{"aria-label": "Pages, bottom"})
    frame = dmc.AppShell(
        [
            dmc.AppShellHeader(_header(pages[0], signed_in())),
            dmc.AppShellNavbar(navigation),
            dmc.AppShellMain(
                [_place(page, page.layout(workbench) if page is shown else None) for page in pages],
                id="content",
                tabIndex=-1,
            ),
            dmc.AppShellFooter([_status(host), tabs]),
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
            html.A("Skip to the page", href="#content", className="skip"),
            dcc.Location(id="url", refresh=False),
            *(dcc.Store(id=f"visit-{page.name}") for page in pages),
            frame,
            html.Div(id="connection", className="connection", role="status", hidden=True),
            _help(pages),
        ],
    )


def _place(page: Page, content: Any) -> html.Div:
    """Where a page is, or will be when it is visited."""
    return html.Div(
        content or html.P(f"Opening {page.title}", className="sub page-opening"),
        id=f"page-{page.name}",
        className=f"page page-{page.name}",
        hidden=content is None,
    )


def _header(first: Page, user: User | None) -> html.Div:
    return box(
        html.A([html.Span(className="brand-mark"), html.B("DPO Workbench")], href=first.path, className="brand js-nav"),
        box(
            html.A(
                icon("book"),
                id="open-docs",
                href="/docs",
                className="js-nav icon-link",
                title="About this page",
                **{"aria-label": "About this page"},
            ),
            action("help", "Shortcuts (?)", id="open-help", n_clicks=0),
            action("moon", "Switch between light and dark", id="theme-switch", n_clicks=0),
            None if user is None else _account(user),
            cls="row tight end",
        ),
        cls="topbar",
    )


def _account(user: User) -> html.Form:
    """Who has signed in, and the way out: a form, which needs no script."""
    leave = html.Button("Sign out", type="submit", className="sign-out")
    return html.Form([html.Span(user.name, className="sub hide-sm"), leave], method="POST", action=sign_in.OUT,
                     className="row tight")  # fmt: skip


def _status(host: str) -> html.Div:
    return box(
        html.Span(
            [html.Span(className="dot idle", id="status-dot"), html.Span("Ready", id="status-text")],
            className="row tight",
            role="status",
            **{"aria-live": "polite"},
        ),
        html.Span(id="status-runs", className="hide-sm"),
        html.Span(f"{host} · dpo {importlib.metadata.version('dpo-workbench')}", className="hide-sm mono"),
        cls="statusbar",
    )


def register(app: Dash, pages: Sequence[Page], workbench: Workbench) -> None:
    """Navigation, theme and help, in the browser (assets/js/shell.js), and the pages from here."""
    parts = [Output(f"page-{page.name}", "hidden") for page in pages]
    in_browser(app, "shell.show", *parts, Input("url", "pathname"), first=True)
    for page in pages:
        _mounted(app, page, workbench)
        page.register(app, workbench)
    asked_for = (Input("open-help", "n_clicks"), State("help", "opened"))
    in_browser(app, "shell.help", Output("help", "opened"), *asked_for)


def _mounted(app: Dash, page: Page, workbench: Workbench) -> None:
    @app.callback(
        Output(f"page-{page.name}", "children"), Input(f"visit-{page.name}", "data"), prevent_initial_call=True
    )
    def mount(_: float) -> Any:
        return page.layout(workbench)


def _nav(page: Page) -> html.A:
    return html.A(
        [icon(page.icon, 20), html.Span(page.title)],
        href=page.path,
        className="nav-item js-nav",
        hidden=page.within is not None,
        **{"data-page": page.name, "data-key": page.key or None, "data-grids": "yes" if page.grids else None,
           "data-docs": page.docs or None, "data-within": page.within},
    )  # fmt: skip


def shortcuts(pages: Sequence[Page]) -> list[tuple[str, str]]:
    """All keys and what they do: each page's own, and the letter that opens it."""
    own = [(*page.keys, *([(f"g {page.key}", page.title)] if page.key else [])) for page in pages]
    return [row for rows in own for row in rows] + [("Ctrl K", "go to a page, a run, a policy"), ("?", "this list")]


def _help(pages: Sequence[Page]) -> Any:
    rows = [html.Tr([html.Td(dmc.Kbd(keys)), html.Td(text)]) for keys, text in shortcuts(pages)]
    parts = [
        html.Button("Show me around", type="button", className="ex js-walk"),
        html.Table(html.Tbody(rows), className="keys"),
        html.P("Single keys are off while you type in a field.", className="sub"),
    ]
    return dialog(parts, "help", "Shortcuts", 380)
