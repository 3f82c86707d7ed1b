"""From runs to the points of curves (pure functions; no dash here)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile

import numpy as np
from tsdownsample import MinMaxLTTBDownsampler

from dpo.runs import Metrics, Run
from dpo.runs.doctor import Verdict, diagnose
from dpo.runs.find import names
from dpo.runs.live import OpenRuns
from dpo.runs.metrics import Floats

AXES = {"Step": "step", "Examples": "examples", "Epoch": "epoch", "Tokens": "tokens", "Time": "time"}
NORMALISED = {"Reward": "reward", "÷ β": "beta", "Per token": "token"}
# Points of one line on screen; more are reduced to those that keep its shape (min-max, then LTTB).
MOST_POINTS = 600
_LONG = 20_000
_LONGEST = 18  # letters of a name at a line's end
_MOST_DIGITS = 200  # of the 308 that a float has before it overflows
_DOCTOR_SECONDS = 3.0  # a running run is not asked more often
_OPEN = OpenRuns()
_VERDICTS: dict[str, tuple[float, tuple[Metrics, int, str], list[Verdict]]] = {}


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


@dataclass(frozen=True, eq=False)
class Shown:
    """A run on screen: its name in sentences and in charts, its place among the dashes of its family, its measures."""

    run: Run
    label: str
    short: str
    rank: int
    metrics: Metrics

    @property
    def tokens_per_answer(self) -> float | None:
        """Mean tokens of an answer, prompt included, as the trainer counted them; None if it did not."""
        tokens, examples = self.metrics.last("tokens"), self.metrics.last("examples")
        return tokens / (2 * examples) if tokens and examples else None


def read(path: str) -> tuple[Run, Metrics]:
    """A run with its measures; only what was appended since the last call is read.

    Raises:
        RunError: the run is gone or damaged.
    """
    run = _OPEN.get(path)
    return run, run.metrics()


def forget() -> None:
    """Close all runs: the next look reads them from their start."""
    _OPEN.clear()
    _VERDICTS.clear()


def shown(runs: Sequence[tuple[Run, Metrics]]) -> list[Shown]:
    """Runs with names that differ, and a rank within their family by the order in which they were chosen."""
    labels = names([run for run, _ in runs])
    made: list[Shown] = []
    for (run, metrics), label, short in zip(runs, labels, _shortened(labels), strict=True):
        rank = sum(other.run.family == run.family for other in made)
        made.append(Shown(run, label, short, rank, metrics))
    return made


def _shortened(labels: Sequence[str]) -> list[str]:
    """Names without the words that all of them begin with, short enough for a line's end."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*labels, strict=False)) if len(labels) > 1 else ()
    shared = "".join(letters[0] for letters in alike)
    begin = max(shared.rfind(mark) for mark in "-_/ ") + 1
    cut = [label[begin:] for label in labels]
    return [text if len(text) <= _LONGEST else f"{text[: _LONGEST - 8]}…{text[-7:]}" for text in cut]


def several(entries: Sequence[Shown]) -> bool:
    """Whether a family has more than one run on screen, so that its name alone says too little."""
    families = [entry.run.family for entry in entries]
    return len(families) != len(set(families))


def smoothed(values: Floats, weight: float) -> Floats:
    """Exponential moving average, debiased as TensorBoard does; `weight` from 0 (off) below 1."""
    if weight <= 0 or not len(values):
        return values
    # Within a block, sum(w^(t-i) x_i) = w^t cumsum(w^-i x_i); a block ends before w^-i overflows.
    block = min(max(int(_MOST_DIGITS / -math.log10(weight)), 1), len(values))
    falling = weight ** np.arange(block)
    padded = np.zeros(-(-len(values) // block) * block)
    padded[: len(values)] = (1 - weight) * values
    sums = np.cumsum(padded.reshape(-1, block) / falling, axis=1) * falling
    carried = 0.0
    for row in sums:
        row += weight * carried * falling
        carried = row[-1]
    smooth: Floats = sums.reshape(-1)[: len(values)]
    smooth[:block] /= 1 - weight * falling  # beyond the first block that is 1 to the last digit
    return smooth


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
    whole = _remembered if metrics.rows > _LONG else _whole
    used = weight if is_smoothed(key) else 0.0
    x, y, smooth = whole(entry.metrics, metrics, key, axis, used, scale)
    held_x, held, _ = whole(entry.metrics, metrics, f"eval_{key}", axis, 0.0, scale)
    return Curve(entry.short, entry.run.family, entry.rank, x, y, smooth, held_x, held, used, model=entry.run.label)


def is_smoothed(key: str) -> bool:
    """Whether a measure is smoothed: what is measured now and then (held out, on probes) is shown as it is."""
    return not key.startswith(("eval_", "probe/"))


def _whole(
    run: Metrics, source: Metrics, key: str, axis: str, weight: float, scale: float
) -> tuple[Floats, Floats, Floats]:
    """All points of a measure and their smoothed values."""
    steps, values = source.points(key)
    x = across(run, axis, steps)
    y = values * scale if len(x) else np.empty(0)
    return x, y, smoothed(y, weight)


_remembered = lru_cache(maxsize=24)(_whole)


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


def verdicts(entry: Shown) -> list[Verdict]:
    """What the doctor says of a run; asked again only when the run has changed, and not at every point."""
    known = _VERDICTS.get(str(entry.run.path))
    now = time.monotonic()
    key = (entry.metrics, len(entry.run.samples()), entry.run.state)
    if known is not None and (known[1] == key or (entry.run.state == known[1][2] == "running" and now < known[0])):
        return known[2]
    found = diagnose(entry.run)
    _VERDICTS[str(entry.run.path)] = (now + _DOCTOR_SECONDS, key, found)
    return found


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
    kept, held = _kept(y), _kept(held_y)
    # The smoothed line has its own shape, but one x for both lines halves what is sent.
    return replace(
        made, x=x[kept], y=y[kept], smooth=smooth[kept], eval_x=held_x[held], eval_y=held_y[held], reduced=True
    )


def _kept(values: Floats) -> slice | np.ndarray:  # type: ignore[type-arg]
    if len(values) <= MOST_POINTS:
        return slice(None)
    return MinMaxLTTBDownsampler().downsample(np.ascontiguousarray(values), n_out=MOST_POINTS)
