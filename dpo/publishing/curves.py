"""A run's curves as one picture, for a model card: no browser and no plotting library needed."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tsdownsample import MinMaxLTTBDownsampler

from dpo.palette import palette
from dpo.runs import Run

# The dashboard's colours: chosen solid green, rejected dashed purple, everything else ink.
_INK, _GREY, _GRID, _AXIS, _PAPER = (palette().light[name] for name in ("ink", "ink-3", "grid", "axis", "surface"))
_CHOSEN, _REJECTED = palette().light["chosen"], palette().light["rejected"]
_WIDTH, _HEIGHT, _SCALE = 1200, 440, 2  # drawn twice as large, then reduced: smooth lines
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 64, 24, 64, 48, 72


@dataclass(frozen=True)
class _Line:
    """One measure; `held_out` ones get dots, because they are few."""

    label: str
    key: str
    colour: str
    dashed: bool = False
    held_out: bool = False


_PANELS: dict[str, list[tuple[str, list[_Line]]]] = {
    "dpo": [
        ("Loss", [_Line("training", "loss", _INK), _Line("held out", "eval_loss", _GREY, held_out=True)]),
        (
            "Rewards",
            [
                _Line("chosen", "rewards/chosen", _CHOSEN),
                _Line("rejected", "rewards/rejected", _REJECTED, dashed=True),
                _Line("chosen, held out", "eval_rewards/chosen", _CHOSEN, held_out=True),
                _Line("rejected, held out", "eval_rewards/rejected", _REJECTED, dashed=True, held_out=True),
            ],
        ),
    ],
    "sft": [
        (
            "Loss (nats a token)",
            [
                _Line("training", "loss", _INK),
                _Line("held-out chosen", "eval_chosen_loss", _CHOSEN, held_out=True),
                _Line("held-out rejected", "eval_rejected_loss", _REJECTED, dashed=True, held_out=True),
            ],
        )
    ],
}
Points = tuple[list[float], list[float]]


def draw_curves(run: Run, path: Path) -> bool:
    """Write a PNG of loss and rewards over the updates; False if the run has nothing to draw."""
    metrics = run.metrics()
    panels: list[tuple[str, list[tuple[_Line, Points]]]] = []
    for title, lines in _PANELS.get(run.kind, _PANELS["dpo"]):
        drawn = [(line, _thinned(metrics.series(line.key))) for line in lines]
        drawn = [(line, points) for line, points in drawn if len(points[0]) > 1]
        if drawn:
            panels.append((title, drawn))
    if not panels:
        return False
    picture = Image.new("RGB", (_WIDTH * _SCALE, _HEIGHT * _SCALE), _PAPER)
    pen = _Pen(ImageDraw.Draw(picture))
    width = (_WIDTH - _LEFT - _RIGHT - _GAP * (len(panels) - 1)) / len(panels)
    for index, (title, lines_drawn) in enumerate(panels):
        left = _LEFT + index * (width + _GAP)
        pen.panel(title, lines_drawn, left, left + width)
    picture.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).save(path, optimize=True)
    return True


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten apart) within the bounds.

    >>> ticks(0.0, 1.1)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    span = max(high - low, 1e-12)
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= about)
    first = math.ceil(low / step - 1e-9)
    return [round(count * step, 12) + 0.0 for count in range(first, math.floor(high / step + 1e-9) + 1)]


def _thinned(points: Points) -> Points:
    """At most three points a pixel of a panel, peaks chosen."""
    steps, values = np.asarray(points[0]), np.asarray(points[1])
    if len(steps) <= 2 * _WIDTH:
        return points
    chosen = MinMaxLTTBDownsampler().downsample(steps, values, n_out=2 * _WIDTH)
    return steps[chosen].tolist(), values[chosen].tolist()


class _Pen:
    """Draws in the coordinates of the finished picture."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self.draw = draw
        self.small = ImageFont.load_default(13 * _SCALE)
        self.large = ImageFont.load_default(17 * _SCALE)

    def panel(self, title: str, lines: list[tuple[_Line, Points]], left: float, right: float) -> None:
        """Axes, grid, lines and legend of one chart."""
        top, bottom = _TOP, _HEIGHT - _BOTTOM
        xs = [x for _, (steps, _) in lines for x in steps]
        ys = [y for _, (_, values) in lines for y in values]
        x_low, x_high = min(xs), max(xs)
        margin = 0.06 * (max(ys) - min(ys)) or 0.05 * abs(max(ys)) or 1.0
        y_low, y_high = min(ys) - margin, max(ys) + margin

        def place(x: float, y: float) -> tuple[float, float]:
            across = (x - x_low) / (x_high - x_low or 1.0)
            return left + across * (right - left), bottom - (y - y_low) / (y_high - y_low) * (bottom - top)

        self.text(left, 14, title, _INK, self.large)
        for value in ticks(y_low, y_high):
            y = place(x_low, value)[1]
            self.line([(left, y), (right, y)], _GRID, 1)
            self.text(left - 8, y - 8, f"{value:g}", _GREY, self.small, end=True)
        for value in ticks(x_low, x_high):
            self.text(place(value, y_low)[0], bottom + 8, f"{value:g}", _GREY, self.small, middle=True)
        self.text(right, bottom + 26, "updates", _GREY, self.small, end=True)
        self.line([(left, bottom), (right, bottom)], _AXIS, 1)
        legend = left
        for line, (steps, values) in lines:
            points = [place(x, y) for x, y in zip(steps, values, strict=True)]
            self.curve(line, points, 1.25 if line.held_out else 2.0)
            self.curve(line, [(legend, 52), (legend + 22, 52)], 1.25 if line.held_out else 2.0)
            self.text(legend + 32, 44, line.label, _INK, self.small)
            legend += 32 + self.draw.textlength(line.label, self.small) / _SCALE + 18

    def curve(self, line: _Line, points: list[tuple[float, float]], width: float) -> None:
        """A line as its measure asks: solid or dashed, with dots or without."""
        for piece in _dashes(points) if line.dashed else [points]:
            self.line(piece, line.colour, width)
        if line.held_out:
            for x, y in points:
                box = [(x - 3.5) * _SCALE, (y - 3.5) * _SCALE, (x + 3.5) * _SCALE, (y + 3.5) * _SCALE]
                self.draw.ellipse(box, fill=_PAPER, outline=line.colour, width=round(1.5 * _SCALE))

    def line(self, points: list[tuple[float, float]], colour: str, width: float) -> None:
        """Straight from point to point."""
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self.draw.line(scaled, fill=colour, width=max(1, round(width * _SCALE)), joint="curve")

    def text(
        self, x: float, y: float, text: str, colour: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
        end: bool = False, middle: bool = False,
    ) -> None:  # fmt: skip
        """Text that begins at x, ends there, or is centred on it."""
        anchor = "ra" if end else "ma" if middle else "la"
        self.draw.text((x * _SCALE, y * _SCALE), text, fill=colour, font=font, anchor=anchor)


def _dashes(points: list[tuple[float, float]], on: float = 7.0, off: float = 5.0) -> list[list[tuple[float, float]]]:
    """A line cut into dashes that keep their length around corners."""
    pieces: list[list[tuple[float, float]]] = []
    piece, left, drawing = [points[0]], on, True
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length, done = math.hypot(x1 - x0, y1 - y0), 0.0
        while length - done > left:
            done += left
            corner = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length)
            if drawing:
                pieces.append([*piece, corner])
            drawing, left, piece = not drawing, off if drawing else on, [corner]
        left -= length - done
        piece.append((x1, y1))
    return pieces + ([piece] if drawing and len(piece) > 1 else [])
