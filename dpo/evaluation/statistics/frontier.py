"""Whether more distance from the base still buys reward: the hump of over-optimisation (Gao et al. 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dpo.arrays import Flags, Floats
from dpo.evaluation.statistics.intervals import LEVEL

FEWEST = 4
"""Policies that a curve of two numbers is fitted to."""


@dataclass(frozen=True)
class Hump:
    """The curve `R = d (a - b log d)` of reward against `d = sqrt(KL)` (nats), and where it is highest.

    `peak` is that distance, `exp(a / b - 1)`, with its interval at `level`; None where the curve has none, or the
    interval no end: it rises as far as was looked.  `past` `(policies,)` says which are surely beyond it.
    """

    a: float
    b: float
    peak: float | None
    low: float | None
    high: float | None
    past: tuple[bool, ...]
    level: float = LEVEL


def hump(gains: Floats, kls: Floats, resamples: int = 2_000, seed: int = 0, level: float = LEVEL) -> Hump | None:
    """Fit the curve to policies by least squares, with bootstrap draws of prompts.

    Args:
        gains: `(policies, N)`, what a judge gives each more than the base, by prompt.
        kls: `(policies, M)`, KL to the base in nats, by prompt (other prompts, or fewer).

    Returns:
        None for fewer than `FEWEST` policies at different distances.
    """
    distances = np.sqrt(kls.mean(1))
    if len(np.unique(distances[distances > 0])) < FEWEST:
        return None
    (a,), (b,) = _fit(distances[None], gains.mean(1)[None])
    draw = np.random.default_rng(seed)
    drawn = [
        draw.multinomial(table.shape[1], np.full(table.shape[1], 1 / table.shape[1]), size=resamples) / table.shape[1]
        @ table.T
        for table in (gains, kls)
    ]  # fmt: skip
    far = np.sqrt(drawn[1])
    peaks = _peak(*_fit(far, drawn[0]))
    low, high = (float(np.quantile(peaks, share, method="nearest")) for share in ((1 - level) / 2, (1 + level) / 2))
    beyond: Flags = (far > peaks[:, None]).mean(0) >= (1 + level) / 2
    peak = float(_peak(np.array([a]), np.array([b]))[0])
    past = tuple((beyond & (distances > peak)).tolist())
    return Hump(float(a), float(b), _finite(peak), _finite(low), _finite(high), past, level)


def _fit(distances: Floats, gains: Floats) -> tuple[Floats, Floats]:
    """`a` and `b` `(draws,)` of distances and gains `(draws, policies)`, by the normal equations."""
    safe = np.where(distances > 0, distances, 1.0)
    x, y = distances, np.where(distances > 0, -distances * np.log(safe), 0.0)
    xx, xy, yy = (x * x).sum(1), (x * y).sum(1), (y * y).sum(1)
    xr, yr = (x * gains).sum(1), (y * gains).sum(1)
    scale = xx * yy - xy**2
    scale = np.where(np.abs(scale) > 1e-12 * xx * np.maximum(yy, 1e-300), scale, np.nan)
    return (yy * xr - xy * yr) / scale, (xx * yr - xy * xr) / scale


def _peak(a: Floats, b: Floats) -> Floats:
    """Where the curves are highest, infinity where they have no top."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(b > 0, np.exp(np.minimum(a / b - 1, 700.0)), np.inf)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) and value < 1e6 else None
