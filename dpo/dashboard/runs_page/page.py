"""Layout and callbacks of the Runs page."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update
from pydantic import AfterValidator
from typing_extensions import TypedDict

from dpo.counting import counted
from dpo.dashboard.browser import also, in_browser
from dpo.dashboard.choices import evaluate_link, sweep_link, training_link
from dpo.dashboard.components import (
    action,
    box,
    button,
    card,
    card_head,
    chart,
    icon,
    page_title,
    problem_card,
)
from dpo.dashboard.runs_page import figures, sweep_form, sweep_page, trash_box
from dpo.dashboard.runs_page.grid_rows import GridRows, Named, paths_of
from dpo.dashboard.runs_page.report import report
from dpo.dashboard.runs_page.table import (
    MEASURES,
    Row,
    RunTable,
    choices_of,
    columns_of,
    differing,
    filtered,
    heading,
    rows_of,
    sent,
)
from dpo.dashboard.runs_page.weights import weights
from dpo.dashboard.sweeps import sweeps_of
from dpo.dashboard.web.access import Access, Right
from dpo.dashboard.web.schema import Count
from dpo.dashboard.workbench import Workbench
from dpo.errors import DpoError
from dpo.runs.manage import annotate, listed, rename

_POLL_MS = 2000
_ROW, _HEAD, _MOST_ROWS = 38, 40, 12
_MOST_SWEEPS = 8
_FIELDS = [{"value": field, "label": title} for field, title, _ in MEASURES[:4]]


def _measure(name: str) -> str:
    if name not in {field["value"] for field in _FIELDS}:
        raise ValueError("there is no such measure")
    return name


RankedMeasure = Annotated[str, AfterValidator(_measure)]


class CellChange(TypedDict):
    """A cell that was written into."""

    data: Named
    colId: str
    value: NotRequired[str | int | float | bool | None]


def page(workbench: Workbench) -> list[Any]:
    """The page; its rows come when it is first looked at."""
    return [
        page_title(
            "Runs",
            html.Span("Reading the runs", id="rn-sub"),
            dmc.TextInput(
                id="rn-filter", value="", placeholder="Filter: beta < 0.3 and kl < 5", size="sm", w=260,
                leftSection=icon("filter", 14), debounce=300, **{"aria-label": "Filter the table"},
            ),
            _columns(),
            button("Export report", "download", id="rn-export", n_clicks=0),
            action("trash", "Trash: deleted runs", id="rn-trash", n_clicks=0),
            button("New sweep", "plus", "filled", id="rn-new", n_clicks=0),
        ),
        html.Div(id="rn-problem", role="alert"),
        trash_box.bar(),
        html.Nav(_sweeps(workbench), id="rn-sweeps", className="sweeps", **{"aria-label": "Sweeps"}),
        card(_grid_room(len(workbench.runs.look().runs)), _chosen(workbench.access), cls="gridcard"),
        html.Div([_frontier_card(), _card("parallel", "Settings and outcome")], className="grid runs-grid"),
        _importance_card(),
        *trash_box.dialogs(),
        sweep_form.sweep_dialog(),
        dcc.Download(id="rn-download"),
        dcc.Store(id="rn-signature"),
        dcc.Store(id="rn-changed", data=0),
        dcc.Interval(id="rn-poll", interval=_POLL_MS, disabled=True),
    ]  # fmt: skip


def register(app: Dash, workbench: Workbench) -> None:
    """All callbacks of the page."""
    table = RunTable(workbench.runs, workbench.votes)
    app.server.config.setdefault("beforehand", []).append(table.prepare)
    _reading(app, workbench, table)
    _drawing(app, table)
    _editing(app, workbench)
    _choosing(app, table)
    trash_box.register(app, workbench)
    sweep_form.register(app.server, workbench)
    _leaving(app, workbench)
    sweep_page.register(app, workbench, table)


def _reading(app: Dash, workbench: Workbench, table: RunTable) -> None:
    in_browser(app, "runs.polls", Output("rn-poll", "disabled"), Input("page-runs", "hidden"), first=True)

    @app.callback(
        Output("rn-grid", "rowData"), Output("rn-grid", "columnDefs"), Output("rn-sub", "children"),
        Output("rn-grid", "style"), Output("rn-filter", "error"), Output("rn-signature", "data"),
        Output("rn-columns", "data"), Output("rn-sweeps", "children"),
        Input("rn-poll", "n_intervals"), Input("rn-changed", "data"), Input("page-runs", "hidden"),
        Input("rn-filter", "value"), Input("rn-columns", "value"), State("rn-signature", "data"),
        State("rn-grid", "columnDefs"),
    )  # fmt: skip
    def fill(
        _: int | None, changes: Count | None, hidden: bool | None, text: str | None, chosen: list[str] | None,
        known: str | None, before: Any,
    ) -> tuple[Any, ...]:  # fmt: skip
        if hidden:
            return (no_update,) * 8
        if ctx.triggered_id == "rn-changed":
            table.reader.forget()
        now = table.signature()
        # With what was asked: a poll takes the place of an answer that is on its way, and must bring what that would.
        state = f"{now}-{zlib.crc32(str([changes, text, chosen]).encode())}"
        if state == known:
            return (no_update,) * 8
        may_change = workbench.access.grants(Right.CHANGE)  # the grid lets one write into cells of one's own runs
        rows = [row | {"own": row["own"] and may_change} for row in table.rows(now)]
        shown, problem, subtitle = rows, None, ""
        try:
            shown = filtered(rows, text or "")
        except DpoError as error:  # rows of the filter before would be taken for what this one means
            problem, subtitle = str(error), f"All {counted(len(rows), 'run')}: the filter is not understood"
        apart = differing(rows)
        columns = columns_of(rows, chosen or (), apart)
        return (
            sent(shown, columns), columns if columns != before else no_update,
            subtitle or _subtitle(rows, len(shown), apart[1]), _room(len(shown)), problem, state,
            choices_of(rows, apart), _sweeps(workbench),
        )  # fmt: skip


def _sweeps(workbench: Workbench) -> list[Any]:
    """A link to each sweep's own page."""
    links = [
        html.A([icon("runs", 14), f"{sweep.name}, {counted(sweep.trials, 'trial')}"], href=sweep_link(sweep.key),
               className="jump js-nav")
        for sweep in sweeps_of(workbench.runs.find())[:_MOST_SWEEPS]
    ]  # fmt: skip
    return [html.Span("Sweeps", className="label"), *links] if links else []


def _room(rows: int) -> dict[str, int]:
    """The height of the grid: of so many rows, up to what fits a screen, and of the bar that scrolls sideways."""
    return {"height": _HEAD + _ROW * min(max(rows, 2), _MOST_ROWS) + 18}


def _subtitle(rows: Sequence[Row], shown: int, alike: Sequence[str]) -> str:
    """How many runs there are, and which settings have no column: those that are alike in all."""
    text = f"{shown} of {counted(len(rows), 'run')}" if shown < len(rows) else counted(len(rows), "run")
    if alike and len(rows) > 1:
        text += " · settings that do not differ are hidden (" + ", ".join(map(heading, alike[:5]))
        text += f" and {len(alike) - 5} more)" if len(alike) > 5 else ")"
    return text


def _drawing(app: Dash, table: RunTable) -> None:
    @app.callback(
        Output("rn-frontier", "figure"), Output("rn-frontier-note", "children"),
        Output("rn-parallel", "figure"), Output("rn-parallel-note", "children"),
        Input("rn-grid", "virtualRowData"), Input("rn-grid", "selectedRows"), Input("rn-over", "value"),
        Input("rn-signature", "data"),  # a name that was written into the grid is on disk a moment later
        prevent_initial_call=True,
    )  # fmt: skip
    def draw(shown: GridRows, selected: GridRows, over: str, _: Any) -> tuple[Any, ...]:
        rows, paths = table.named(paths_of(shown)), paths_of(selected)
        return *figures.frontier(rows, over, paths), *figures.parallel(rows, paths)

    @app.callback(
        Output("rn-importance", "children"), Output("rn-importance-note", "children"),
        Input("rn-grid", "virtualRowData"), Input("rn-measure", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    def weigh(shown: GridRows, measure: RankedMeasure) -> tuple[list[Any], str]:
        shares, note = figures.importance(table.named(paths_of(shown)), measure)
        return weights(shares), note


def _editing(app: Dash, workbench: Workbench) -> None:
    @app.callback(
        Output("rn-changed", "data"), Output("rn-problem", "children"),
        Input("rn-grid", "cellValueChanged"), State("rn-changed", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def edit(changes: list[CellChange] | None, count: Count) -> tuple[int, Any]:
        try:
            for change in changes or []:
                run = listed(change["data"]["path"], workbench.roots)
                text = str(change.get("value") or "")
                if change["colId"] == "name":
                    rename(run, text)
                elif change["colId"] == "note":
                    annotate(run, text)
                elif change["colId"] == "tags":
                    annotate(run, tags=text.split(","))
        except DpoError as error:
            return count + 1, problem_card(str(error))
        return count + 1, None

    @app.callback(
        also("rn-changed", "data"), also("rn-problem", "children"),
        Input("rn-pin", "n_clicks"), State("rn-grid", "selectedRows"), State("rn-changed", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def pin(_: int, selected: GridRows, count: Count) -> tuple[int, Any]:
        """What is chosen stands first from now on; if all of it does already, no longer."""
        try:
            runs = [listed(path, workbench.roots) for path in paths_of(selected)]
            pinned = not all(run.marks()["pinned"] for run in runs)
            for run in runs:
                annotate(run, pinned=pinned)
        except DpoError as error:
            return count + 1, problem_card(str(error))
        return count + 1, None

    # What was told of an earlier work does not stand over the next.
    following = [Input("rn-filter", "value"), *(Input(f"rn-{name}", "n_clicks") for name in ("delete", "new", "trash"))]
    in_browser(app, "runs.clear", also("rn-problem", "children"), *following)


def _choosing(app: Dash, table: RunTable) -> None:
    @app.callback(
        Output("rn-chosen", "hidden"), Output("rn-count", "children"), Output("rn-overlay", "href"),
        Output("rn-evaluate", "href"), Output("rn-delete", "disabled"), Output("rn-pin", "disabled"),
        Output("rn-pin", "children"), Input("rn-grid", "selectedRows"), Input("rn-signature", "data"),
    )  # fmt: skip
    def choose(selected: GridRows, _: Any) -> tuple[Any, ...]:
        paths = paths_of(selected)
        rows = table.named(paths)
        own = bool(rows) and all(row["own"] for row in rows)  # what comes with dpo is neither deleted nor moved
        pin = "Unpin" if own and all(row["pinned"] for row in rows) else "Pin"
        count = f"{counted(len(paths), 'run')} chosen"
        return not paths, count, training_link(paths), evaluate_link(paths), not own, not own, pin


def _leaving(app: Dash, workbench: Workbench) -> None:
    @app.callback(
        Output("rn-download", "data"), also("rn-problem", "children"),
        Input("rn-export", "n_clicks"), State("rn-grid", "virtualRowData"), State("rn-grid", "selectedRows"),
        prevent_initial_call=True,
    )  # fmt: skip
    def export(_: int, shown: GridRows, selected: GridRows) -> tuple[Any, Any]:
        paths = paths_of(selected) or paths_of(shown)
        # Read anew: what the browser sends back names runs, it does not say what is in them.
        rows = [row for row in rows_of(workbench.runs) if row["path"] in set(paths)]
        try:
            return {"content": report(rows, workbench.runs), "filename": "dpo-runs.html", "type": "text/html"}, None
        except DpoError as error:
            return no_update, problem_card(str(error))

    asked = Input("rn-new", "n_clicks"), State("rn-grid", "selectedRows")
    in_browser(app, "runs.sweep", Output("rn-sweep-box", "opened"), *asked)


def _grid_room(rows: int) -> html.Div:
    """The grid, which comes later than the page, in the room that it will take."""
    return html.Div(_grid(rows), className="grid-room", style={"--room": f"{_room(rows)['height']}px"})


def _grid(rows: int) -> dag.AgGrid:
    return dag.AgGrid(
        # The columns of every run stand there from the first: what comes beside them moves nothing.
        id="rn-grid", rowData=[], columnDefs=columns_of([])[:2], className="ag-theme-quartz",
        getRowId="params.data.path",
        defaultColDef={"sortable": True, "resizable": True, "filter": True, "suppressHeaderFilterButton": True},
        dashGridOptions={
            "rowHeight": _ROW, "headerHeight": _HEAD, "animateRows": False, "ensureDomOrder": True,
            "rowSelection": {"mode": "multiRow", "headerCheckbox": False, "checkboxes": True},
            "selectionColumnDef": {
                "pinned": "left", "width": 44, "headerName": "Choose", "headerClass": "only-read",
            }, "suppressDragLeaveHidesColumns": True,
            "tooltipShowDelay": 400, "stopEditingWhenCellsLoseFocus": True,
            "localeText": {"noRowsToShow": "No runs yet, or none meets the filter"},
        },
        style=_room(rows),
    )  # fmt: skip


def _columns() -> html.Details:
    """Which columns are shown; the browser keeps the choice."""
    choice = dmc.MultiSelect(
        id="rn-columns", data=[], value=[], searchable=True, clearable=True, size="sm", maxDropdownHeight=260,
        placeholder="Those that tell the runs apart", persistence=True, persistence_type="local",
        comboboxProps={"withinPortal": False}, **{"aria-label": "Columns"},
    )  # fmt: skip
    return html.Details(
        [html.Summary([icon("table", 14), "Columns"], className="jump"),
         html.Div([choice, html.P("Empty: those that tell the runs apart.", className="sub")], className="menu")],
        className="columns-box",
    )  # fmt: skip


def _chosen(access: Access) -> html.Div:
    may = access.grants(Right.CHANGE)
    return box(
        html.Span(id="rn-count", className="label num"),
        html.A(
            [icon("training", 16), "Overlay the curves"], id="rn-overlay", href="/training", className="jump js-nav"
        ),
        html.A([icon("scales", 16), "Evaluate"], id="rn-evaluate", href="/evaluate", className="jump js-nav"),
        button("Pin", "pin", id="rn-pin", n_clicks=0, size="xs", disabled=True),
        button("Delete", "close", id="rn-delete", n_clicks=0, size="xs", disabled=True),
        html.Span(
            "Double-click beside a name, on tags or a note to change it." if may else access.refusal(Right.CHANGE),
            className="sub push hide-sm",
        ),
        id="rn-chosen",
        cls="row chosen-row",
        hidden=True,
    )


def _frontier_card() -> html.Section:
    control = dmc.SegmentedControl(
        id="rn-over", data=list(figures.OVER), value=figures.OVER[0], size="xs", **{"aria-label": "Vertical axis"}
    )
    return _card("frontier", "Reward and KL frontier", control)


def _card(key: str, title: str, control: Any = None) -> html.Section:
    note = html.P(id=f"rn-{key}-note", className="sub wrap")
    head = card_head(html.H2(title, id=f"rn-{key}-name"), note, control, cls="wrap")
    return card(head, chart(f"rn-{key}", 330, f"#rn-{key}-name #rn-{key}-note"), cls="chart")


def _importance_card() -> html.Section:
    control = dmc.SegmentedControl(
        id="rn-measure", data=_FIELDS, value="accuracy", size="xs", **{"aria-label": "Measure explained"}
    )
    note = html.P(id="rn-importance-note", className="sub wrap")
    head = card_head(html.H3("What mattered"), note, control, cls="wrap")
    return card(head, html.Div(id="rn-importance", className="weights"), cls="chart")
