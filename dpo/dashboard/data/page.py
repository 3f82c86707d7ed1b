"""Layout and callbacks of the Data page."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from dpo.dashboard.components import button, card, command, icon, page_title
from dpo.dashboard.data import pairs
from dpo.dashboard.data.cards import detect_strip, finding_cards, length_line, lengths, remedies
from dpo.dashboard.data.desk import MOST_UPLOAD, Desk, Job
from dpo.errors import DpoError
from dpo.preferences.normalise import Columns

_POLL_MS = 400
_MODELS = ["demo/t5", "demo/gpt2", "t5", "gpt2"]
_COLUMNS = [
    {"field": "row", "headerName": "Row", "width": 80},
    {"field": "prompt", "headerName": "Prompt", "flex": 1, "minWidth": 200},
    {"field": "chosen", "headerName": "Chosen", "width": 90, "cellClass": "num"},
    {"field": "rejected", "headerName": "Rejected", "width": 90, "cellClass": "num"},
    {"field": "difference", "headerName": "Difference", "width": 100, "cellClass": "num"},
    {"field": "emoji", "headerName": "Emoji", "width": 80, "cellClass": "num"},
]


def page(desk: Desk) -> list[Any]:
    """The page before anything is audited."""
    return [
        page_title(
            "Data",
            html.Span("Choose preference pairs and see what is wrong with them", id="da-sub"),
            dcc.Upload(
                button("Upload a file", "file"), id="da-upload", max_size=MOST_UPLOAD,
                accept=".json,.jsonl,.csv,.tsv,.parquet,.gz",
            ),
            button("Export selection", "download", "filled", id="da-export", n_clicks=0, disabled=True),
        ),
        _choose(desk),
        html.Div(id="da-problem", role="alert"),
        html.Div(id="da-detect"),
        html.Div(id="da-cards", className="grid g3"),
        html.Div([_length_card(), _pairs_card()], className="grid data-grid", id="da-below", hidden=True),
        dcc.Store(id="da-job"),
        dcc.Download(id="da-download"),
        dcc.Interval(id="da-poll", interval=_POLL_MS, disabled=True),
    ]  # fmt: skip


def register(app: Dash, desk: Desk) -> None:
    """Uploads, audits, pairs and export."""

    @app.callback(
        Output("da-source", "data"), Output("da-source", "value"), Output("da-problem", "children"),
        Input("da-upload", "contents"), State("da-upload", "filename"), prevent_initial_call=True,
    )  # fmt: skip
    def upload(content: str | None, name: str | None) -> tuple[Any, Any, Any]:
        if not content or not name:
            return no_update, no_update, no_update
        try:
            value = desk.receive(name, content)
        except DpoError as error:
            return no_update, no_update, _problem(str(error))
        return desk.offered(), value, None

    @app.callback(
        Output("da-job", "data"), Output("da-poll", "disabled"), Output("da-problem", "children", allow_duplicate=True),
        Input("da-audit", "n_clicks"),
        State("da-source", "value"), State("da-model", "value"), State("da-swap", "checked"),
        State("da-prompt-column", "value"), State("da-chosen-column", "value"), State("da-rejected-column", "value"),
        State("da-layout", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    def start(
        _: int, value: str | None, model: str, swap: bool, prompt: str, chosen: str, rejected: str, layout: str
    ) -> tuple[Any, bool, Any]:
        given = [text.strip() or None for text in (prompt, chosen, rejected, layout)]
        columns = Columns(given[0], given[1], given[2], given[3], bool(swap))
        try:
            job = desk.start(value or "", model or _MODELS[0], columns)
        except DpoError as error:
            return no_update, True, _problem(str(error))
        return job.ident, False, None

    @app.callback(
        Output("da-detect", "children"), Output("da-cards", "children"), Output("da-below", "hidden"),
        Output("da-lengths", "figure"), Output("da-length-line", "children"), Output("da-sub", "children"),
        Output("da-problem", "children", allow_duplicate=True), Output("da-poll", "disabled", allow_duplicate=True),
        Output("da-finding", "data"), Output("da-finding", "value"), Output("da-export", "disabled"),
        Output("da-command", "children"),
        Input("da-poll", "n_intervals"), State("da-job", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def poll(_: int, ident: str | None) -> tuple[Any, ...]:
        job = desk.job(ident)
        if job is None:
            gone = _problem("This audit is no longer kept: start it again") if ident else None
            return (*[no_update] * 6, gone, True, *[no_update] * 4)
        if not job.over:
            return (_under_way(job), [], True, *[no_update] * 2, job.label, None, False, *[no_update] * 4)
        if job.audit is None:
            return (
                None,
                [],
                True,
                *[no_update] * 2,
                job.label,
                _problem(job.problem),
                True,
                *[no_update] * 2,
                True,
                no_update,
            )
        result = job.audit
        with_rows = [{"value": "", "label": "All pairs"}] + [
            {"value": finding.code, "label": finding.code} for finding in _once(result.findings) if finding.rows
        ]
        sub = f"{job.label} · {result.pairs:,} pairs · audited in {result.seconds:.1f} s"
        return (
            [detect_strip(result), *([html.P(job.note, className="sub")] if job.note else [])],
            finding_cards(result),
            False, lengths(result), length_line(result), sub, None, True, with_rows, "", False,
            remedies(result, job.label if job.uploaded else job.source),
        )  # fmt: skip

    @app.callback(
        Output("da-rows", "rowData"), Output("da-count", "children"), Output("da-rows", "selectedRows"),
        Input("da-search", "value"), Input("da-order", "value"), Input("da-finding", "value"),
        Input("da-below", "hidden"), State("da-job", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def find(text: str, order: str, finding: str, hidden: bool, ident: str | None) -> tuple[Any, Any, Any]:
        job = desk.job(ident)
        if hidden or job is None or job.audit is None:
            return [], "", []
        places = pairs.select(job, text or "", finding or "", order)
        rows = pairs.listed(job, places)
        more = f", the first {len(rows)} listed" if len(rows) < len(places) else ""
        return rows, f"{len(places):,} pairs{more}", rows[:1]

    @app.callback(
        Output("da-pair", "children"),
        Input("da-rows", "selectedRows"), Input("da-view", "value"), State("da-job", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def show(selected: list[dict[str, Any]] | None, view: str, ident: str | None) -> Any:
        job = desk.job(ident)
        if job is None or job.data is None:
            return None
        if not selected:
            return html.P("No pair holds this text.", className="sub")
        return pairs.shown(job, selected[0]["place"], view)

    @app.callback(
        Output("da-download", "data"),
        Input("da-export", "n_clicks"),
        State("da-search", "value"), State("da-order", "value"), State("da-finding", "value"), State("da-job", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def export(_: int, text: str, order: str, finding: str, ident: str | None) -> Any:
        job = desk.job(ident)
        if job is None or job.audit is None or not ctx.triggered_id:
            return no_update
        name = job.label.rsplit("/", 1)[-1].split(".")[0]
        return {
            "content": pairs.exported(job, pairs.select(job, text or "", finding or "", order)),
            "filename": f"{name}-selection.jsonl",
        }


def _choose(desk: Desk) -> html.Section:
    mapping = [
        dmc.TextInput(label=label, id=f"da-{ident}", value="", size="xs", placeholder="recognised", w=150)
        for label, ident in (
            ("Prompt column", "prompt-column"), ("Chosen column", "chosen-column"),
            ("Rejected column", "rejected-column"), ("Layout", "layout"),
        )
    ]  # fmt: skip
    first = html.Div(
        [
            dmc.Select(
                id="da-source", label="Dataset", data=desk.offered(), value="sample", searchable=True, size="sm", w=320,
                allowDeselect=False,
            ),
            dmc.Select(
                id="da-model", label="Tokens of", data=_MODELS, value=_MODELS[0], size="sm", w=140, allowDeselect=False
            ),
            dmc.Switch(id="da-swap", label="Swap chosen and rejected", size="sm", checked=False),
            button("Audit", None, "filled", id="da-audit", n_clicks=0),
        ],
        className="row end-row",
    )  # fmt: skip
    return card(
        first,
        html.Details([html.Summary("Columns, if they are not recognised"), html.Div(mapping, className="row")]),
        command("dpo data audit sample", "da-command"),
        cls="pad data-choose",
    )


def _length_card() -> html.Section:
    head = html.Div(
        [html.Div([html.H3("Length"), html.P(id="da-length-line", className="sub")])], className="card-head"
    )
    graph = dcc.Graph(
        id="da-lengths", figure=lengths(None), config={"displayModeBar": False, "responsive": True},
        style={"height": 280},
    )  # fmt: skip
    name = "Histogram of answer lengths in characters, chosen and rejected"
    return card(head, html.Figure(graph, className="figure", role="img", **{"aria-label": name}), cls="chart")


def _pairs_card() -> html.Section:
    controls = html.Div(
        [
            html.H2("Pairs"),
            dmc.TextInput(
                id="da-search", value="", placeholder="Search prompts and answers", size="xs", className="grow",
                leftSection=icon("search", 14), debounce=400, **{"aria-label": "Search pairs"},
            ),
            dmc.Select(
                id="da-finding", data=[{"value": "", "label": "All pairs"}], value="", size="xs", w=170,
                allowDeselect=False, **{"aria-label": "Finding"},
            ),
            dmc.Select(
                id="da-order", data=list(pairs.ORDERS), value=pairs.ORDERS[0], size="xs", w=190, allowDeselect=False,
                **{"aria-label": "Order"},
            ),
        ],
        className="row pair-controls",
    )  # fmt: skip
    grid = dag.AgGrid(
        id="da-rows", columnDefs=_COLUMNS, rowData=[], className="ag-theme-quartz",
        defaultColDef={"sortable": False, "resizable": True, "suppressMovable": True},
        dashGridOptions={"rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
                         "rowHeight": 32, "headerHeight": 34, "suppressCellFocus": False},
        style={"height": 236},
    )  # fmt: skip
    view = html.Div(
        [
            html.Span(id="da-count", className="sub num"),
            dmc.SegmentedControl(id="da-view", data=["Text", "Word diff", "Tokens"], value="Text", size="xs"),
        ],
        className="row pair-controls",
    )
    return card(controls, grid, view, html.Div(id="da-pair", className="pair-box"))


def _under_way(job: Job) -> html.Section:
    return card(
        html.Div([html.H2("Auditing"), html.P(f"{job.step.capitalize()} ({job.share:.0%})", className="sub")]),
        cls="pad",
        role="status",
    )


def _problem(text: str) -> Any:
    return card(html.Div([icon("stop", 18), html.P(text)], className="row nowrap"), cls="pad problem")


def _once(findings: Any) -> list[Any]:
    return list({finding.code: finding for finding in findings}.values())
