"""Callbacks of the Training page: live updates, one drawing per chart, answers, the address."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dash import ClientsideFunction, Dash, Input, Output, State, no_update

from dpo.dashboard.training.charts import CHARTS, LARGE, Chart, View, figure, sentence
from dpo.dashboard.training.doctor import panel
from dpo.dashboard.training.panels import kpis, live_line, title_line
from dpo.dashboard.training.rail import MOST_RUNS, rows
from dpo.dashboard.training.said import said
from dpo.dashboard.training.series import (
    Curve,
    Shown,
    across,
    axis_missing,
    curve,
    read,
    scale_of,
    several,
    shown,
)
from dpo.errors import RunError
from dpo.runs import Metrics, Run, find_runs
from dpo.runs.answers import answer_measures
from dpo.runs.live import signature

LIVE_MS, IDLE_MS = 1000, 5000


def register(app: Dash, roots: Sequence[Path]) -> None:
    """All callbacks of the page."""
    _poll(app, roots)
    for chart in CHARTS:
        _draw(app, chart)
    _summary(app)
    _answers(app)
    _view(app)


def signature_of(runs: Sequence[Run]) -> str:
    """Changes whenever one of the runs does, or another one appears."""
    text = "|".join(f"{run.path}:{signature(run.path)}:{run.state}" for run in runs)
    return f"{len(runs)}-{zlib.crc32(text.encode())}"


def _poll(app: Dash, roots: Sequence[Path]) -> None:
    @app.callback(
        Output("tr-signature", "data"), Output("tr-poll", "interval"), Output("status-runs", "children"),
        Input("tr-poll", "n_intervals"), Input("tr-paused", "data"), State("tr-signature", "data"),
    )  # fmt: skip
    def poll(_: int, paused: bool, known: str) -> tuple[Any, int, str]:
        runs = find_runs(roots)
        running = sum(run.state == "running" for run in runs)
        text = f"{len(runs)} runs" + (f" · {running} training" if running else "")
        now = signature_of(runs)
        return (no_update if paused or now == known else now), (LIVE_MS if running else IDLE_MS), text

    @app.callback(
        Output("tr-rail", "children"), Output("tr-full", "hidden"), Output("tr-empty", "hidden"),
        Input("tr-signature", "data"), Input("tr-filter", "value"), Input("tr-selected", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    def list_runs(_: str, text: str, selected: list[str]) -> tuple[list[Any], bool, bool]:
        runs = find_runs(roots)
        return rows(runs, selected or [], text or ""), not runs, bool(runs)


def _draw(app: Dash, chart: Chart) -> None:
    """One callback for each chart: the first one is on screen while the others are still drawn."""

    @app.callback(
        Output(f"tr-fig-{chart.key}", "figure"), Output(f"tr-note-{chart.key}", "children"),
        Output(f"tr-card-{chart.key}", "hidden"), Output(f"tr-rev-{chart.key}", "data"),
        Input("tr-signature", "data"), Input("tr-selected", "value"), Input("tr-axis", "value"),
        Input("tr-smoothing", "value"), Input("tr-log", "checked"), Input("tr-norm", "value"),
        Input("tr-zoom", "data"),
        State("tr-range", "data"), State("tr-cursor", "data"), State(f"tr-rev-{chart.key}", "data"),
    )  # fmt: skip
    def draw(
        _: str, selected: list[str], axis: str, smoothing: int, log_y: bool, normalised: str, zoom: Any,
        span: list[float] | None, cursor: float | None, known: int | None,
    ) -> tuple[Any, ...]:  # fmt: skip
        entries, _problems = chosen(selected)
        weight = min(max(smoothing or 0, 0), 99) / 100
        view = View(axis, bool(log_y), several(entries), (span[0], span[1]) if span else None, cursor)
        first, second = curves_of(entries, chart, axis, weight, normalised, view.span)
        made = figure(chart, first, second, view)
        text = sentence(chart, first, second, view, axis_missing(entries, axis))
        if chart.reward and normalised != "Reward":
            text += " · nats (÷ β)" if normalised == "÷ β" else " · per token of prompt and answer"
        # The three main charts always stand; a small one appears when its measure was logged.
        hidden = chart not in LARGE and not any(len(item.x) or len(item.eval_x) for item in first)
        now = zlib.crc32(repr((made["layout"], text, hidden)).encode())
        if now == known:
            return no_update, no_update, no_update, no_update
        return made, text, hidden, now


def _summary(app: Dash) -> None:
    @app.callback(
        Output("tr-kpis", "children"), Output("tr-findings", "children"), Output("tr-sub", "children"),
        Output("tr-live", "children"), Output("tr-live", "hidden"), Output("tr-pause-box", "hidden"),
        Input("tr-signature", "data"), Input("tr-selected", "value"), State("tr-paused", "data"),
    )  # fmt: skip
    def summarise(_: str, selected: list[str], paused: bool) -> tuple[Any, ...]:
        entries, problems = chosen(selected)
        live = live_line(entries)
        return kpis(entries, problems), panel(entries), title_line(entries), live, not live, not (live or paused)


def _answers(app: Dash) -> None:
    @app.callback(
        Output("tr-step", "max"), Output("tr-step", "marks"), Output("tr-step", "value"), Output("tr-step", "disabled"),
        Output("tr-prompt", "data"), Output("tr-prompt", "value"), Output("tr-probes", "data"),
        Input("tr-signature", "data"), Input("tr-selected", "value"), Input("tr-axis", "value"),
        State("tr-step", "value"), State("tr-step", "max"), State("tr-prompt", "value"),
    )  # fmt: skip
    def choose(_: str, selected: list[str], axis: str, place: int, most: int, prompt: str | None) -> tuple[Any, ...]:
        entries, _problems = chosen(selected)
        samples = [sample for entry in entries for sample in entry.run.samples()]
        steps = sorted({sample.step for sample in samples})
        prompts = list(dict.fromkeys(sample.prompt for sample in samples))
        marks = [{"value": index, "label": str(step)} for index, step in enumerate(steps)]
        last = max(len(steps) - 1, 0)
        # Someone at the newest step stays at the newest as steps are added.
        value = last if place is None or place >= (most or 0) else min(place, last)
        asked = prompt if prompt in prompts else (prompts[0] if prompts else None)
        return max(last, 1), marks, value, len(steps) < 2, prompts, asked, _places(entries, axis, steps)

    @app.callback(
        Output("tr-said", "children"),
        Input("tr-step", "value"), Input("tr-prompt", "value"), Input("tr-step", "marks"),
        State("tr-selected", "value"),
    )  # fmt: skip
    def show(place: int, prompt: str | None, marks: list[dict[str, Any]], selected: list[str]) -> Any:
        entries, _problems = chosen(selected)
        steps = [int(mark["label"]) for mark in marks or []]
        step = steps[min(place or 0, len(steps) - 1)] if steps else 0
        return said(entries, step, prompt)


def _view(app: Dash) -> None:
    """What needs no server: the address, the line at the chosen step, Pause (assets/training.js)."""
    app.clientside_callback(
        ClientsideFunction("training", "restore"),
        Output("tr-selected", "value"), Output("tr-axis", "value"), Output("tr-smoothing", "value"),
        Output("tr-log", "checked"), Output("tr-norm", "value"), Output("tr-filter", "value"),
        Input("url", "search"), State("url", "pathname"),
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("training", "remember"),
        Output("tr-written", "data"),
        Input("tr-selected", "value"), Input("tr-axis", "value"), Input("tr-smoothing", "value"),
        Input("tr-log", "checked"), Input("tr-norm", "value"), Input("tr-filter", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("training", "point"),
        Output("tr-cursor", "data"),
        Input("tr-step", "value"), Input("tr-probes", "data"),
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("training", "prompts"),
        Output("tr-prompt", "className"),
        Input("tr-prompt", "data"), Input("tr-prompt", "value"),
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("training", "axis"),
        Output("tr-range", "data"),
        Input("tr-axis", "value"), Input("tr-log", "checked"),
        prevent_initial_call=True,
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("training", "smooth"),
        Output("tr-smoothing-value", "children"),
        Input("tr-smoothing", "value"),
    )
    app.clientside_callback(
        ClientsideFunction("training", "pause"),
        Output("tr-paused", "data"), Output("tr-pause", "children"),
        Input("tr-pause", "n_clicks"),
        prevent_initial_call=True,
    )  # fmt: skip


def chosen(selected: Sequence[str] | None) -> tuple[list[Shown], list[str]]:
    """The runs to draw, and in one line each what could not be read."""
    found, problems = [], []
    for path in (selected or [])[:MOST_RUNS]:
        try:
            found.append(read(path))
        except RunError as error:
            problems.append(str(error))
    entries = shown(found)
    problems += [f"{entry.label}: {problem}" for entry in entries for problem in entry.metrics.problems]
    return entries, problems


def curves_of(
    entries: Sequence[Shown], chart: Chart, axis: str, weight: float, normalised: str,
    span: tuple[float, float] | None,
) -> tuple[list[Curve], list[Curve]]:  # fmt: skip
    """The curves of a chart's first and second measure; a run that cannot be normalised is left out."""
    first, second = [], []
    for entry in entries:
        scale = scale_of(entry, normalised) if chart.reward else 1.0
        if scale is None:
            continue
        source = _source(entry, chart)
        logged = [key for key in chart.first if source.last(key) is not None or source.last(f"eval_{key}") is not None]
        # Probe answers and sensors are few or slow: they are shown as they are.
        smooth = weight if chart.source == "measures" else 0.0
        first.append(curve(entry, (logged or chart.first)[0], axis, smooth, scale, span, source))
        if chart.second is not None:
            second.append(curve(entry, chart.second, axis, smooth, scale, span, source))
    return first, second


def _source(entry: Shown, chart: Chart) -> Metrics:
    if chart.source == "answers":
        return answer_measures(entry.run.samples())
    return entry.run.hardware() if chart.source == "hardware" else entry.metrics


def _places(entries: Sequence[Shown], axis: str, steps: Sequence[int]) -> list[float | None]:
    """Where the probe steps lie on the axis: by the first run that logged it."""
    for entry in entries:
        places = across(entry.metrics, axis, np.array(steps, dtype=float))
        if len(places):
            return [float(place) for place in places]
    return [None for _ in steps]
