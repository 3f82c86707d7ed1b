"""From a view to figures: the route by which the page gets its curves."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flask import Flask, Response
from plotly.io.json import to_json_plotly  # type: ignore[import-untyped]

from dpo.dashboard.markup import to_html
from dpo.dashboard.training.charts import CHARTS, LARGE, Chart, View, figure, sentence
from dpo.dashboard.training.doctor import panel
from dpo.dashboard.training.panels import kpis, live_line, title_line
from dpo.dashboard.training.run_picker import MOST_RUNS
from dpo.dashboard.training.series import (
    AXES,
    NORMALISED,
    Curve,
    Shown,
    across,
    axis_missing,
    curve,
    read,
    reduced,
    scale_of,
    several,
    shown,
)
from dpo.dashboard.training.table import table
from dpo.dashboard.web.reading import body
from dpo.errors import RunError
from dpo.runs import Metrics
from dpo.runs.answers import answer_measures
from dpo.runs.doctor.case import starts_at_ln2

_UNITS = {"÷ β": "nats (÷ β)", "Per token": "per token of prompt and answer"}


def register(server: Flask, roots: Sequence[Path]) -> None:
    """Add `POST /api/curves`: the charts of a view that have changed since the revisions it names."""

    @server.post("/api/curves")
    def curves() -> Response:
        return Response(to_json_plotly(draw(body(), roots)), mimetype="application/json")


def draw(asked: Mapping[str, Any], roots: Sequence[Path]) -> dict[str, Any]:
    """`charts` as `{key, figure, note, hidden, revision}`; `summary` and `table` if `asked` wants them.

    `asked` has `runs` (paths), `axis`, `smoothing` (0 to 99), `log`, `unit`, `span` (part of the
    axis or null), `charts` (revision known to the page, or null, by chart), `summary` (whether tiles
    and findings are wanted) and `table` (the chart whose points are wanted as `head` and `rows`).
    What is missing or of another kind counts as not said.
    """
    runs, known = asked.get("runs"), asked.get("charts")
    entries, problems = chosen([str(path) for path in runs] if isinstance(runs, list) else [], roots)
    known = known if isinstance(known, dict) else {}
    axis = next((name for name in AXES if name == asked.get("axis")), "Step")
    unit = next((name for name in NORMALISED if name == asked.get("unit")), "Reward")
    smoothing = asked.get("smoothing")
    weight = min(max(float(smoothing), 0.0), 99.0) / 100 if isinstance(smoothing, int | float) else 0.0
    seen = _span(asked.get("span"), entries, axis)
    log_y = bool(asked.get("log"))
    key = zlib.crc32(repr((sorted(str(entry.run.path) for entry in entries), unit, axis, log_y)).encode())
    ln2 = any(starts_at_ln2(entry.run) for entry in entries)
    view = View(axis, log_y, several(entries), seen, f"{key:x}", ln2)
    missing = axis_missing(entries, axis)
    drawn = []
    for chart in CHARTS:
        if chart.key not in known:
            continue
        first, second = curves_of(entries, chart, axis, weight, unit)
        first, second = ([reduced(item, seen) for item in items] for items in (first, second))
        # The three main charts always stand; a small one appears when its measure was logged.
        if chart not in LARGE and not any(len(item.x) or len(item.eval_x) for item in first):
            made: dict[str, Any] = {"key": chart.key, "hidden": True, "revision": 0}
        else:
            note = sentence(chart, first, second, view, missing)
            if chart.reward and unit in _UNITS:
                note += f" · {_UNITS[unit]}"
            made = {"key": chart.key, "hidden": False, "figure": figure(chart, first, second, view), "note": note}
            made["revision"] = zlib.crc32(repr((made["figure"]["layout"], note)).encode())
        if made["revision"] != known[chart.key]:
            drawn.append(made)
    wanted = next((chart for chart in CHARTS if chart.key == asked.get("table")), None)
    return {
        "charts": drawn,
        "span": seen,
        "summary": _summary(entries, problems) if asked.get("summary") else None,
        "table": None if wanted is None else table(wanted, curves_of(entries, wanted, axis, weight, unit), view, unit),
    }


def _summary(entries: Sequence[Shown], problems: Sequence[str]) -> dict[str, str]:
    """The tiles, the doctor's findings and the lines of the title, as HTML."""
    return {
        "kpis": to_html(kpis(entries, problems)),
        "findings": to_html(panel(entries)),
        "sub": to_html(title_line(entries)),
        "live": to_html(live_line(entries)),
    }


def chosen(selected: Sequence[str] | None, roots: Sequence[Path]) -> tuple[list[Shown], list[str]]:
    """The runs to draw, and in one line each what could not be read."""
    found, problems = [], []
    for path in (selected or [])[:MOST_RUNS]:
        if not inside(path, roots):
            problems.append(f"{path} is in none of the directories shown here: start dpo serve with --runs DIR")
            continue
        try:
            found.append(read(path))
        except RunError as error:
            problems.append(str(error))
    entries = shown(found)
    problems += [f"{entry.label}: {problem}" for entry in entries for problem in entry.run.problems()]
    return entries, problems


def curves_of(
    entries: Sequence[Shown], chart: Chart, axis: str, weight: float, normalised: str
) -> tuple[list[Curve], list[Curve]]:
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
        first.append(curve(entry, (logged or chart.first)[0], axis, smooth, scale, source))
        if chart.second is not None:
            second.append(curve(entry, chart.second, axis, smooth, scale, source))
    return first, second


def _source(entry: Shown, chart: Chart) -> Metrics:
    if chart.source == "answers":
        return answer_measures(entry.run.samples())
    return entry.run.hardware() if chart.source == "hardware" else entry.metrics


def inside(path: str, roots: Sequence[Path]) -> bool:
    """A page shows runs of its directories only, whatever its address asks for."""
    try:
        wanted = Path(os.path.realpath(path))
    except ValueError:  # NUL or half a character
        return False
    return any(wanted.is_relative_to(os.path.realpath(root)) for root in roots)


def _span(span: Any, entries: Sequence[Shown], axis: str) -> tuple[float, float] | None:
    """The part of the axis that was zoomed to; None where no run of those on screen has a point in it."""
    if not (isinstance(span, list) and len(span) == 2 and all(isinstance(end, int | float) for end in span)):
        return None
    ends = [across(entry.metrics, axis, entry.metrics.arrays["step"]) for entry in entries if entry.metrics.rows]
    if not any(len(places) and places[0] <= span[1] and places[-1] >= span[0] for places in ends):
        return None
    return float(span[0]), float(span[1])
