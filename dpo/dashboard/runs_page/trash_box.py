"""Deleting runs, taking it back, and the trash in which they are meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from dpo.counting import counted
from dpo.dashboard.browser import also, in_browser
from dpo.dashboard.components import box, button, dialog, problem_card
from dpo.dashboard.runs_page.grid_rows import GridRows, paths_of
from dpo.dashboard.web.access import Right
from dpo.dashboard.web.schema import Count
from dpo.dashboard.workbench import Workbench
from dpo.errors import DpoError
from dpo.runs.manage import deletable, listed
from dpo.runs.trash import KEPT_DAYS, Deleted, deleted, discard, empty, restore

_BACK = "rn-back"


def bar() -> html.Div:
    """What was just deleted, and the way back; empty until something was."""
    return box(
        html.Span(id="rn-undo-text"), button("Undo", "left", id="rn-undo", n_clicks=0, size="xs"),
        dcc.Store(id="rn-undone", data=[]), id="rn-undo-bar", cls="undo card", role="status", hidden=True,
    )  # fmt: skip


def dialogs() -> list[Any]:
    """The question before runs are deleted, and the trash."""
    ask = dialog(
        [
            html.P(f"They go to the trash, with checkpoints and policies, and stay there for {KEPT_DAYS} days: until "
                   "then they can be brought back, and take their room on the disk."),
            html.Div(id="rn-delete-list"),
            box(
                button("Keep them", id="rn-delete-keep", n_clicks=0),
                button("Delete", None, "filled", id="rn-delete-go", n_clicks=0, disabled=True),
                cls="row end-row",
            ),
        ],
        "rn-delete-box", "Delete runs", 560,
    )  # fmt: skip
    trash = dialog(
        [
            html.Div(id="rn-trash-list"),
            box(button("Empty the trash", None, id="rn-empty", n_clicks=0, disabled=True), cls="row end-row"),
        ],
        "rn-trash-box", "Trash", 560,
    )  # fmt: skip
    return [ask, trash]


def register(app: Dash, workbench: Workbench) -> None:
    """All callbacks of them."""
    _asking(app, workbench)
    _deleting(app, workbench)
    _trash(app, workbench)


def _asking(app: Dash, workbench: Workbench) -> None:
    roots, access = workbench.roots, workbench.access

    @app.callback(
        Output("rn-delete-box", "opened"), Output("rn-delete-list", "children"),
        Output("rn-delete-go", "disabled"), Output("rn-delete-go", "children"),
        Input("rn-delete", "n_clicks"), State("rn-grid", "selectedRows"),
        prevent_initial_call=True,
    )  # fmt: skip
    def ask(_: int, selected: GridRows) -> tuple[bool, Any, bool, str]:
        lines, fine = [], bool(selected) and access.grants(Right.CHANGE)
        for path in paths_of(selected):
            try:
                run = listed(path, roots)
                lines.append(html.Li([html.B(run.name), f" · {deletable(run, roots) / 1e6:.1f} MB · {path}"]))
            except DpoError as error:
                fine = False
                lines.append(html.Li(str(error), className="error-line"))
        if not access.grants(Right.CHANGE):
            lines = [html.Li(access.refusal(Right.CHANGE), className="error-line")]
        return True, html.Ul(lines, className="plain"), not fine, f"Delete {counted(len(lines), 'run')}"

    in_browser(app, "runs.close", also("rn-delete-box", "opened"), Input("rn-delete-keep", "n_clicks"))


def _deleting(app: Dash, workbench: Workbench) -> None:
    roots = workbench.roots

    @app.callback(
        also("rn-delete-box", "opened"), also("rn-changed", "data"), also("rn-problem", "children"),
        Output("rn-grid", "deselectAll"), Output("rn-undone", "data"), Output("rn-undo-text", "children"),
        Output("rn-undo-bar", "hidden"),
        Input("rn-delete-go", "n_clicks"), State("rn-grid", "selectedRows"), State("rn-changed", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def remove(_: int, selected: GridRows, count: Count) -> tuple[Any, ...]:
        gone, problem = [], None
        try:
            empty(roots, KEPT_DAYS)
            for path in paths_of(selected):
                gone.append(discard(listed(path, roots), roots))
        except DpoError as error:
            problem = problem_card(str(error))
        return False, count + 1, problem, True, gone, f"{counted(len(gone), 'run')} deleted.", not gone

    @app.callback(
        also("rn-changed", "data"), also("rn-problem", "children"), also("rn-undo-bar", "hidden"),
        Input("rn-undo", "n_clicks"), State("rn-undone", "data"), State("rn-changed", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def undo(_: int, gone: list[str], count: Count) -> tuple[Any, ...]:
        try:
            for ident in gone:
                restore(ident, roots)
        except DpoError as error:
            return count + 1, problem_card(str(error)), True
        return count + 1, None, True


def _trash(app: Dash, workbench: Workbench) -> None:
    roots, access = workbench.roots, workbench.access

    @app.callback(
        Output("rn-trash-box", "opened"), Output("rn-trash-list", "children"), Output("rn-empty", "disabled"),
        Input("rn-trash", "n_clicks"), prevent_initial_call=True,
    )  # fmt: skip
    def look(_: int) -> tuple[Any, ...]:
        return True, *_listed(roots, access.grants(Right.CHANGE))

    @app.callback(
        also("rn-trash-list", "children"), also("rn-empty", "disabled"), also("rn-changed", "data"),
        also("rn-undo-bar", "hidden"),
        Input({"type": _BACK, "entry": ALL}, "n_clicks"), State("rn-changed", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def back(clicks: list[int | None], count: Count) -> tuple[Any, ...]:
        asked = ctx.triggered_id
        if not any(clicks) or not isinstance(asked, dict):  # the buttons have only just come
            return (no_update,) * 4
        try:
            restore(str(asked["entry"]), roots)
        except DpoError as error:
            return html.P(str(error), className="error-line", role="alert"), no_update, count, no_update
        return *_listed(roots, True), count + 1, True

    @app.callback(
        also("rn-trash-list", "children"), also("rn-empty", "disabled"), also("rn-undo-bar", "hidden"),
        Input("rn-empty", "n_clicks"), prevent_initial_call=True,
    )  # fmt: skip
    def clear(_: int) -> tuple[Any, ...]:
        try:
            empty(roots)
        except DpoError as error:
            return html.P(str(error), className="error-line", role="alert"), no_update, no_update
        return *_listed(roots, True), True


def _listed(roots: Sequence[Path], may: bool) -> tuple[Any, bool]:
    """What is in the trash as rows, and whether there is nothing to empty."""
    found = deleted(roots)
    if not found:
        return html.P("The trash is empty.", className="sub"), True
    size = sum(entry.size for entry in found)
    about = f"{counted(len(found), 'run')}, {size / 1e6:.1f} MB. Removed for good after {KEPT_DAYS} days."
    return [html.P(about, className="sub"), *(_row(entry, may) for entry in found)], not may


def _row(entry: Deleted, may: bool) -> html.Div:
    days = int((time.time() - entry.when) // 86_400)
    when = "deleted today" if days in (-1, 0) else f"deleted {counted(days, 'day')} ago"
    if days < -1:
        when = "deleted in the future, by this clock"
    about = f"{when} · {entry.size / 1e6:.1f} MB · {entry.origin}"
    text = html.Div([html.B(entry.name), html.Div(about, className="sub")])
    ident = {"type": _BACK, "entry": entry.ident}
    label = f"Bring {entry.name} back"
    back = html.Button("Bring back", id=ident, n_clicks=0, className="ex", disabled=not may,
                       **{"aria-label": label})  # fmt: skip
    return html.Div([text, back], className="trash-row")
