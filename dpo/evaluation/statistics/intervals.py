"""Intervals of means, win rates and paired differences over prompts."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dpo.arrays import Floats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its interval at `level`, its standard error and the prompts behind it.

    `low` and `high` are None where nothing can be said: fewer than two prompts.
    """

    value: float
    low: float | None
    high: float | None
    error: float | None
    n: int
    level: float = LEVEL


def standard_error(values: Floats, clusters: npt.ArrayLike | None = None, corrected: bool = True) -> float:
    """Standard error of the mean of `values` `(n,)`; rows with equal `clusters` `(n,)` count as one draw.

    `sqrt(C / (C - 1) sum_c (sum_{i in c} (v_i - m))^2) / n` over C clusters (Miller 2024, arXiv 2411.00640;
    `corrected=False` leaves `C / (C - 1)` out, as there).  With a row a cluster it is `sd / sqrt(n)`.
    """
    values = np.asarray(values, float)
    if clusters is None:
        places, count = np.arange(len(values)), len(values)
    else:
        known, places = np.unique(np.asarray(clusters), return_inverse=True)
        count = len(known)
    sums = np.bincount(places, weights=values - values.mean(), minlength=count)
    scale = count / (count - 1) if corrected else 1.0
    return float(math.sqrt(scale * float(sums @ sums)) / len(values))


def mean(values: npt.ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean of one value a prompt, with Student's interval (N - 1 degrees of freedom).

    For paired differences of lengths, rewards, perplexities; for shares near 0 or 1 use `win_rate`.
    """
    given = np.asarray(values, float)
    n, value = len(given), float(given.mean())
    if n < 2:
        return Estimate(value, None, None, None, n, level)
    error = standard_error(given)
    half = _student((1 + level) / 2, n - 1) * error
    return Estimate(value, value - half, value + half, error, n, level)


def paired_difference(first: npt.ArrayLike, second: npt.ArrayLike, level: float = LEVEL) -> Estimate:
    """Mean of `first - second`, one value a prompt on each side, with Student's interval of the differences."""
    return mean(np.asarray(first, float) - np.asarray(second, float), level)


def effective_size(h: npt.ArrayLike, level: float = LEVEL, clusters: npt.ArrayLike | None = None) -> float:
    """How many wins-or-losses tell as much as the values `h`: `m (1 - m) / SE^2 (z / t_{C-1})^2`, C where SE is 0.

    C is the number of `clusters`, of values without them.  The last factor makes a normal interval on it as wide
    as Student's on C prompts.
    """
    given = np.asarray(h, float)
    count = len(given) if clusters is None else len(np.unique(np.asarray(clusters)))
    value, error = float(given.mean()), standard_error(given, clusters)
    if error == 0 or value in (0.0, 1.0):
        return float(count)
    quantile = (1 + level) / 2
    narrower = _normal(quantile) / _student(quantile, count - 1)
    return value * (1 - value) / error**2 * narrower**2


def win_rate(h: npt.ArrayLike, level: float = LEVEL, clusters: npt.ArrayLike | None = None) -> Estimate:
    """Mean of `h` `(N,)`, values in [0, 1], with Wilson's interval (1927) on the effective size.

    One value a prompt; or, where prompts have different numbers of them, with the prompts as `clusters` `(N,)`.
    It never leaves [0, 1], is never of zero width, and needs no seed.
    """
    given = np.asarray(h, float)
    n, value = len(given), float(given.mean())
    if n < 2 or (clusters is not None and len(np.unique(np.asarray(clusters))) < 2):
        return Estimate(value, None, None, None, n, level)
    low, high = wilson(value, effective_size(given, level, clusters), level)
    return Estimate(value, low, high, standard_error(given, clusters), n, level)


@functools.cache
def _normal(quantile: float) -> float:
    return float(stats.norm.ppf(quantile))


@functools.cache
def _student(quantile: float, freedom: int) -> float:
    return float(stats.t.ppf(quantile, freedom))


def wilson(share: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of `n`; both may be fractional."""
    z = _normal((1 + level) / 2)
    scaled = z * z / n
    middle = (share + scaled / 2) / (1 + scaled)
    half = math.sqrt(share * (1 - share) * scaled + scaled * scaled / 4) / (1 + scaled)
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(values: npt.ArrayLike, level: float = LEVEL, resamples: int = 9_999, seed: int = 0) -> Estimate:
    """Mean of one value a prompt with the BCa bootstrap over prompts (Efron 1987); Student's where all are equal."""
    given = np.asarray(values, float)
    if len(given) < 2 or np.ptp(given) == 0:
        return mean(given, level)
    made = stats.bootstrap(
        (given,), np.mean, confidence_level=level, n_resamples=resamples, method="BCa",
        rng=np.random.default_rng(seed), batch=256,
    )  # fmt: skip
    interval = made.confidence_interval
    return Estimate(
        float(given.mean()), float(interval.low), float(interval.high), standard_error(given), len(given), level
    )


def saved_by_pairing(first: npt.ArrayLike, second: npt.ArrayLike) -> float | None:
    """Share of the difference's variance that measuring both sides on the same prompts (and noise) took away.

    `1 - Var(first - second) / (Var(first) + Var(second))`; None where neither varies.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    unpaired = a.var(ddof=1) + b.var(ddof=1) if len(a) > 1 else 0.0
    return float(1 - (a - b).var(ddof=1) / unpaired) if unpaired > 0 else None
