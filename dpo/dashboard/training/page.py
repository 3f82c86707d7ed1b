"""Layout and callbacks of the Training page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update

from dpo.dashboard.compare.arms import note
from dpo.dashboard.components import card, command, glyph, icon, page_title
from dpo.dashboard.shell import Page
from dpo.dashboard.theme import FAMILY_LABEL
from dpo.dashboard.training.charts import CHARTS, LARGE, SMALL, Chart, figure, sentence
from dpo.dashboard.training.panels import kpis, said, title_line
from dpo.dashboard.training.series import AXES, Curve, curve, ranked, read, signature
from dpo.errors import RunError
from dpo.runs import Metrics, Run, find_runs

_LIVE_MS, _IDLE_MS = 1000, 5000
_MOST_RUNS = 6
_Shown = list[tuple[Run, int, Metrics]]


def page(roots: Sequence[Path]) -> Page:
    """The page with the newest DPO run of each family chosen."""
    runs = find_runs(roots)
    body = [
        html.Div(
            [
                _rail(runs, preselected(runs)),
                html.Div(
                    [
                        page_title(
                            "Training",
                            html.Span(id="tr-sub"),
                            html.Span(id="tr-live", className="pill num", hidden=True),
                        ),
                        html.Div(id="tr-kpis"),
                        _controls(),
                        html.Div([_chart_card(chart) for chart in LARGE], className="grid g3"),
                        html.Div([_chart_card(chart) for chart in SMALL], className="grid g3"),
                        _said_card(),
                    ],
                    className="main-col",
                ),
            ],
            className="with-rail",
            id="tr-full",
            hidden=not runs,
        ),
        _empty(roots, bool(runs)),
        dcc.Interval(id="tr-poll", interval=_IDLE_MS),
        dcc.Store(id="tr-signature", data=_signature(runs)),
        dcc.Store(id="tr-written"),
    ]
    return Page("/training", "training", "Training", body)


def preselected(runs: Sequence[Run]) -> list[str]:
    """The newest DPO run of each family, healthy ones first; without any, the newest run."""
    chosen = []
    for family in ("t5", "gpt2"):
        candidates = [run for run in runs if run.kind == "dpo" and run.family == family and run.problem is None]
        candidates.sort(key=lambda run: run.policy_path is None and run.state != "running")
        chosen += [str(run.path) for run in candidates[:1]]
    return chosen or [str(run.path) for run in runs[:1]]


def register(app: Dash, roots: Sequence[Path]) -> None:
    """Live updates, charts and answers."""

    @app.callback(
        Output("tr-signature", "data"), Output("tr-poll", "interval"), Output("status-runs", "children"),
        Input("tr-poll", "n_intervals"), State("tr-signature", "data"),
    )  # fmt: skip
    def poll(_: int, known: str) -> tuple[Any, int, str]:
        runs = find_runs(roots)
        running = sum(run.state == "running" for run in runs)
        text = f"{len(runs)} runs" + (f" · {running} training" if running else "")
        now = _signature(runs)
        return (now if now != known else no_update), (_LIVE_MS if running else _IDLE_MS), text

    @app.callback(
        Output("tr-rail", "children"), Output("tr-full", "hidden"), Output("tr-empty", "hidden"),
        Input("tr-signature", "data"), Input("tr-filter", "value"), State("tr-selected", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    def list_runs(_: str, text: str, selected: list[str]) -> tuple[list[Any], bool, bool]:
        runs = find_runs(roots)
        return _rail_rows(runs, selected or [], text or ""), not runs, bool(runs)

    @app.callback(
        *(Output(f"tr-fig-{chart.key}", "figure") for chart in CHARTS),
        *(Output(f"tr-note-{chart.key}", "children") for chart in CHARTS),
        *(Output(f"tr-card-{chart.key}", "hidden") for chart in CHARTS),
        Output("tr-kpis", "children"), Output("tr-sub", "children"), Output("tr-live", "children"),
        Output("tr-live", "hidden"),
        Input("tr-signature", "data"), Input("tr-selected", "value"), Input("tr-axis", "value"),
        Input("tr-smoothing", "value"), Input("tr-log", "checked"),
    )  # fmt: skip
    def draw(_: str, selected: list[str], axis: str, smoothing: int, log_y: bool) -> tuple[Any, ...]:
        shown, problems = _shown(selected)
        several = any(rank > 0 for _, rank, _ in shown)
        weight = min(max(smoothing or 0, 0), 99) / 100
        figures, notes, hidden = [], [], []
        for chart in CHARTS:
            curves, second = _curves(shown, chart, axis, weight)
            figures.append(figure(chart, curves, second, axis, bool(log_y), several))
            notes.append(sentence(chart, curves, several))
            # The three main charts always stand; a small one appears when its measure was logged.
            hidden.append(chart not in LARGE and not any(item.x or item.eval_x for item in curves))
        live = [run for run, _, _ in shown if run.state == "running"]
        return (*figures, *notes, *hidden, kpis(shown, problems), title_line(shown), _live(live), not live)

    @app.callback(
        Output("tr-step", "max"), Output("tr-step", "marks"), Output("tr-step", "value"), Output("tr-step", "disabled"),
        Output("tr-prompt", "data"), Output("tr-prompt", "value"),
        Input("tr-signature", "data"), Input("tr-selected", "value"),
        State("tr-step", "value"), State("tr-step", "max"), State("tr-prompt", "value"),
    )  # fmt: skip
    def choose_samples(_: str, selected: list[str], place: int, most: int, prompt: str | None) -> tuple[Any, ...]:
        shown, _problems = _shown(selected)
        samples = [sample for run, _, _ in shown for sample in run.samples()]
        steps = sorted({sample.step for sample in samples})
        prompts = list(dict.fromkeys(sample.prompt for sample in samples))
        marks = [{"value": index, "label": str(step)} for index, step in enumerate(steps)]
        last = max(len(steps) - 1, 0)
        # Someone at the newest step stays at the newest as steps are added.
        value = last if place is None or place >= (most or 0) else min(place, last)
        chosen = prompt if prompt in prompts else (prompts[0] if prompts else None)
        return max(last, 1), marks, value, len(steps) < 2, prompts, chosen

    @app.callback(
        Output("tr-said", "children"),
        Input("tr-step", "value"), Input("tr-prompt", "value"), Input("tr-step", "marks"),
        State("tr-selected", "value"),
    )  # fmt: skip
    def show_samples(place: int, prompt: str | None, marks: list[dict[str, Any]], selected: list[str]) -> Any:
        shown, _problems = _shown(selected)
        steps = [int(mark["label"]) for mark in marks or []]
        step = steps[min(place or 0, len(steps) - 1)] if steps else 0
        return said(shown, step, prompt)

    app.clientside_callback(
        ClientsideFunction("training", "restore"),
        Output("tr-selected", "value"), Output("tr-axis", "value"), Output("tr-smoothing", "value"),
        Output("tr-log", "checked"),
        Input("url", "search"), State("url", "pathname"),
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("training", "remember"),
        Output("tr-written", "data"),
        Input("tr-selected", "value"), Input("tr-axis", "value"), Input("tr-smoothing", "value"),
        Input("tr-log", "checked"),
        prevent_initial_call=True,
    )  # fmt: skip


def _shown(selected: Sequence[str] | None) -> tuple[_Shown, list[str]]:
    runs: list[Run] = []
    measures: dict[Path, Metrics] = {}
    problems = []
    for path in (selected or [])[:_MOST_RUNS]:
        try:
            run, metrics = read(path)
        except RunError as error:
            problems.append(str(error))
            continue
        runs.append(run)
        measures[run.path] = metrics
    return [(run, rank, measures[run.path]) for run, rank in ranked(runs)], problems


def _curves(shown: _Shown, chart: Chart, axis: str, weight: float) -> tuple[list[Curve], list[Curve]]:
    def made(measure: str) -> list[Curve]:
        return [curve(run, metrics, measure, axis, weight, rank) for run, rank, metrics in shown]

    return made(chart.measure), made(chart.second) if chart.second else []


def _signature(runs: Sequence[Run]) -> str:
    return "|".join(f"{run.path}:{signature(run.path)}:{run.state}" for run in runs)


def _rail(runs: Sequence[Run], selected: list[str]) -> html.Aside:
    return html.Aside(
        [
            html.Details(
                [
                    html.Summary(["Runs ", icon("chevron-d", 14)], className="runs-sm"),
                    dmc.TextInput(
                        id="tr-filter", placeholder="Filter runs", leftSection=icon("search", 14), size="sm",
                        debounce=200, **{"aria-label": "Filter runs"},
                    ),
                    dmc.CheckboxGroup(
                        id="tr-selected",
                        value=selected,
                        children=html.Div(_rail_rows(runs, selected, ""), id="tr-rail"),
                    ),
                ],
                open=True,
                className="rail-fold",
            )
        ],
        className="runrail card",
    )  # fmt: skip


def _rail_rows(runs: Sequence[Run], selected: Sequence[str], text: str) -> list[Any]:
    rows: list[Any] = []
    for family in ("t5", "gpt2", None):
        of_family = [run for run in runs if run.family == family]
        matching = [run for run in of_family if text.lower() in run.name.lower()]
        if not matching:
            continue
        count = sum(str(run.path) in selected for run in of_family)
        rows.append(
            html.Div(
                [
                    html.Span(FAMILY_LABEL[family], className="label"),
                    html.Span(f"{count} of {len(of_family)} shown", className="label push"),
                ],
                className="row rail-head",
            )
        )
        rows += [_rail_row(run, str(run.path) in selected) for run in matching]
    return rows or [html.P("No run has that in its name.", className="sub pad")]


def _rail_row(run: Run, on: bool) -> html.Label:
    state = {"running": "live", "failed": "failed", "interrupted": "killed", "stopped": "stopped"}.get(run.state)
    about = (run.problem and "damaged") or (note(run) if run.kind == "dpo" else "supervised fine-tuning")
    return html.Label(
        [
            dmc.Checkbox(
                value=str(run.path), size="xs", disabled=bool(run.problem), **{"aria-label": f"Show {run.name}"}
            ),
            glyph(run.family, run.kind == "dpo"),
            html.Div(
                [html.Div(run.name, className="run-name", title=run.name), html.Div(about, className="sub num")],
                className="grow",
            ),
            html.Span(state, className=f"pill {'bad' if state == 'failed' else ''}") if state else None,
        ],
        className=f"run {'on' if on else ''}",
        title=run.problem or "",
    )


def _controls() -> html.Div:
    return html.Div(
        [
            dmc.SegmentedControl(
                id="tr-axis", data=list(AXES), value="Step", size="xs", **{"aria-label": "Horizontal axis"}
            ),
            html.Div(
                [
                    html.Span("Smoothing", className="label"),
                    dmc.Slider(
                        id="tr-smoothing", value=60, min=0, max=99, size=4, thumbSize=14, w=110, label=None,
                        thumbLabel="Smoothing",
                    ),
                ],
                className="row tight",
                style={"gap": 10},
            ),
            dmc.Switch(id="tr-log", label="Log y", size="xs", checked=False),
            html.Div(
                [
                    html.Span([html.I(className=f"k {kind}"), text], className="key")
                    for kind, text in (("raw", "raw"), ("sm", "smoothed"), ("ev", "held out"))
                ],
                className="row push hide-sm",
            ),
        ],
        className="row controls",
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
    head = html.Div(
        [html.Div([html.H3(chart.title), html.P("", className="sub", id=f"tr-note-{chart.key}")]), menu],
        className="card-head",
    )
    graph = dcc.Graph(
        id=f"tr-fig-{chart.key}",
        figure=figure(chart, [], [], "Step", False, False),
        config={"displayModeBar": False, "responsive": True},
        style={"height": chart.height},
    )
    return card(
        head,
        html.Figure(
            graph, className="figure", role="img", **{"aria-labelledby": f"tr-name-{chart.key} tr-note-{chart.key}"}
        ),
        html.Div(className="table-box", hidden=True),
        html.Span(chart.title, id=f"tr-name-{chart.key}", className="vh"),
        cls="chart",
        id=f"tr-card-{chart.key}",
        **{"data-chart": chart.key},
    )


def _said_card() -> html.Section:
    head = html.Div(
        [
            html.Div(
                [
                    html.H2("What it said"),
                    html.P("Answers to held-out prompts at step 0 and at every save, with one seed.", className="sub"),
                ]
            ),
            dmc.Select(
                id="tr-prompt", data=[], size="sm", w=340, allowDeselect=False, 
                placeholder="No probe prompts in these runs",
                **{"aria-label": "Probe prompt"},
            ),
        ],
        className="card-head wrap",
    )  # fmt: skip
    slider = html.Div(
        [
            html.Span("Step", className="label"),
            dmc.Slider(
                id="tr-step", min=0, max=1, value=None, step=1, restrictToMarks=True, marks=[], size=4, thumbSize=16,
                label=None, className="grow", mb=18, thumbLabel="Step of the answers",
            ),
        ],
        className="row nowrap step-row",
    )  # fmt: skip
    return card(head, slider, html.Div(id="tr-said", className="said"), cls="said-card")


def _empty(roots: Sequence[Path], any_runs: bool) -> html.Section:
    return card(
        html.Div(className="ghost-chart"),
        html.Div(
            [
                html.H1("No runs yet"),
                html.P("Train T5 and GPT-2 on preference pairs and their curves appear here, live.", className="sub"),
                command("dpo train --model demo/gpt2 --dataset sample --max-steps 40"),
                html.P("Runs are read from " + ", ".join(str(root) for root in roots), className="sub"),
            ],
            className="empty",
        ),
        cls="empty-card",
        id="tr-empty",
        hidden=any_runs,
    )


def _live(runs: Sequence[Run]) -> list[Any]:
    parts: list[Any] = [html.Span(className="pulse")] if runs else []
    texts = []
    for run in runs:
        step, most = run.progress.get("step", 0), run.progress.get("max_steps")
        texts.append(f"{run.name} · step {step}" + (f" of {most}" if most else ""))
    return [*parts, " | ".join(texts)]
