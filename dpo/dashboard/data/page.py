"""Layout of the Data page; what it does is in `callbacks`."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import dcc, html

from dpo.dashboard.audit_jobs import MOST_UPLOAD
from dpo.dashboard.components import action, box, button, card, card_head, chart, command, icon, page_title
from dpo.dashboard.data import cleaning
from dpo.dashboard.data.cards import lengths
from dpo.dashboard.data.ches import ches_card
from dpo.dashboard.data.table import BLOCK, column_definitions
from dpo.dashboard.workbench import Workbench
from dpo.families import FAMILIES

MODELS = [*(facts.base for facts in FAMILIES), *(facts.word for facts in FAMILIES)]
POLL_MS = 400


def page(workbench: Workbench) -> list[Any]:
    """The page before anything is audited."""
    return [
        page_title(
            "Data",
            html.Span("Choose preference pairs and see what is wrong with them", id="da-sub"),
            dcc.Upload(
                button("Upload a file", "file"), id="da-upload", max_size=MOST_UPLOAD,
                accept=".json,.jsonl,.csv,.tsv,.parquet,.gz",
            ),
            html.A(button("Export all", "download", disabled=True, id="da-all-button"), id="da-all", tabIndex=-1),
            html.A(
                button("Export selection", "download", "filled", disabled=True, id="da-export-button"),
                id="da-export", tabIndex=-1,
            ),
        ),
        _choose(workbench.audits.offered()),
        html.Div(id="da-problem", role="alert"),
        html.Div(id="da-progress", role="status"),
        html.Div(id="da-cards", className="grid g3"),
        html.Div(id="da-detect"),
        html.Div(
            [box(_length_card(), ches_card(workbench), cls="grid"), _pairs_card()],
            className="grid data-grid", id="da-below", hidden=True,
        ),
        # The source looked at, the click that asks for an audit, the audit asked for, the reading chosen, the audit
        # shown, the selection listed, the pair shown in it.
        *(dcc.Store(id=f"da-{name}") for name in (
            "looked", "start", "job", "cancelled", "layout", "audited", "query", "at", "refreshed", "marked"
        )),
        *cleaning.preview_dialog(),
        dcc.Interval(id="da-poll", interval=POLL_MS, disabled=True),
    ]  # fmt: skip


def _choose(offered: list[dict[str, Any]]) -> html.Section:
    columns = [
        dmc.Select(
            id=f"da-{role}-column", label=f"{role.capitalize()} column", data=[], value=None, placeholder="recognised",
            clearable=True, searchable=True, size="xs", w=190,
        )
        for role in ("prompt", "chosen", "rejected")
    ]  # fmt: skip
    first = box(
        dmc.Select(
            id="da-source", label="Dataset", data=offered, value="sample", searchable=True, size="sm", w=320,
            allowDeselect=False,
        ),
        dmc.TextInput(
            id="da-path", label="or a file by its path", value="", placeholder="data/pairs.jsonl", size="sm", w=220,
        ),
        dmc.Select(
            id="da-model", label="Tokens of", data=MODELS, value=MODELS[0], size="sm", w=140, allowDeselect=False
        ),
        dmc.Switch(id="da-swap", label="Swap chosen and rejected", size="sm", checked=False),
        button("Audit", None, "filled", id="da-audit", n_clicks=0),
        cls="row end-row",
    )  # fmt: skip
    return card(
        first,
        html.Details(
            [html.Summary("Columns, if they are not recognised"), html.Div(columns, className="row")], id="da-columns"
        ),
        command("dpo data audit sample", "da-command"),
        cls="pad data-choose",
    )


def _length_card() -> html.Section:
    head = card_head(html.H3("Length"), html.P(id="da-length-line", className="sub"))
    about = "Histogram of answer lengths in characters, chosen and rejected"
    return card(head, chart("da-lengths", 280, about, lengths(None)), cls="chart")


def _pairs_card() -> html.Section:
    controls = box(
        html.H2("Pairs"),
        dmc.TextInput(
            id="da-search", value="", placeholder="Search prompts and answers", size="xs", className="grow",
            leftSection=icon("search", 14), debounce=400, **{"aria-label": "Search pairs"},
        ),
        dmc.Select(
            id="da-finding", data=[{"value": "", "label": "All pairs"}], value="", size="xs", w=190,
            allowDeselect=False, **{"aria-label": "Finding"},
        ),
        html.Span(id="da-count", className="sub num"),
        cls="row pair-controls",
    )  # fmt: skip
    grid = dag.AgGrid(
        id="da-rows", columnDefs=column_definitions(), rowModelType="infinite", className="ag-theme-quartz",
        defaultColDef={"sortable": True, "resizable": True, "suppressMovable": True},
        dashGridOptions={"rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
                         "rowHeight": 32, "headerHeight": 34, "cacheBlockSize": BLOCK, "maxBlocksInCache": 20,
                         "maxConcurrentDatasourceRequests": 1, "tooltipShowDelay": 250, "multiSortKey": "ctrl"},
        style={"height": 300},
    )  # fmt: skip
    view = box(
        box(
            action("left", "Previous pair", id="da-previous", n_clicks=0),
            html.Span(id="da-place", className="sub num"),
            action("chevron", "Next pair", id="da-next", n_clicks=0),
            cls="row tight",
        ),
        dmc.SegmentedControl(id="da-view", data=["Text", "Word diff", "Tokens"], value="Text", size="xs"),
        cls="row pair-controls spread",
    )
    return card(controls, grid, view, html.Div(id="da-pair", className="pair-box"))
