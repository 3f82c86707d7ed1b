"""From a view to figures: the route by which the page gets its curves."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response

from dpo.dashboard.markup import to_html
from dpo.dashboard.run_reader import RunReader, Shown, several
from dpo.dashboard.training.charts import CHARTS, LARGE, Chart, View, call, figure, sentence
from dpo.dashboard.training.doctor import panel
from dpo.dashboard.training.findings import finding
from dpo.dashboard.training.panels import kpis, live_line, title_line
from dpo.dashboard.training.series import (
    AXES,
    NORMALISED,
    Curve,
    across,
    axis_missing,
    curve,
    difference,
    reduced,
    scale_of,
)
from dpo.dashboard.training.sketches import Sketches
from dpo.dashboard.training.table import table
from dpo.dashboard.web.reading import body
from dpo.runs import Metrics
from dpo.runs.answers import answer_measures
from dpo.runs.doctor.case import starts_at_ln2

_UNITS = {"÷ β": "nats (÷ β)", "Per token": "per token of prompt and answer"}


def register(server: Flask, reader: RunReader) -> None:
    """Add `POST /api/curves`: the charts of a view that have changed since the revisions it names."""

    sketches = Sketches(draw, reader)

    @server.post("/api/curves")
    def curves() -> Response:
        content, key = sketches.answer(body())
        response = Response(content, mimetype="application/json")
        if key is not None:
            response.set_etag(key)  # compressed once for all (`web.compression`)
        return response


def draw(asked: Mapping[str, Any], reader: RunReader) -> dict[str, Any]:
    """`charts` as `{key, figure, note, finding, hidden, revision}`; `summary` and `table` if `asked` wants them.

    `asked` has `runs` (paths), `axis`, `smoothing` (0 to 99), `log`, `unit`, `span` (part of the
    axis or null), `charts` (revision known to the page, or null, by chart), `summary` (whether tiles
    and findings are wanted) and `table` (the chart whose points are wanted as `head` and `rows`).
    What is missing or of another kind counts as absent.
    """
    runs, known = asked.get("runs"), asked.get("charts")
    entries, problems = reader.shown([str(path) for path in runs] if isinstance(runs, list) else [])
    known = known if isinstance(known, dict) else {}
    drawing = _Drawing.of(asked, entries)
    drawn = [drawing.chart(chart) for chart in CHARTS if chart.key in known]
    wanted = next((chart for chart in CHARTS if chart.key == asked.get("table")), None)
    return {
        "charts": [made for made in drawn if made["revision"] != known[made["key"]]],
        "span": drawing.view.span,
        "summary": _summary(entries, problems) if asked.get("summary") else None,
        "table": None if wanted is None else table(wanted, drawing.curves(wanted), drawing.view, drawing.unit),
    }


@dataclass(frozen=True)
class _Drawing:
    """What a view asks of every chart: its runs, how they are smoothed, and the unit of rewards."""

    entries: Sequence[Shown]
    view: View
    unit: str
    weight: float

    @classmethod
    def of(cls, asked: Mapping[str, Any], entries: Sequence[Shown]) -> _Drawing:
        axis = next((name for name in AXES if name == asked.get("axis")), "Step")
        unit = next((name for name in NORMALISED if name == asked.get("unit")), "Reward")
        smoothing = asked.get("smoothing")
        known = isinstance(smoothing, int | float) and smoothing == smoothing  # NaN is a number, too
        weight = min(max(float(smoothing or 0), 0.0), 99.0) / 100 if known else 0.0
        log_y = bool(asked.get("log"))
        key = zlib.crc32(repr((sorted(str(entry.run.path) for entry in entries), unit, axis, log_y)).encode())
        ln2 = any(starts_at_ln2(entry.run) for entry in entries)
        span = _span(asked.get("span"), entries, axis)
        return cls(entries, View(axis, log_y, several(entries), span, f"{key:x}", ln2), unit, weight)

    def curves(self, chart: Chart) -> tuple[list[Curve], list[Curve]]:
        return curves_of(self.entries, chart, self.view.axis, self.weight, self.unit)

    def chart(self, chart: Chart) -> dict[str, Any]:
        first, second = ([reduced(item, self.view.span) for item in items] for items in self.curves(chart))
        # The three main charts always stand; a small one appears when its measure was logged.
        if chart not in LARGE and not any(len(item.x) or len(item.eval_x) for item in first):
            return {"key": chart.key, "hidden": True, "revision": 0}
        note = sentence(chart, first, second, self.view, axis_missing(self.entries, self.view.axis))
        if chart.reward and self.unit in _UNITS:
            note += f" · {_UNITS[self.unit]}"
        made = figure(chart, first, second, self.view, _UNITS.get(self.unit, "") if chart.reward else "")
        found = self.finding(chart)
        revision = zlib.crc32(repr((made["layout"], note, found)).encode())
        return {"key": chart.key, "hidden": False, "figure": made, "note": note, "finding": found,
                "revision": revision}  # fmt: skip

    def finding(self, chart: Chart) -> str:
        """What the whole curves show, whatever part of them is looked at."""
        if chart.source == "hardware" or chart.key == "lr":  # a sensor wavers, and a schedule was asked for
            return ""
        first, second = self.curves(chart)
        below = {item.run: item for item in second}
        named = [
            (call(item, self.view), difference(item, below[item.run]) if chart.band and item.run in below else item)
            for item in first
        ]
        ln2 = chart.reference if chart.key == "loss" and self.view.ln2 else None
        return finding(chart.key, named, self.view.axis, ln2)


def _summary(entries: Sequence[Shown], problems: Sequence[str]) -> dict[str, str]:
    """The tiles, the doctor's findings and the lines of the title, as HTML."""
    return {
        "kpis": to_html(kpis(entries, problems)),
        "findings": to_html(panel(entries)),
        "sub": to_html(title_line([entry.run for entry in entries])),
        "live": to_html(live_line(entries)),
    }


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


def _span(span: Any, entries: Sequence[Shown], axis: str) -> tuple[float, float] | None:
    """The part of the axis that was zoomed to; None where no run of those on screen has a point in it."""
    if not (isinstance(span, list) and len(span) == 2 and all(isinstance(end, int | float) for end in span)):
        return None
    ends = [across(entry.metrics, axis, entry.metrics.arrays["step"]) for entry in entries if entry.metrics.rows]
    if not any(len(places) and places[0] <= span[1] and places[-1] >= span[0] for places in ends):
        return None
    return float(span[0]), float(span[1])
