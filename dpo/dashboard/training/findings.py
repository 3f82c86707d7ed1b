"""What a chart shows, in a few words: its subtitle, and what a screen reader says of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dpo.arrays import Floats
from dpo.dashboard.smoothing import smoothed
from dpo.dashboard.training.series import Curve

_FEWEST = 3
_WEIGHT = 0.8  # noise is left out of the judgement, however the page smooths
_TURN = 0.25  # of a curve's range: less is not called a turn
_NOISE = 3.0  # standard deviations of the noise, below which nothing has changed
_MANY = {2: "Both", 3: "All three", 4: "All four", 5: "All five", 6: "All six"}
# What follows for a reader who does not know the measure: by chart and course.
_MEANS = {
    ("chosen", "falls"): "chosen answers get less likely",
    ("chosen", "turns down"): "chosen answers get less likely",
    ("loss", "turns up"): "it no longer learns what it is asked",
    ("accuracy", "turns down"): "pairs are ranked worse again",
    ("squeezing", "rises"): "other words lose",
}


def finding(key: str, named: Sequence[tuple[str, Curve]], axis: str, below: float | None = None) -> str:
    """Whether the curves rise, fall or turn, and where: "T5 turns down after step 60; GPT-2 rises".

    Args:
        key: the chart's, for what follows from it.
        named: each curve with what its run is called.
        axis: what the places are of.
        below: a value which the curves are to get below (ln 2 for the loss); None for none.
    """
    courses = [(name, *_course(item, axis)) for name, item in named]
    courses = [entry for entry in courses if entry[1]]
    if not courses:
        return ""
    groups: dict[str, list[str]] = {}
    for name, verb, where in courses:
        groups.setdefault(f"{verb}|{where if len(named) == 1 else _place_of(verb, where)}", []).append(name)
    if len(groups) == 1 and len(courses) > 1:
        verb, _, where = next(iter(groups)).partition("|")
        text = f"{_MANY.get(len(courses), 'All')} {_plural(verb)}{where}"
    elif len(courses) == 1:
        text = f"{courses[0][1].capitalize()}{courses[0][2]}"
    else:
        text = "; ".join(f"{_listed(names)} {_said(course, len(names))}" for course, names in groups.items())
    means = {_MEANS[key, verb] for _, verb, _ in courses if (key, verb) in _MEANS}
    if means and len({verb for _, verb, _ in courses}) == 1:
        text += f": {means.pop()}"
    elif below is not None and len(named) == 1:
        text += _below(named[0][1], below, axis)
    return text


def _course(item: Curve, axis: str) -> tuple[str, str]:
    """A verb and the place where it turns; empty for too few points."""
    held_out = len(item.eval_y) > _FEWEST
    x, y = (item.eval_x, item.eval_y) if held_out or not len(item.y) else (item.x, item.y)
    if len(y) < _FEWEST:
        return "", ""
    line = y if held_out else _calm(y)
    noise = float(np.std(y - line)) if not held_out else 0.0
    extent = float(line.max() - line.min())
    if extent <= max(_NOISE * noise, 0.02 * float(np.abs(line).max()), 1e-12):
        return "stays level", ""
    high, low = int(line.argmax()), int(line.argmin())
    first, last = float(line[0]), float(line[-1])
    if line[high] - max(first, last) > _TURN * extent:
        return "turns down", f" after {place(axis, x[high])}"
    if min(first, last) - line[low] > _TURN * extent:
        return "turns up", f" after {place(axis, x[low])}"
    return ("rises" if last > first else "falls"), ""


def _calm(values: Floats) -> Floats:
    """Without noise: smoothed from both ends, so that nothing comes late."""
    line: Floats = (smoothed(values, _WEIGHT) + smoothed(values[::-1], _WEIGHT)[::-1]) / 2
    return line


def _below(item: Curve, value: float, axis: str) -> str:
    """From where on a curve stays below a value."""
    line: Floats = item.eval_y if len(item.eval_y) > _FEWEST else _calm(item.y)
    x = item.eval_x if len(item.eval_y) > _FEWEST else item.x
    above = np.flatnonzero(line >= value)
    if not len(above):
        return ""
    if above[-1] == len(line) - 1:
        return ", not yet below ln 2"
    return f", below ln 2 from {place(axis, x[above[-1] + 1])}"


def place(axis: str, at: float) -> str:
    """A place on an axis in words: "step 60", "epoch 0.5", "90 s"."""
    if axis == "Time":
        return f"{at:,.0f} s"
    if axis == "Epoch":
        return f"epoch {at:.2g}"
    return f"{axis.lower().removesuffix('s')} {_whole(at)}"


def _whole(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "–"


def _place_of(verb: str, where: str) -> str:
    return where if verb.startswith("turns") else ""


def _plural(verb: str) -> str:
    first, _, rest = verb.partition(" ")
    return f"{first.removesuffix('s')} {rest}".rstrip()


def _said(course: str, count: int) -> str:
    verb, _, where = course.partition("|")
    return (verb if count == 1 else _plural(verb)) + where


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
