"""The names at the ends of curves: a trace of text, so that each stands where its own line ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dpo.dashboard.markup import literal

_LETTER = 6.6  # pixels of a letter, 12 px high
_NARROW = 60.0  # pixels of the plot of a narrow card with long names


@dataclass(frozen=True)
class LineEnd:
    """Where a curve ends, in the units of the axes, and what is written there."""

    text: str
    x: float
    y: float
    color: str


def margin(ends: Sequence[LineEnd]) -> float:
    """Pixels that the names need right of the plot."""
    return min(18 + _LETTER * max((len(end.text) for end in ends), default=0), 140)


def labels(
    ends: Sequence[LineEnd], width: float, heights: tuple[float, float], apart: float, log_y: bool
) -> dict[str, Any] | None:
    """A trace with all names; None without any.

    Names whose places overlap are pushed apart.  `width` is the length of the horizontal axis,
    `heights` the least and the greatest value, `apart` the share of them that a line of text takes.
    """
    scale: Callable[[float], float] = math.log10 if log_y else float
    seen = [end for end in ends if end.y > 0 or not log_y]
    if not seen:
        return None
    gap = (scale(heights[1]) - scale(heights[0])) * apart
    placed: list[tuple[LineEnd, float]] = []
    for end in sorted(seen, key=lambda item: item.y):
        height = scale(end.y)
        for other, at in placed:
            if _overlap(end, other, width):
                height = max(height, at + gap)
        placed.append((end, height))
    return {
        "type": "scatter", "mode": "text", "name": "", "hoverinfo": "skip", "showlegend": False, "cliponaxis": False,
        "x": [end.x for end, _ in placed], "y": [10**at if log_y else at for _, at in placed],
        "text": [f"  {literal(end.text)}" for end, _ in placed], "textposition": "middle right",
        "textfont": {"size": 12, "weight": 600, "color": [end.color for end, _ in placed]},
        "meta": {"kind": None, "ends": True},
    }  # fmt: skip


def _overlap(one: LineEnd, other: LineEnd, width: float) -> bool:
    """Whether two names would stand beneath each other."""
    pixels = _NARROW / width if width > 0 else 0.0
    first, second = (one, other) if one.x <= other.x else (other, one)
    return (second.x - first.x) * pixels < _LETTER * (len(first.text) + 2)
