"""Figures as plain dictionaries.  Raw line faint, smoothed line bold, held out dashed with open
markers, each run of a family in a step of its colour, its name at the line's end, no legend box."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dpo.arrays import Floats
from dpo.dashboard.theme import DOTTED, HELD_OUT, NEUTRAL, SYMBOL, layout, line_color, rgba
from dpo.dashboard.training.end_labels import LineEnd, labels, margin
from dpo.dashboard.training.series import Curve

Figure = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A card of the page: which measure it draws and how.

    `first` names the measures of which the first logged one is drawn; `second` is drawn dotted
    beside it.  `unit` is that of the values.  `reward` says that the values are rewards, which can be
    normalised; `positive` that they are never below zero, so that they can stand on a logarithmic axis.
    """

    key: str
    title: str
    first: tuple[str, ...]
    height: int = 188
    reference: float | None = None
    reference_text: str | None = None
    percent: bool = False
    second: str | None = None
    about: str = ""
    unit: str = ""
    source: Literal["measures", "answers", "hardware"] = "measures"
    reward: bool = False
    positive: bool = False
    band: bool = False  # the space between first and second is filled
    wide: bool = False


REWARD = "β × nats"
LARGE = (
    Chart("loss", "Loss", ("loss",), 268, 0.693147, "ln 2", positive=True),
    Chart("chosen", "Chosen reward", ("rewards/chosen",), 268, 0.0, unit=REWARD, reward=True),
    Chart("rejected", "Rejected reward", ("rewards/rejected",), 268, 0.0, unit=REWARD, reward=True),
)
SMALL = (
    Chart(
        "margin", "Margin", ("rewards/chosen",), reference=0.0, second="rewards/rejected", unit=REWARD, reward=True,
        band=True, about="band from rejected (dotted) up to chosen (solid)", wide=True,
    ),
    Chart("accuracy", "Accuracy", ("rewards/accuracies",), reference=0.5, percent=True, about="pairs ranked right"),
    Chart("kl", "KL to reference", ("kl", "objective/kl", "probe/kl"), reference=0.0, unit="nats"),
    Chart(
        "win_rate", "Win rate", ("win_rate",), reference=0.5, percent=True,
        about="against the run's start, by its --eval-judge",
    ),
    Chart(
        "logps", "Log-probability", ("logps/chosen",), second="logps/rejected", unit="nats", about="dotted: rejected",
    ),
    Chart(
        "length", "Length, repetition", ("length_ratio",), reference=1.0, second="repetition", source="answers",
        about="solid words over the reference's, dotted repeated triples",
    ),
    Chart("entropy", "Entropy", ("entropy",), unit="nats per token"),
    Chart(
        "squeezing", "Likeliest token", ("squeeze/argmax_mass",), percent=True, about="squeezing",
    ),
    Chart("lr", "Learning rate", ("learning_rate",), positive=True),
    Chart("grad", "Gradient norm", ("grad_norm",), positive=True),
    Chart("power", "Power", ("gpu_watts",), unit="W", source="hardware"),
    Chart("use", "Utilisation", ("gpu_util", "cpu_percent"), unit="%", source="hardware"),
    Chart("memory", "Memory", ("gpu_mem_mb", "rss_mb"), unit="MB", source="hardware"),
)  # fmt: skip
CHARTS = LARGE + SMALL


@dataclass(frozen=True)
class View:
    """How curves are shown: the axis, its part that is zoomed to, and whether names are those of runs.

    `key` stands for all that gives the axes their meaning (runs, unit, axis, scale): a zoom of the
    user's holds as long as it is the same.  `ln2`: whether a loss on screen starts there, so that the
    line means something.
    """

    axis: str = "Step"
    log_y: bool = False
    several: bool = False
    span: tuple[float, float] | None = None
    key: str = ""
    ln2: bool = True


def figure(chart: Chart, curves: Sequence[Curve], second: Sequence[Curve], view: View, unit: str = "") -> Figure:
    """The figure of one chart; `unit` is that of its values, where it is not the chart's own."""
    traces: list[dict[str, Any]] = []
    ends: list[LineEnd] = []
    below = {item.run: item for item in second}
    for item in curves:
        color, label, other = line_color(item.family, item.rank), call(item, view), below.get(item.run)
        if other is not None:
            traces += _second(other, color, f"{label} {word(chart.second)}")
        band = chart.band and other is not None and len(other.x) > 0
        traces += _lines(item, color, label, band, word(chart.first[0]) if chart.second else "")
        place = _end(item, view.span)
        if place is not None:
            text, (x, y) = label, place
            if chart.band and other is not None and other.newest is not None and item.newest is not None:
                text = f"{label} {_short(item.newest - other.newest)}"
                y = (y + (_end(other, view.span) or place)[1]) / 2
            ends.append(LineEnd(text, x, y, color))
    made = layout()
    made["shapes"], made["annotations"] = _reference(chart, view)
    labelled = chart in LARGE or chart.wide
    drawn = [*curves, *second]
    made["shapes"].append(_ahead(max((float(x[-1]) for c in drawn for x in (c.x, c.eval_x) if len(x)), default=0.0)))
    named = _names(ends, drawn, _log_y(chart, view), view, 22 / chart.height) if labelled else None
    made["margin"] = {"l": 46, "r": margin(ends) if labelled else 14, "t": 8, "b": 42}
    _axes(made, chart, curves, view)
    made["hovermode"] = "x"  # what it finds stands in the subtitle (assets/js/training/readout.js)
    made["uirevision"] = view.key or f"{view.axis}-{_log_y(chart, view)}"
    made["meta"] = {
        "reduced": any(item.reduced for item in drawn), "percent": chart.percent, "axis": view.axis,
        "unit": "" if chart.percent else unit or chart.unit,
    }  # fmt: skip
    # Plotly compares arrays by identity and, without a revision, misses an update that changes no layout.
    made["datarevision"] = zlib.crc32(
        repr([(t["name"], len(t["x"]), t["x"][-1:], t["y"][-3:]) for t in traces]).encode()
    )
    made["datarevision"] ^= zlib.crc32(b"".join(np.asarray(t["y"]).tobytes() for t in traces))
    return {"data": [*traces, named] if named else traces, "layout": made}


def _end(item: Curve, span: tuple[float, float] | None) -> tuple[float, float] | None:
    """The last point of a curve that is seen: the smoothed line's, else that of the held-out one."""
    for x, y in ((item.x, item.smooth), (item.eval_x, item.eval_y)):
        seen = np.flatnonzero((x >= span[0]) & (x <= span[1])) if span is not None else np.arange(len(x))
        if len(seen):
            return float(x[seen[-1]]), float(y[seen[-1]])
    return None


def _names(
    ends: Sequence[LineEnd], curves: Sequence[Curve], log_y: bool, view: View, apart: float
) -> dict[str, Any] | None:
    """The names at the lines' ends."""
    values = np.concatenate([part for item in curves for part in (item.y, item.smooth, item.eval_y)] or [np.empty(0)])
    places = np.concatenate([part for item in curves for part in (item.x, item.eval_x)] or [np.empty(0)])
    values = values[values > 0] if log_y else values
    if not len(values) or not len(places):
        return None
    width = view.span[1] - view.span[0] if view.span is not None else float(places.max())
    return labels(ends, width, (float(values.min()), float(values.max())), apart, log_y)


def _log_y(chart: Chart, view: View) -> bool:
    return view.log_y and chart.positive


def _reference(chart: Chart, view: View) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Shapes and notes: the cursor, and the value that a measure is held against, where it means something."""
    log_y, value = _log_y(chart, view), chart.reference
    if value is None or (chart.key == "loss" and not view.ln2) or (log_y and value <= 0):
        return [_cursor()], []
    across = {
        "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value,
        "line": {"color": NEUTRAL, "width": 1, "dash": DOTTED},
    }  # fmt: skip
    text = chart.reference_text
    return [_cursor(), across], [_note(text, value, log_y, xanchor="right", yshift=9)] if text else []


def _axes(made: dict[str, Any], chart: Chart, curves: Sequence[Curve], view: View) -> None:
    """Set the ranges and the numbers of both axes."""
    log_y = _log_y(chart, view)
    made["xaxis"] |= {"title": {"text": axis_title(view.axis), "standoff": 4, "font": {"size": 12, "color": NEUTRAL}}}
    # Not left to Plotly, which would take the range it found itself for one that a user chose.
    made["xaxis"] |= {"autorange": True, "rangemode": "tozero"}
    if view.span is not None:
        made["xaxis"] |= {"range": list(view.span), "autorange": False}
    if chart not in LARGE and not chart.wide:
        made["xaxis"] |= {"nticks": 4}
    made["yaxis"] |= {"autorange": True, "type": "log" if log_y else "linear"}
    if chart.percent:
        made["yaxis"] |= {"tickformat": ".0%"}
    if chart.key == "lr":
        made["yaxis"] |= {"tickformat": "", "exponentformat": "e"}  # 2e-5, and 0 as 0
    elif log_y and _least(curves) < 1e-3:
        made["yaxis"] |= {"tickformat": ".0e"}  # .000001 has no room


def axis_title(axis: str) -> str:
    """An axis with its unit: `Step`, `Time (s)`."""
    return "Time (s)" if axis == "Time" else axis


def sentence(chart: Chart, curves: Sequence[Curve], second: Sequence[Curve], view: View, missing: Sequence[str]) -> str:
    """The chart in one line: for its subtitle and for screen readers."""
    known = [item for item in curves if item.newest is not None]
    if not known:
        if missing:
            return f"{', '.join(missing)} did not log {view.axis.lower()}: choose another axis"
        return "No values logged yet"
    parts = []
    below = {item.run: item.newest for item in second}
    for item in known:
        value = item.newest or 0.0
        other = below.get(item.run)
        if chart.band and other is not None:
            value -= other
        shown = f"{value:.0%}" if chart.percent else _short(value)
        parts.append(f"{call(item, view)} {shown}")
    where = " held out" if any(len(item.eval_y) for item in known) else ""
    about = f" · {chart.about}" if chart.about else ""
    if view.log_y and chart.positive and _least(known, nothing_too=True) <= 0:
        about += " · zeros left out"
    return ", ".join(parts) + where + about


def call(item: Curve, view: View) -> str:
    return item.run if view.several else item.model or item.run


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def word(measure: str | None) -> str:
    """What tells a measure from its neighbour in a chart of two: `chosen`, `length ratio`."""
    return (measure or "").rpartition("/")[2].replace("_", " ")


def _least(curves: Sequence[Curve], nothing_too: bool = False) -> float:
    """The least value above zero of some curves, or with `nothing_too` of all their values."""
    values = np.concatenate([part for item in curves for part in (item.y, item.eval_y)] or [np.empty(0)])
    seen = values if nothing_too else values[values > 0]
    return float(seen.min()) if len(seen) else math.inf


def _cursor() -> dict[str, Any]:
    """The chosen step as a vertical line: the first shape, which the page puts where it belongs."""
    return {
        "type": "line", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "visible": False,
        "line": {"color": NEUTRAL, "width": 1.5}, "name": "cursor",
    }  # fmt: skip


def _ahead(last: float) -> dict[str, Any]:
    """What lies after the chosen step, up to the last place: the last shape, by which the page fades it."""
    return {
        "type": "rect", "yref": "paper", "x0": 0, "x1": last, "y0": 0, "y1": 1, "visible": False, "layer": "above",
        "line": {"width": 0}, "fillcolor": "white", "opacity": 0.62, "name": "ahead",
    }  # fmt: skip


def _second(item: Curve, color: str, name: str) -> list[dict[str, Any]]:
    line = {"color": color, "width": 1.75, "dash": DOTTED}
    only_held_out = not len(item.x)
    x, y = (item.eval_x, item.eval_y) if only_held_out else (item.x, item.smooth)
    kind = "held out" if only_held_out else "smoothed" if item.has_smoothed else "raw"
    made = {
        "type": "scatter", "x": _list(x), "y": _list(y), "mode": "lines", "name": name, "line": line,
        "hoverinfo": "none", "meta": {"label": name, "kind": kind, "second": True},
    }  # fmt: skip
    return [made | _logged(item) if kind == "smoothed" else made]


def _logged(item: Curve) -> dict[str, Any]:
    """What was logged, for a line that is drawn smoothed without the faint one behind it: the readout has it."""
    return {"customdata": _list(item.y)}


def _lines(item: Curve, color: str, name: str, band: bool, word: str = "") -> list[dict[str, Any]]:
    label = f"{name} {word}".strip()
    base = {"type": "scatter", "mode": "lines", "hoverinfo": "none"}
    x, smooth = _list(item.x), _list(item.smooth)
    smoothed = item.has_smoothed
    bold = base | {
        "x": x, "y": smooth, "name": name,
        "line": {"color": color, "width": 2.25},
        "meta": {"label": label, "kind": "smoothed" if smoothed else "raw"},
    }  # fmt: skip
    if band:
        return [bold | {"fill": "tonexty", "fillcolor": rgba(color, 0.13)} | (_logged(item) if smoothed else {})]
    if len(x) < 3:
        bold["mode"] = "lines+markers"  # a single point is no line
        bold["marker"] = {"size": 5, "color": color, "symbol": SYMBOL[item.family]}
    traces = [bold]
    if smoothed:
        raw = base | {
            "x": x, "y": _list(item.y), "line": {"color": rgba(color, 0.26), "width": 1}, "name": f"{name} raw",
            "meta": {"label": label, "kind": "raw"},
        }  # fmt: skip
        traces = [raw, bold]
    if len(item.eval_x):
        traces.append(
            base | {
                "mode": "lines+markers" if len(item.eval_x) <= 200 else "lines",
                "x": _list(item.eval_x), "y": _list(item.eval_y), "name": f"{name} held out",
                "line": {"color": color, "width": 1.25, "dash": HELD_OUT},
                "marker": {
                    "symbol": f"{SYMBOL[item.family]}-open", "size": 6, "color": color, "line": {"width": 1.5},
                },
                "meta": {"label": label, "kind": "held out"},
            }
        )  # fmt: skip
    return traces


def _list(values: Floats) -> list[float]:
    """Six digits are more than a screen shows, and half of what would be sent."""
    if not len(values):
        return []
    size = np.abs(values)
    digits = np.where(size > 0, 5 - np.floor(np.log10(np.where(size > 0, size, 1.0))), 0.0)
    factor = 10.0 ** np.clip(digits, -300, 300)
    return (np.round(values * factor) / factor).tolist()  # type: ignore[no-any-return]


def _note(text: str, y: float, log_y: bool, **place: Any) -> dict[str, Any]:
    where = math.log10(y) if log_y and y > 0 else y
    return {
        "x": 1, "xref": "paper", "y": where, "text": text, "showarrow": False, "font": {"size": 12, "color": NEUTRAL},
    } | place  # fmt: skip
