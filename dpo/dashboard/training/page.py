"""Layout of the Training page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dpo.dashboard.components import box, button, card, card_head, command, icon, page_title
from dpo.dashboard.training import learn, new_run
from dpo.dashboard.training.charts import LARGE, SMALL, Chart
from dpo.dashboard.training.panels import title_line
from dpo.dashboard.training.run_picker import picker, preselected
from dpo.dashboard.training.series import AXES, NORMALISED
from dpo.dashboard.workbench import Workbench
from dpo.glossary import define

# The glossary's words for charts whose key is another one.
_WORDS = {
    "chosen": "chosen reward", "rejected": "rejected reward", "logps": "log-probability", "length": "length ratio",
    "lr": "learning rate", "grad": "gradient norm", "use": "utilisation",
    "win_rate": "win rate",
}  # fmt: skip


def page(workbench: Workbench) -> list[Any]:
    """The page with the newest DPO run of each family chosen."""
    listing = workbench.runs.look()
    runs = listing.runs
    chosen = preselected(runs)
    pause = dmc.Button("Pause", id="tr-pause", leftSection=icon("pause"), variant="default", size="xs", n_clicks=0)
    return [
        box(
            picker(runs, chosen),
            box(
                page_title(
                    "Training",
                    html.Span(title_line([run for run in runs if str(run.path) in chosen]), id="tr-sub"),
                    html.Span(id="tr-live", className="pill num", hidden=True),
                    html.Span([_notify(), pause], id="tr-pause-box", className="row tight nowrap", hidden=True),
                    html.Span("", id="tr-alert", className="vh", role="status"),
                    button("New run", "plus", size="xs", className="js-new-run"),
                ),
                html.Div(html.Div(className="card kpis-room", style={"--runs": len(chosen)}), id="tr-kpis"),
                _controls(),
                box(
                    box(
                        html.H2("Charts", className="vh"),
                        html.Div([_chart_card(chart) for chart in LARGE], className="grid g3"),
                        _doctor_card(),
                        html.Div([_chart_card(chart) for chart in SMALL], className="grid g3 smalls"),
                        _timeline(),
                        cls="charts",
                    ),
                    _answers_card(),
                    cls="studio",
                ),
                learn.panel(),
                cls="main-col",
            ),
            cls="with-picker",
            id="tr-full",
            hidden=not runs,
        ),
        _empty(workbench.roots, bool(runs)),
        new_run.drawer(),
        dcc.Store(id="tr-list", data=listing.names),
        dcc.Store(id="tr-answers", data=listing.answers),
        dcc.Store(id="tr-probes", data=[]),
        dcc.Store(id="tr-own", data={"prompt": None, "answers": {}}),
        dcc.Store(id="tr-drawn"),
        dcc.Store(id="tr-pointed"),
        dcc.Store(id="tr-written"),
    ]


def _notify() -> html.Button:
    """Whether the desktop tells when a run ends, stands still or diverges (assets/js/training/alerts.js)."""
    return html.Button("Notify me", type="button", id="tr-notify", className="ex", title="When a run ends or stalls")


def _controls() -> html.Div:
    return box(
        dmc.SegmentedControl(
            id="tr-axis", data=list(AXES), value="Step", size="xs", **{"aria-label": "Horizontal axis"}
        ),
        dmc.SegmentedControl(
            id="tr-norm", data=list(NORMALISED), value="Reward", size="xs", **{"aria-label": "Unit of rewards"}
        ),
        box(
            html.Span("Smoothing", className="label"),
            dmc.Slider(
                id="tr-smoothing", value=60, min=0, max=99, size=4, thumbSize=14, w=96, label=None,
                thumbLabel="Smoothing",
            ),
            html.Span("0.60", id="tr-smoothing-value", className="label num"),
            cls="row tight nowrap",
            style={"gap": 10},
        ),
        # Rewards, KL and shares have zeros and negative values, which a logarithmic axis leaves out.
        dmc.Switch(id="tr-log", label="Log loss, rate, gradient", size="xs", checked=False),
        html.Div(
            [
                html.Span([html.I(className=f"k {kind}"), text], className="key")
                for kind, text in (("raw", "raw"), ("sm", "smoothed"), ("ev", "held out"))
            ],
            className="row push hide-sm",
        ),
        cls="row controls",
    )  # fmt: skip


def _chart_card(chart: Chart) -> html.Section:
    acts = (("full", "Full screen"), ("table", "Table"), ("png", "PNG"), ("svg", "SVG"), ("csv", "CSV"))
    menu = html.Details(
        [
            html.Summary(icon("more"), className="icon-button", **{"aria-label": f"More for {chart.title}"}),
            html.Div(
                [html.Button(text, type="button", className="js-chart", **{"data-do": what}) for what, text in acts],
                className="menu",
            ),
        ],
        className="menu-box",
    )
    title = box(
        html.H3(chart.title, title=define(_WORDS.get(chart.key, chart.key))),
        html.Span(chart.unit, id=f"tr-unit-{chart.key}", className="unit"),
        cls="row tight nowrap",
    )
    lines = box(
        html.P("", className="sub found", id=f"tr-found-{chart.key}"),
        html.P("", className="sub", id=f"tr-note-{chart.key}"),
    )
    head = card_head(title, lines, menu)
    named = " ".join(f"tr-{part}-{chart.key}" for part in ("name", "found", "note"))
    # Drawn by assets/js/training/drawing.js.
    graph = html.Div(
        html.Div(className="plot"), id=f"tr-fig-{chart.key}", className="dash-graph", style={"height": chart.height}
    )
    return card(
        head,
        html.Figure(graph, className="figure", role="img", **{"aria-labelledby": named}),
        html.Div(className="table-box", hidden=True),
        html.Span(chart.title, id=f"tr-name-{chart.key}", className="vh"),
        cls=f"chart{' wide' if chart.wide else ''}",
        id=f"tr-card-{chart.key}",
        **{"data-chart": chart.key},
    )


def _doctor_card() -> html.Section:
    note = html.P("Rules over the record: what happened, and what to change.", className="sub")
    head = card_head(html.H2("Curve doctor"), note)
    return card(head, html.Div(id="tr-findings"), cls="doctor", id="tr-doctor")


def _answers_card() -> html.Section:
    """The answers at the chosen step, docked beside the charts."""
    head = card_head(
        html.H2("What it said"),
        html.P("At the step of the timeline. Words new since the step before are marked.", className="sub"),
    )
    prompt = box(
        dmc.Select(
            id="tr-prompt", data=[], size="sm", className="grow", allowDeselect=False,
            placeholder="No probe prompts in these runs",
            **{"aria-label": "Probe prompt"},
        ),
        html.Span([dmc.Kbd("↑"), dmc.Kbd("↓")], className="key hide-sm", title="Another prompt, over the answers"),
        cls="row nowrap prompt-row",
    )  # fmt: skip
    texts = html.Div(id="tr-texts", className="answers")
    return card(head, prompt, texts, _ask(), cls="answers-card", **{"aria-label": "What it said"})


def _timeline() -> html.Section:
    """One line of time for all curves and the answers: a stop for each step with answers."""
    play = html.Button(
        icon("play"), type="button", id="tr-play", className="play", **{"aria-label": "Play the training"}
    )
    slider = dmc.Slider(
        id="tr-step", min=0, max=1, value=None, step=1, restrictToMarks=True, marks=[], size=4, thumbSize=16,
        label=None, className="grow", mb=18, thumbLabel="Step of the answers",
    )  # fmt: skip
    keys = html.Span([dmc.Kbd("["), dmc.Kbd("]")], className="key hide-sm", title="The step before, the next step")
    return card(play, html.Span("Step", className="label"), slider, keys, cls="timeline", **{"aria-label": "Timeline"})


def _ask() -> html.Div:
    """A prompt of one's own for every checkpoint (assets/js/training/checkpoints.js asks)."""
    return box(
        dmc.TextInput(
            id="tr-ask", placeholder="Your own prompt", size="sm", className="grow",
            **{"aria-label": "Your own prompt for every checkpoint"},
        ),
        html.Div(button("Answer at every checkpoint", "play", id="tr-ask-go"), id="tr-ask-go-box"),
        html.Div(button("Stop", "square", id="tr-ask-stop"), id="tr-ask-stop-box", hidden=True),
        html.P("", id="tr-ask-message", className="sub num", role="status"),
        cls="row ask-row",
    )  # fmt: skip


def _empty(roots: Sequence[Path], any_runs: bool) -> html.Section:
    return card(
        html.Div(className="ghost-chart"),
        box(
            html.H1("No runs yet"),
            html.P("Train T5 and GPT-2 on preference pairs and their curves appear here, live.", className="sub"),
            button("Start a 2-minute demo run", "play", className="js-new-run", **{"data-preset": "demo"}),
            command("dpo train --model demo/gpt2 --dataset sample --max-steps 40"),
            html.P("Or bring in the logs of another trainer:", className="sub"),
            command("dpo runs import DIRECTORY"),
            html.P("Runs are read from " + ", ".join(str(root) for root in roots), className="sub"),
            cls="empty",
        ),
        cls="empty-card",
        id="tr-empty",
        hidden=any_runs,
    )
