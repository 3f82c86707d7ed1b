"""Layout of the Lens page; `assets/js/lens` asks for scores and draws them.

Tokens are hundreds of small elements that follow the pointer, so the browser makes them itself.
"""

from __future__ import annotations

import json
from typing import Any

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html

from dpo.dashboard.browser import also, in_browser
from dpo.dashboard.choices import by_family, references, tuned
from dpo.dashboard.components import action, box, button, card, card_head, chart, icon, page_title, tint_scale
from dpo.dashboard.lens import api
from dpo.dashboard.theme import CHOSEN, FAMILY_COLOR, NEUTRAL, REJECTED, layout
from dpo.dashboard.workbench import Workbench
from dpo.preferences.sources import SAMPLE
from dpo.preferences.split import is_held_out

_HISTOGRAMS = (("margin", "Margin"), ("chosen_reward", "Chosen reward"), ("rejected_reward", "Rejected reward"))
_NUMBER = {"type": "rightAligned", "cellClass": "ag-right-aligned-cell num"}
_SIGNED = {"function": "d3.format('+.3f')(params.value)"}


def page(workbench: Workbench) -> list[Any]:
    """The page before anything was scored."""
    return [
        page_title(
            "Lens",
            "Which tokens did DPO pull up or push down? Colour is log π/π_ref per token; reward is β times its sum.",
        ),
        _controls(workbench),
        html.Div([html.Div([_scale(), _heats(), *_running()], className="lens-main"), _side()], className="lens-grid"),
        _pairs(),
        _reproduce(),
        dcc.Store(id="lens-theme", data=_theme()),
        dcc.Store(id="lens-written"),
        dcc.Interval(id="lens-poll", interval=30_000),
    ]


def register(app: Dash, workbench: Workbench) -> None:
    """Routes for scoring, and the controls' way to the browser's code."""
    api.register(app.server, workbench)

    address = (Input("url", "pathname"), Input("url", "search"), Input("lens-theme", "data"))
    in_browser(app, "lens.show", Output("lens-written", "data"), *address, first=True)
    texts = [State(f"lens-{name}", "value") for name in ("prompt", "a", "b")]
    for function, *parts in (
        ("choose", *(Input(f"lens-{name}", "value") for name in ("policy", "reference", "beside"))),
        *((name, Input(f"lens-{name}", "value")) for name in ("mode", "unit", "clamp")),
        ("score", Input("lens-score", "n_clicks"), *texts),
        ("pairs", Input("lens-pairs-go", "n_clicks"), State("lens-source", "value")),
        ("sort", Input("lens-sort", "value"), Input("lens-which", "value")),
        *(
            ("brush", Input(f"lens-hist-{name}", event), State(f"lens-hist-{name}", "id"))
            for name, _ in _HISTOGRAMS
            for event in ("selectedData", "clickData")
        ),
        ("open", Input("lens-table", "cellClicked")),
    ):
        in_browser(app, f"lens.{function}", also("lens-written", "data"), *parts)

    @app.callback(
        Output("lens-policy", "data"),
        Output("lens-beside", "data"),
        Output("lens-reference", "data"),
        Input("lens-poll", "n_intervals"),
        prevent_initial_call=True,
    )
    def refresh(_: int) -> tuple[Any, Any, Any]:
        """Runs that have finished since the page was opened can be chosen at once."""
        choices = by_family(tuned(workbench.roots))
        return choices, choices, by_family(references(workbench.roots))


def _theme() -> dict[str, Any]:
    return {
        "layout": layout(),
        "chosen": CHOSEN,
        "rejected": REJECTED,
        "neutral": NEUTRAL,
        "family": {name: color for name, color in FAMILY_COLOR.items() if name},
        "examples": _examples(),
    }


def _examples() -> list[dict[str, str]]:
    """A few pairs to begin with: sample pairs on the held-out side of every training's split."""
    rows = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines() if line.strip()]
    pairs = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows]
    held_out = [pair for pair in pairs if is_held_out(pair["prompt"], 0.05)]
    return sorted(held_out, key=lambda pair: len(pair["chosen"]) + len(pair["rejected"]))[:12]


def _controls(workbench: Workbench) -> html.Section:
    return card(_selects(workbench), _prompt(), _own_texts(), cls="pad lens-card")


def _selects(workbench: Workbench) -> html.Div:
    choices = by_family(tuned(workbench.roots))
    return box(
        dmc.Select(
            id="lens-policy", label="Policy", value="demo/gpt2-dpo", data=choices, size="sm", w=210,
            allowDeselect=False, searchable=True, nothingFoundMessage="No such run",
        ),
        dmc.Select(
            id="lens-reference", label="Reference", value=None, size="sm",
            data=by_family(references(workbench.roots)),
            w=180, clearable=True, placeholder="as in training",
        ),
        dmc.Select(
            id="lens-beside", label="Beside it", value=None, data=choices, size="sm", w=190, clearable=True,
            placeholder="no other policy",
        ),
        _labelled("Texts", dmc.SegmentedControl(
            id="lens-mode", data=["Pair", "My texts"], value="Pair", size="sm", **{"aria-label": "Texts"},
        )),
        _labelled("Unit", dmc.SegmentedControl(
            id="lens-unit", data=["Token", "Word", "Sentence"], value="Token", size="sm",
            **{"aria-label": "Unit"},
        )),
        cls="row lens-controls",
    )  # fmt: skip


def _prompt() -> html.Div:
    return box(
        dmc.Textarea(
            id="lens-prompt", label="Prompt", value="", autosize=True, minRows=1, maxRows=6, className="grow",
        ),
        box(
            action("left", "Previous pair", id="lens-previous"),
            html.Span("no pair", id="lens-place", className="sub num"),
            action("chevron", "Next pair", id="lens-next"),
            cls="row tight nowrap",
            id="lens-steps",
        ),
        cls="row nowrap lens-prompt",
    )  # fmt: skip


def _own_texts() -> html.Div:
    return box(
        html.Div(
            [
                dmc.Textarea(
                    id=f"lens-{name}", label=label, value="", autosize=True, minRows=3, maxRows=12,
                    placeholder=hint,
                )
                for name, label, hint in (
                    ("a", "Text A", "An answer to score"),
                    ("b", "Text B", "Another one to compare with; may stay empty"),
                )
            ],
            className="grid g2",
        ),
        box(
            html.P(id="lens-error", className="error-line", role="alert", hidden=True),
            html.Div(
                button("Score", "play", "filled", kbd="Ctrl ↵", id="lens-score", n_clicks=0), className="push"
            ),
            cls="row",
        ),
        id="lens-mine",
        hidden=True,
        cls="lens-mine",
    )  # fmt: skip


def _labelled(label: str, control: Any) -> html.Div:
    return html.Div([html.Div(label, className="label seg-label"), control], className="segbox")


def _scale() -> html.Div:
    return box(
        html.Span("pushed down", className="sub"),
        tint_scale(),
        html.Span("pulled up", className="sub"),
        html.Span("± 0.8 nat", id="lens-range", className="sub num"),
        html.Div(id="lens-status", className="lens-status", hidden=True, role="status"),
        box(
            html.Span("Clamp", className="label"),
            dmc.Slider(
                id="lens-clamp", value=0.8, min=0.1, max=3, step=0.1, size=4, thumbSize=14, w=110, label=None,
                thumbLabel="Clamp of the colours in nats",
            ),
            html.Span("0.8", id="lens-clamp-value", className="sub num"),
            cls="row tight push lens-clamp",
        ),
        cls="row",
    )  # fmt: skip


def _heats() -> html.Div:
    return html.Div(
        card(html.P("Tokens appear here once a pair is scored.", className="sub pad"), cls="heat-card heat-empty"),
        id="lens-heats",
        className="lens-heats",
    )


def _running() -> list[html.Section]:
    return [
        card(
            card_head(
                html.H2("Running reward", id=f"lens-run-title-{place}"),
                html.P("", className="sub", id=f"lens-run-note-{place}"),
            ),
            chart(f"lens-run-{place}", 344, f"#lens-run-title-{place} #lens-run-note-{place}"),
            cls="lens-run",
            id=f"lens-run-card-{place}",
            hidden=place > 0,
        )
        for place in (0, 1)
    ]


def _side() -> html.Aside:
    return html.Aside(
        [
            card(
                html.P("Point at a token, or use the arrow keys.", className="sub"), cls="tokcard pad", id="lens-token"
            ),
            card(
                html.H3("Shift map"),
                html.Div([html.Div(className=kind) for kind in "zms"], className="shift", id="lens-shift"),
                html.Div(id="lens-shift-text", className="row lens-shift-text"),
                html.P(
                    "Is the policy's first choice also the reference's, among its three first, or a new one?",
                    className="sub",
                ),
                cls="pad shiftcard",
            ),
        ],
        className="lens-side",
    )


def _pairs() -> html.Section:
    return card(
        _pairs_head(),
        html.Div(id="lens-pairs-status", className="lens-status in-card", hidden=True, role="status"),
        html.Div([_histograms(), _pairs_tools(), _pairs_table()], id="lens-pairs-body", hidden=True),
        cls="lens-pairs",
    )


def _pairs_head() -> html.Div:
    return card_head(
        html.H2("Many pairs"),
        html.P("Which answer of a pair the policy has learned to prefer.", id="lens-pairs-note", className="sub"),
        box(
            dmc.Select(
                id="lens-source", size="xs", w=190, allowDeselect=False, value="sample",
                data=[
                    {"value": "run", "label": "The run's held-out pairs"},
                    {"value": "sample", "label": "The sample pairs"},
                ],
                **{"aria-label": "Which pairs"},
            ),
            button("Score pairs", "play", id="lens-pairs-go", size="xs", n_clicks=0),
            cls="row tight",
        ),
        cls="wrap",
    )  # fmt: skip


def _histograms() -> html.Div:
    return html.Div(
        [
            box(
                html.H3(title, id=f"lens-hist-title-{name}"),
                chart(f"lens-hist-{name}", 150, f"#lens-hist-title-{name} #lens-pairs-note"),
                cls="lens-hist",
            )
            for name, title in _HISTOGRAMS
        ],
        className="grid g3",
    )


def _pairs_tools() -> html.Div:
    return box(
        dmc.SegmentedControl(
            id="lens-which", size="xs", value="all", **{"aria-label": "Which pairs to list"},
            data=[
                {"value": "all", "label": "All"},
                {"value": "wrong", "label": "Wrong sign"},
                {"value": "displaced", "label": "Both fell"},
            ],
        ),
        dmc.Select(
            id="lens-sort", size="xs", w=170, value="low", allowDeselect=False, **{"aria-label": "Order"},
            data=[
                {"value": "high", "label": "Largest margin"},
                {"value": "low", "label": "Smallest margin"},
                {"value": "fall", "label": "Chosen fell most"},
            ],
        ),
        html.Span(id="lens-filters", className="row tight"),
        html.Span(id="lens-count", className="sub num push"),
        cls="row lens-tools",
    )  # fmt: skip


def _pairs_table() -> dag.AgGrid:
    columns = [
        {"field": "prompt", "headerName": "Prompt", "flex": 1, "minWidth": 220, "tooltipField": "prompt"},
        {"field": "margin", "headerName": "Margin", "width": 104, "valueFormatter": _SIGNED, **_NUMBER},
        {"field": "chosen_reward", "headerName": "Chosen", "width": 104, "valueFormatter": _SIGNED, **_NUMBER},
        {"field": "rejected_reward", "headerName": "Rejected", "width": 110, "valueFormatter": _SIGNED, **_NUMBER},
        {
            "field": "margin_per_token", "headerName": "Per token", "width": 116, "valueFormatter": _SIGNED,
            "headerTooltip": "Difference of the rewards per token: comparable between T5 and GPT-2", **_NUMBER,
        },
        {"field": "finding", "headerName": "Finding", "width": 150},
    ]  # fmt: skip
    return dag.AgGrid(
        id="lens-table",
        columnDefs=columns,
        rowData=[],
        getRowId="params.data.id",
        defaultColDef={"sortable": True, "resizable": True, "suppressMovable": True},
        dashGridOptions={
            "rowHeight": 38, "headerHeight": 40, "animateRows": False, "tooltipShowDelay": 300,
            "localeText": {"noRowsToShow": "No pair is left: remove a filter"},
        },
        style={"height": 344},
        dangerously_allow_code=False,
    )  # fmt: skip


def _reproduce() -> html.Section:
    return card(
        icon("terminal"),
        html.Code("", id="lens-command"),
        box(
            button("Copy command", "copy", id="lens-copy-command", size="xs"),
            button("JSON", "download", id="lens-json", size="xs"),
            cls="row tight nowrap push",
        ),
        cls="repro",
        id="lens-repro",
        hidden=True,
    )
