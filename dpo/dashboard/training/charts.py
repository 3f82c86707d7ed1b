"""Figures as plain dictionaries.  Raw line faint, smoothed line bold, held out dashed with open
markers, the run's name at the line's end, no legend box."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dpo.dashboard.theme import FAMILY_COLOR, FAMILY_LABEL, NEUTRAL, SYMBOL, layout, rgba
from dpo.dashboard.training.series import Curve

Figure = dict[str, Any]
_DASHES = ("solid", "8px,3px", "3px,3px", "8px,3px,2px,3px")


@dataclass(frozen=True)
class Chart:
    """A card of the page: which measure it draws and how."""

    key: str
    title: str
    measure: str
    height: int = 176
    reference: float | None = None
    reference_text: str | None = None
    percent: bool = False
    second: str | None = None  # drawn dotted beside the first
    about: str = ""


LARGE = (
    Chart("loss", "Loss", "loss", 256, 0.693147, "ln 2"),
    Chart("chosen", "Chosen reward", "rewards/chosen", 256, 0.0),
    Chart("rejected", "Rejected reward", "rewards/rejected", 256, 0.0),
)
SMALL = (
    Chart("margin", "Margin", "rewards/margins", reference=0.0, about="chosen minus rejected reward"),
    Chart("accuracy", "Accuracy", "rewards/accuracies", reference=0.5, percent=True, about="pairs ranked right"),
    Chart("logps", "Log-probability", "logps/chosen", second="logps/rejected", about="solid chosen, dotted rejected"),
    Chart("entropy", "Entropy", "entropy", about="nats per token of the answers"),
    Chart("lr", "Learning rate", "learning_rate"),
    Chart("grad", "Gradient norm", "grad_norm"),
)
CHARTS = LARGE + SMALL


def figure(
    chart: Chart, curves: Sequence[Curve], second: Sequence[Curve], axis: str, log_y: bool, several: bool
) -> Figure:
    """The figure of one chart; `several` says that a family has more than one run on screen."""
    traces: list[dict[str, Any]] = []
    ends: list[tuple[str, float, str]] = []
    for item in curves:
        color = FAMILY_COLOR[item.family]
        label = item.run if several else FAMILY_LABEL[item.family]
        traces += _lines(item, color, label)
        if item.newest is not None:
            ends.append((label, item.newest, color))
    for item in second:
        name = f"{item.run if several else FAMILY_LABEL[item.family]} rejected"
        line = {"color": FAMILY_COLOR[item.family], "width": 1.75, "dash": "2px,3px"}
        traces.append({"type": "scatter", "x": item.x, "y": item.smooth, "mode": "lines", "name": name, "line": line})
    made = layout()
    shapes, notes = [], []
    if chart.reference is not None and not (log_y and chart.reference <= 0):
        shapes.append(
            {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": chart.reference, "y1": chart.reference,
                "line": {"color": NEUTRAL, "width": 1, "dash": "2px,3px"},
            }
        )  # fmt: skip
        if chart.reference_text:
            notes.append(_note(chart.reference_text, chart.reference, log_y, xanchor="right", yshift=9))
    large = chart in LARGE
    if large:
        notes += _end_labels(ends, curves, log_y)
    made["margin"] = {"l": 46, "r": (96 if several else 58) if large else 14, "t": 8, "b": 28}
    made["shapes"], made["annotations"] = shapes, notes
    made["xaxis"] |= {"hoverformat": ".3~g", "rangemode": "tozero", "ticksuffix": " s" if axis == "Time" else ""}
    made["yaxis"] |= {"type": "log" if log_y else "linear"}
    if chart.percent:
        made["yaxis"] |= {"tickformat": ".0%"}
    if chart.key == "lr":
        made["yaxis"] |= {"tickformat": ".1e"}
    if not large:
        made["xaxis"] |= {"nticks": 4}
    made["uirevision"] = f"{axis}-{log_y}"
    # Plotly compares arrays by identity and, without a revision, misses an update that changes no layout.
    made["datarevision"] = zlib.crc32(repr(traces).encode())
    return {"data": traces, "layout": made}


def sentence(chart: Chart, curves: Sequence[Curve], several: bool) -> str:
    """The chart in one line: for its subtitle and for screen readers."""
    known = [item for item in curves if item.newest is not None]
    if not known:
        return "No values logged yet"
    parts = []
    for item in known:
        value = item.newest or 0.0
        shown = f"{value:.0%}" if chart.percent else f"{value:.3g}".replace("-", "−")
        parts.append(f"{item.run if several else FAMILY_LABEL[item.family]} {shown}")
    where = " held out" if any(item.eval_y for item in known) else ""
    about = f" · {chart.about}" if chart.about else ""
    return ", ".join(parts) + where + about


def _lines(item: Curve, color: str, label: str) -> list[dict[str, Any]]:
    dash = _DASHES[item.rank % len(_DASHES)]
    base = {"type": "scatter", "mode": "lines"}
    raw = base | {
        "x": item.x, "y": item.y, "line": {"color": rgba(color, 0.26), "width": 1}, "hoverinfo": "skip",
        "name": f"{label} raw",
    }  # fmt: skip
    bold = base | {
        "x": item.x, "y": item.smooth, "name": label, "line": {"color": color, "width": 2.25, "dash": dash},
        "hovertemplate": "%{y:.4~g}",
    }  # fmt: skip
    traces = [raw, bold] if item.smooth != item.y else [bold]
    if item.eval_x:
        traces.append(
            base | {
                "mode": "lines+markers", "x": item.eval_x, "y": item.eval_y, "name": f"{label} held out",
                "line": {"color": color, "width": 1.25, "dash": "5px,4px"}, "hovertemplate": "%{y:.4~g}",
                "marker": {
                    "symbol": f"{SYMBOL[item.family]}-open", "size": 6, "color": color, "line": {"width": 1.5},
                },
            }
        )  # fmt: skip
    return traces


def _end_labels(ends: Sequence[tuple[str, float, str]], curves: Sequence[Curve], log_y: bool) -> list[dict[str, Any]]:
    """Names right of the last points, pushed apart so that they never overlap."""
    values = [value for item in curves for value in (*item.smooth, *item.eval_y)]
    span = (max(values) - min(values)) if values else 0.0
    gap, notes, lowest = span * 0.085, [], float("-inf")
    for text, y, color in sorted(ends, key=lambda end: end[1]):
        place = y if log_y else max(y, lowest + gap)
        lowest = place
        note = _note(text, place, log_y, xanchor="left", xshift=8)
        notes.append(note | {"font": {"size": 12, "color": color, "weight": 600}})
    return notes


def _note(text: str, y: float, log_y: bool, **place: Any) -> dict[str, Any]:
    where = math.log10(y) if log_y and y > 0 else y
    return {
        "x": 1, "xref": "paper", "y": where, "text": text, "showarrow": False, "font": {"size": 12, "color": NEUTRAL},
    } | place  # fmt: skip
