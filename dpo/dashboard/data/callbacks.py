"""What the Data page does: uploads, the look at a source, audits, the table, and the export."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlencode

from dash import ALL, Dash, Input, Output, State, ctx, html, no_update
from typing_extensions import TypedDict

from dpo.counting import counted
from dpo.dashboard.audit_jobs import AuditJobs
from dpo.dashboard.browser import also, in_browser
from dpo.dashboard.components import card, problem_card
from dpo.dashboard.data import mapping, pairs
from dpo.dashboard.data.cards import finding_cards, length_line, lengths, remedies, under_way
from dpo.dashboard.data.cleaning import verdict
from dpo.dashboard.data.export import EXPORT
from dpo.dashboard.data.page import MODELS
from dpo.dashboard.data.table import GridRequest, TableQuery, codes_of, listed, select, with_rows
from dpo.dashboard.web.names import Allowed
from dpo.dashboard.web.schema import Count
from dpo.errors import ConfigError, DpoError, quoted
from dpo.hub import forbidden
from dpo.preferences.audit.remedies import column_flags
from dpo.preferences.normalise import Columns

_ROLES = ("prompt", "chosen", "rejected")
_SELECTS = [Output(f"da-{role}-column", part) for role in _ROLES for part in ("data", "value")]
_NAMED = [f"da-{role}-column" for role in _ROLES]


class Selection(TypedDict):
    """What `da-query` holds: the pairs on the table, as `TableQuery.to_json` writes them, and of which audit."""

    json: str
    count: Count
    job: str


class Place(TypedDict, total=False):
    """A chosen row of the table."""

    index: Count


def register(app: Dash, audits: AuditJobs, allowed: Allowed) -> None:
    """All callbacks of the page."""
    _naming(app, audits, allowed)
    _choosing(app, audits)
    _auditing(app, audits)
    _listing(app, audits)
    _turning(app, audits)
    _linking(app)
    shown = (Input("da-search", "value"), Input("da-finding", "value"), Input("da-audited", "data"))
    in_browser(app, "data.refresh", Output("da-refreshed", "data"), *shown)
    in_browser(app, "data.select", Output("da-marked", "data"), Input("da-at", "data"), Input("da-query", "data"))


def _naming(app: Dash, audits: AuditJobs, allowed: Allowed) -> None:
    """A file by its path, and the end of an audit that takes too long."""

    @app.callback(
        also("da-source", "data"), also("da-source", "value"), also("da-problem", "children"),
        Output("da-path", "error"),
        Input("da-path", "n_submit"), State("da-path", "value"), prevent_initial_call=True,
    )  # fmt: skip
    def name(_: int | None, path: str | None) -> tuple[Any, ...]:
        if not path or not path.strip():
            return no_update, no_update, no_update, None
        try:
            value = audits.add(allowed.file(path.strip()))
        except DpoError as error:
            return no_update, no_update, no_update, str(error)
        return audits.offered(), value, None, None

    @app.callback(
        Output("da-cancelled", "data"), Input({"type": "da-cancel", "key": ALL}, "n_clicks"), prevent_initial_call=True
    )
    def cancel(clicks: list[int | None]) -> Any:
        if any(clicks):
            audits.cancel(ctx.triggered_id["key"])
        return no_update


def _choosing(app: Dash, audits: AuditJobs) -> None:
    @app.callback(
        Output("da-source", "data"), Output("da-source", "value"),
        also("da-problem", "children"),
        Input("da-upload", "contents"), State("da-upload", "filename"), prevent_initial_call=True,
    )  # fmt: skip
    def upload(content: str | None, name: str | None) -> tuple[Any, Any, Any]:
        if not content or not name:
            return no_update, no_update, no_update
        try:
            value = audits.receive(name, content)
        except DpoError as error:
            return no_update, no_update, problem_card(str(error))
        return audits.offered(), value, None

    @app.callback(
        Output("da-layout", "data"), Input({"type": "da-reading", "key": ALL}, "n_clicks"), prevent_initial_call=True
    )
    def choose(clicks: list[int | None]) -> Any:
        # The buttons call this when they appear, too.
        return ctx.triggered_id["key"] or None if any(clicks) and ctx.triggered_id else no_update

    @app.callback(
        Output("da-detect", "children"), Output("da-problem", "children"), Output("da-audit", "disabled"),
        Output("da-command", "children"), Output("da-columns", "open"),
        *(also(f"da-{name}", "data") for name in ("layout", "job", "audited")),
        also("da-cards", "children"), also("da-below", "hidden"),
        *_SELECTS, Output("da-looked", "data"),
        Input("da-source", "value"), Input("da-layout", "data"), Input("da-swap", "checked"),
        *(Input(name, "value") for name in _NAMED),
        prevent_initial_call="initial_duplicate",
    )  # fmt: skip
    def look(value: str | None, layout: str | None, swap: bool | None, *named: str | None) -> tuple[Any, ...]:
        other = ctx.triggered_id in (None, "da-source")  # another source: what was chosen for the last one is void
        columns = Columns(swap=bool(swap)) if other else _columns(named, layout, swap)
        line = f"dpo data audit {shlex.quote(audits.named(value or ''))}{column_flags(columns)}"
        # What was audited before was something else.
        gone: tuple[Any, ...] = (columns.layout, None, None, [], True)
        try:
            found = audits.look(value or "", columns)
        except DpoError as error:
            return None, problem_card(str(error)), True, line, no_update, *gone, *_emptied(), value
        if found is None:
            asked = "is taken from the local cache" if forbidden() else "is fetched from the hub"
            text = card(html.P(f"{value} {asked} when it is audited; its layout is shown then.", className="sub"),
                        cls="pad")  # fmt: skip
            return text, None, False, line, no_update, *gone, *_emptied(), value
        chosen = [columns.prompt, columns.chosen, columns.rejected]
        selects = [part for name in chosen for part in (found.columns, name)]
        if found.problem:
            message = f"{audits.label(value or '')}: {found.problem}. Here, choose the columns above."
            return None, problem_card(message), True, line, True, *gone, *selects, value
        if len(found.readings) > 1:
            return mapping.question(found), None, True, line, no_update, *gone, *selects, value
        shown = mapping.recognised(found, columns.layout is not None)
        return shown, None, False, line, no_update, *gone, *selects, value


def _auditing(app: Dash, audits: AuditJobs) -> None:
    # `da-looked` is an input so that a click while a source is still looked at waits for the answer: it forgets the
    # audit before and sets the columns, so an audit that started earlier would be forgotten, or read others' columns.
    in_browser(app, "data.start", Output("da-start", "data"), Input("da-audit", "n_clicks"), Input("da-looked", "data"))

    @app.callback(
        Output("da-job", "data"), Output("da-poll", "disabled"), also("da-problem", "children"),
        Input("da-start", "data"),
        State("da-source", "value"), State("da-model", "value"), State("da-layout", "data"),
        State("da-swap", "checked"), *(State(name, "value") for name in _NAMED),
        prevent_initial_call=True,
    )  # fmt: skip
    def start(
        _: int, value: str | None, model: str | None, layout: str | None, swap: bool | None, *named: str | None
    ) -> tuple[Any, bool, Any]:
        try:
            if model and model not in MODELS:
                raise ConfigError(f"{quoted(model)} is none of {', '.join(MODELS)}: choose one of them")
            job = audits.start(value or "", model or MODELS[0], _columns(named, layout, swap))
        except DpoError as error:
            return no_update, True, problem_card(str(error))
        return job.ident, False, None

    @app.callback(
        Output("da-progress", "children"), also("da-detect", "children"),
        Output("da-cards", "children"), Output("da-below", "hidden"),
        Output("da-lengths", "figure"), Output("da-length-line", "children"), Output("da-sub", "children"),
        also("da-problem", "children"), also("da-poll", "disabled"),
        Output("da-finding", "data"), Output("da-finding", "value"), Output("da-search", "value"),
        also("da-command", "children"), Output("da-audited", "data"),
        Input("da-poll", "n_intervals"), State("da-job", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def poll(_: int, ident: str | None) -> tuple[Any, ...]:
        job = audits.job(ident)
        if job is None:
            gone = problem_card("This audit is no longer kept: start it again") if ident else None
            return None, *[no_update] * 6, gone, True, *[no_update] * 5
        if not job.over:
            shown = card(*under_way(html.H2("Auditing"), job.ident, job.step, job.share), cls="pad")
            return shown, no_update, [], True, *[no_update] * 2, job.label, None, False, *[no_update] * 5
        if job.audit is None:
            asked = job.preview is not None and len(job.preview.readings) > 1
            question = mapping.question(job.preview) if asked and job.preview is not None else no_update
            problem = None if asked else problem_card(job.problem)
            return None, question, [], True, *[no_update] * 2, job.label, problem, True, *[no_update] * 5
        result = job.audit
        read = [mapping.recognised(job.preview, job.columns.layout is not None, result)] if job.preview else []
        return (
            html.P(job.note, className="sub") if job.note else None, read,
            [verdict(job, result), *finding_cards(result)], False,
            lengths(result), length_line(result), f"{job.label} · {result.scope()} · audited in {result.seconds:.1f} s",
            None, True, with_rows(result), "", "", remedies(result, job.source, column_flags(job.columns)), job.ident,
        )  # fmt: skip


def _listing(app: Dash, audits: AuditJobs) -> None:
    @app.callback(
        Output("da-rows", "getRowsResponse"), Output("da-query", "data"), Output("da-count", "children"),
        Output("da-at", "data"),
        Input("da-rows", "getRowsRequest"),
        State("da-search", "value"), State("da-finding", "value"), State("da-audited", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def rows(request: GridRequest | None, text: str | None, finding: str | None, ident: str | None) -> tuple[Any, ...]:
        job = audits.job(ident)
        if request is None or job is None or job.audit is None:
            return {"rowData": [], "rowCount": 0}, None, "", no_update
        asked = TableQuery.of_request(text, finding, request)
        places = select(job, asked)
        start = request["startRow"]
        response = {
            "rowData": listed(job, places[start : request["endRow"]], start), "rowCount": len(places)
        }  # fmt: skip
        if start:  # scrolled: the selection is the same
            return response, no_update, no_update, no_update
        known = {"json": asked.to_json(), "count": len(places), "job": ident}
        every = len(job.signals.row) if job.signals is not None else 0
        count = counted(len(places), "pair") if len(places) == every else f"{len(places):,} of {counted(every, 'pair')}"
        return response, known, count, 0


def _turning(app: Dash, audits: AuditJobs) -> None:
    """The pair that is read: the one before and after, and how it is shown."""

    @app.callback(
        also("da-at", "data"),
        Input("da-rows", "selectedRows"), Input("da-previous", "n_clicks"), Input("da-next", "n_clicks"),
        State("da-at", "data"), State("da-query", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def go(selected: list[Place] | None, _: int, __: int, at: Count | None, known: Selection | None) -> Any:
        if ctx.triggered_id == "da-rows":
            to = selected[0].get("index") if selected else None
        else:
            to = (at or 0) + (1 if ctx.triggered_id == "da-next" else -1)
        last = known["count"] - 1 if known else -1
        return to if to is not None and to != at and 0 <= to <= last else no_update

    @app.callback(
        Output("da-pair", "children"), Output("da-place", "children"),
        Input("da-at", "data"), Input("da-query", "data"), Input("da-view", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    def show(at: Count | None, known: Selection | None, view: str | None) -> tuple[Any, Any]:
        job = audits.job(known["job"]) if known else None
        if job is None or job.data is None or known is None:
            return None, ""
        if not known["count"]:
            return html.P("No pair holds this text.", className="sub"), "0 of 0"
        at = min(at or 0, known["count"] - 1)
        place = int(select(job, TableQuery.from_json(known["json"]))[at])
        row = job.data.pairs[place]["row"]
        codes = [html.Span(code, className="pill") for code in codes_of(job, place)]
        head = html.Div([html.Span(f"Row {row:,}", className="sub num"), *codes], className="row tight codes")
        return [head, *pairs.shown(job, place, view)], f"{at + 1:,} of {known['count']:,}"


def _linking(app: Dash) -> None:
    @app.callback(
        Output("da-export", "href"), Output("da-all", "href"), Output("da-export-button", "disabled"),
        Output("da-all-button", "disabled"), Output("da-export-button", "children"),
        Input("da-query", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def link(known: Selection | None) -> tuple[Any, ...]:
        if known is None:
            return None, None, True, True, "Export selection"
        every = {"job": known["job"]}
        some = f"{EXPORT}?{urlencode(every | {'asked': known['json']})}" if known["count"] else None
        return some, f"{EXPORT}?{urlencode(every)}", not known["count"], False, f"Export selection ({known['count']:,})"


def _columns(named: tuple[str | None, ...], layout: str | None, swap: bool | None) -> Columns:
    prompt, chosen, rejected = (name or None for name in named)
    return Columns(prompt, chosen, rejected, layout or None, bool(swap))


def _emptied() -> list[Any]:
    return [[], None] * len(_ROLES)
