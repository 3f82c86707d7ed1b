"""From runs to the points of curves (pure functions; no dash here)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tsdownsample import MinMaxLTTBDownsampler

from dpo.arrays import Floats
from dpo.dashboard.run_reader import Shown, called
from dpo.dashboard.smoothing import is_smoothed, smoothed
from dpo.runs import Metrics

AXES = {"Step": "step", "Examples": "examples", "Epoch": "epoch", "Tokens": "tokens", "Time": "time"}
NORMALISED = {"Reward": "reward", "÷ β": "beta", "Per token": "token"}
# Points of one line on screen; more are reduced to those that keep its shape (min-max, then LTTB).
MOST_POINTS = 600
_LONG = 20_000


@dataclass(frozen=True, eq=False)
class Curve:
    """One measure of one run: what was logged in training, smoothed, and held out.

    `rank` is the run's place among those of its family on screen; it decides the dash.  `weight`
    is that of the smoothing, 0 for none.  `model` is what its architecture is called.
    """

    run: str
    family: str | None
    rank: int
    x: Floats
    y: Floats
    smooth: Floats
    eval_x: Floats
    eval_y: Floats
    weight: float = 0.0
    reduced: bool = False
    model: str | None = None

    @property
    def has_smoothed(self) -> bool:
        """Whether smoothing has changed anything, so that there are two lines to show."""
        return self.smooth is not self.y and not np.array_equal(self.smooth, self.y)

    @property
    def newest(self) -> float | None:
        """The last held-out value, else the last smoothed one."""
        if len(self.eval_y):
            return float(self.eval_y[-1])
        return float(self.smooth[-1]) if len(self.smooth) else None


def across(metrics: Metrics, axis: str, steps: Floats) -> Floats:
    """Where `steps` lie on an axis (a name in `AXES`); empty if the run did not log it.

    Values between logged rows are interpolated, nothing lies before 0, and a clock that went back
    stands still.
    """
    name = AXES[axis]
    if name == "step":
        return steps
    known_steps, known = metrics.points(name)
    if not len(known):
        return np.empty(0)
    if known_steps[0] > 0 and name != "time":
        known_steps, known = np.r_[0.0, known_steps], np.r_[0.0, known]
    return np.interp(steps, known_steps, np.maximum.accumulate(known))


def curve(entry: Shown, key: str, axis: str, weight: float, scale: float = 1.0, source: Metrics | None = None) -> Curve:
    """All points of `key` over `axis`, values times `scale`; `weight` smooths where that `is_smoothed`."""
    metrics = entry.metrics if source is None else source
    # A zoom into a long run asks for all of its points again; a short one is made anew more quickly than found.
    call = entry.reader.remembered if entry.reader is not None and metrics.rows > _LONG else called
    used = weight if is_smoothed(key) else 0.0
    x, y, smooth = call(_whole, entry.metrics, metrics, key, axis, used, scale)
    held_x, held, _ = call(_whole, entry.metrics, metrics, f"eval_{key}", axis, 0.0, scale)
    return Curve(entry.short, entry.run.family, entry.rank, x, y, smooth, held_x, held, used, model=entry.run.label)


def _whole(
    run: Metrics, source: Metrics, key: str, axis: str, weight: float, scale: float
) -> tuple[Floats, Floats, Floats]:
    """All points of a measure and their smoothed values."""
    steps, values = source.points(key)
    x = across(run, axis, steps)
    y = values * scale if len(x) else np.empty(0)
    return x, y, smoothed(y, weight)


def difference(one: Curve, other: Curve) -> Curve:
    """The distance of two measures of a run, where both were logged at the same places; else the first."""
    if len(one.y) != len(other.y) or len(one.eval_y) != len(other.eval_y):
        return one
    return replace(one, y=one.y - other.y, smooth=one.smooth - other.smooth, eval_y=one.eval_y - other.eval_y)


def axis_missing(entries: Sequence[Shown], axis: str) -> list[str]:
    """Names of the runs that did not log an axis."""
    name = AXES[axis]
    return [entry.label for entry in entries if not len(entry.metrics.points(name)[1])]


def scale_of(entry: Shown, normalised: str) -> float | None:
    """What a reward is multiplied with to be shown; None where the run does not tell."""
    if NORMALISED.get(normalised) == "beta":
        beta = entry.run.config.get("beta")
        return 1 / beta if isinstance(beta, int | float) and beta > 0 else None
    if NORMALISED.get(normalised) == "token":
        tokens = entry.tokens_per_answer
        return 1 / tokens if tokens else None
    return 1.0


def reduced(made: Curve, span: tuple[float, float] | None = None) -> Curve:
    """Only the points that are seen: within the span (and one screen beside it), at most `MOST_POINTS`."""
    if len(made.x) <= MOST_POINTS and len(made.eval_x) <= MOST_POINTS:
        return made
    seen, held_seen = slice(None), slice(None)
    if span is not None:
        beside = span[1] - span[0]
        seen, held_seen = (
            slice(*np.searchsorted(x, (span[0] - beside, span[1] + beside)).tolist()) for x in (made.x, made.eval_x)
        )
    x, y, smooth = made.x[seen], made.y[seen], made.smooth[seen]
    held_x, held_y = made.eval_x[held_seen], made.eval_y[held_seen]
    some, held = _telling(y), _telling(held_y)
    # The smoothed line has its own shape, but one x for both lines halves what is sent.
    return replace(
        made, x=x[some], y=y[some], smooth=smooth[some], eval_x=held_x[held], eval_y=held_y[held], reduced=True
    )


def _telling(values: Floats) -> slice | np.ndarray:  # type: ignore[type-arg]
    if len(values) <= MOST_POINTS:
        return slice(None)
    return MinMaxLTTBDownsampler().downsample(np.ascontiguousarray(values), n_out=MOST_POINTS)
