"""Figures as plain dictionaries.  Raw line faint, smoothed line bold, held out dashed with open
markers, the run's name at the line's end, no legend box."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dpo.arrays import Floats
from dpo.dashboard.markup import literal
from dpo.dashboard.theme import DASHES, DOTTED, FAMILY_COLOR, NEUTRAL, SYMBOL, layout, rgba
from dpo.dashboard.training.series import Curve

Figure = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A card of the page: which measure it draws and how.

    `first` names the measures of which the first logged one is drawn; `second` is drawn dotted
    beside it.  `reward` says that the values are rewards, which can be normalised; `positive` that
    they are never below zero, so that they can stand on a logarithmic axis.
    """

    key: str
    title: str
    first: tuple[str, ...]
    height: int = 176
    reference: float | None = None
    reference_text: str | None = None
    percent: bool = False
    second: str | None = None
    about: str = ""
    source: Literal["measures", "answers", "hardware"] = "measures"
    reward: bool = False
    positive: bool = False
    band: bool = False  # the space between first and second is filled
    wide: bool = False


LARGE = (
    Chart("loss", "Loss", ("loss",), 256, 0.693147, "ln 2", positive=True),
    Chart("chosen", "Chosen reward", ("rewards/chosen",), 256, 0.0, reward=True),
    Chart("rejected", "Rejected reward", ("rewards/rejected",), 256, 0.0, reward=True),
)
SMALL = (
    Chart(
        "margin", "Margin", ("rewards/chosen",), reference=0.0, second="rewards/rejected", reward=True, band=True,
        about="band from rejected (dotted) up to chosen (solid)", wide=True,
    ),
    Chart("accuracy", "Accuracy", ("rewards/accuracies",), reference=0.5, percent=True, about="pairs ranked right"),
    Chart("kl", "KL to reference", ("kl", "objective/kl", "probe/kl"), reference=0.0, about="nats"),
    Chart("logps", "Log-probability", ("logps/chosen",), second="logps/rejected", about="dotted: rejected"),
    Chart(
        "length", "Length, repetition", ("length_ratio",), reference=1.0, second="repetition", source="answers",
        about="solid words over the reference's, dotted repeated triples",
    ),
    Chart("entropy", "Entropy", ("entropy",), about="nats per token of the answers"),
    Chart("lr", "Learning rate", ("learning_rate",), positive=True),
    Chart("grad", "Gradient norm", ("grad_norm",), positive=True),
    Chart("power", "Power, W", ("gpu_watts",), source="hardware"),
    Chart("use", "Utilisation, %", ("gpu_util", "cpu_percent"), source="hardware", about="of the GPU, else of the CPU"),
    Chart("memory", "Memory, MB", ("gpu_mem_mb", "rss_mb"), source="hardware", about="of the GPU, else of the process"),
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


def figure(chart: Chart, curves: Sequence[Curve], second: Sequence[Curve], view: View) -> Figure:
    """The figure of one chart."""
    traces: list[dict[str, Any]] = []
    ends: list[tuple[str, float, str]] = []
    below = {item.run: item for item in second}
    for item in curves:
        color, label, other = FAMILY_COLOR[item.family], call(item, view), below.get(item.run)
        if other is not None:
            traces += _second(other, color, f"{label} {word(chart.second)}")
        band = chart.band and other is not None and len(other.x) > 0
        traces += _lines(item, color, label, band, word(chart.first[0]) if chart.second else "")
        if item.newest is not None:
            end, text = item.newest, label
            if chart.band and other is not None and other.newest is not None:
                end, text = (item.newest + other.newest) / 2, f"{label} {_short(item.newest - other.newest)}"
            ends.append((text, end, color))
    made = layout()
    labelled = chart in LARGE or chart.wide
    made["shapes"], made["annotations"] = _reference(chart, view)
    if labelled:
        made["annotations"] += _end_labels(ends, [*curves, *second], _log_y(chart, view), 22 / chart.height)
    longest = max((len(text) for text, _, _ in ends), default=0)
    made["margin"] = {"l": 46, "r": min(18 + 6.6 * longest, 140) if labelled else 14, "t": 8, "b": 28}
    _axes(made, chart, curves, view)
    made["hovermode"] = "x"  # what it finds stands in the subtitle (assets/js/training/readout.js)
    made["uirevision"] = view.key or f"{view.axis}-{_log_y(chart, view)}"
    made["meta"] = {
        "reduced": any(item.reduced for item in (*curves, *second)), "percent": chart.percent, "axis": view.axis,
    }  # fmt: skip
    # Plotly compares arrays by identity and, without a revision, misses an update that changes no layout.
    made["datarevision"] = zlib.crc32(
        repr([(t["name"], len(t["x"]), t["x"][-1:], t["y"][-3:]) for t in traces]).encode()
    )
    made["datarevision"] ^= zlib.crc32(b"".join(np.asarray(t["y"]).tobytes() for t in traces))
    return {"data": traces, "layout": made}


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
    # Not left to Plotly, which would take the range it found itself for one that a user chose.
    made["xaxis"] |= {"autorange": True, "rangemode": "tozero", "ticksuffix": " s" if view.axis == "Time" else ""}
    if view.span is not None:
        made["xaxis"] |= {"range": list(view.span), "autorange": False}
    if chart not in LARGE and not chart.wide:
        made["xaxis"] |= {"nticks": 4}
    made["yaxis"] |= {"autorange": True, "type": "log" if log_y else "linear"}
    if chart.percent:
        made["yaxis"] |= {"tickformat": ".0%"}
    if chart.key == "lr" or (log_y and _least(curves) < 1e-3):
        made["yaxis"] |= {"tickformat": ".1e" if chart.key == "lr" else ".0e"}  # .000001 has no room


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
        "line": {"color": color, "width": 2.25, "dash": DASHES[item.rank % len(DASHES)]},
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
                "line": {"color": color, "width": 1.25, "dash": "5px,4px"},
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


def _end_labels(
    ends: Sequence[tuple[str, float, str]], curves: Sequence[Curve], log_y: bool, apart: float
) -> list[dict[str, Any]]:
    """Names right of the last points, pushed apart so that they never overlap."""
    extremes = [
        bound
        for item in curves
        for values in (item.y, item.smooth, item.eval_y)
        for seen in [values[values > 0] if log_y else values]
        if len(seen)
        for bound in (float(seen.min()), float(seen.max()))
    ]
    height = math.log10 if log_y else float
    span = height(max(extremes)) - height(min(extremes)) if extremes else 0.0
    gap, notes, lowest = span * apart, [], float("-inf")
    for text, y, color in sorted(ends, key=lambda end: end[1]):
        if log_y and y <= 0:
            continue
        lowest = max(height(y), lowest + gap)
        note = _note(literal(text), 10**lowest if log_y else lowest, log_y, xanchor="left", xshift=8)
        notes.append(note | {"font": {"size": 12, "color": color, "weight": 600}})
    return notes


def _note(text: str, y: float, log_y: bool, **place: Any) -> dict[str, Any]:
    where = math.log10(y) if log_y and y > 0 else y
    return {
        "x": 1, "xref": "paper", "y": where, "text": text, "showarrow": False, "font": {"size": 12, "color": NEUTRAL},
    } | place  # fmt: skip
