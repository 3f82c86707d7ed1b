"""How sure a mean over trainings and prompts is, and how much of its error each of the two makes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dpo.evaluation.statistics.intervals import LEVEL


@dataclass(frozen=True)
class Spread:
    """A mean over trainings that differ by their seed, and prompts that are the same for all of them.

    `training` is the standard deviation of what a training comes to, over seeds, without what chance in the prompts
    adds; `sampling` the standard error of the mean that comes from having asked these prompts and no others.  None
    where one training, or one prompt, cannot tell.  `low` and `high` bound the mean over all seeds and prompts.
    """

    value: float
    training: float | None
    sampling: float | None
    low: float | None
    high: float | None
    seeds: int
    prompts: int


def spread(values: npt.ArrayLike, level: float = LEVEL) -> Spread:
    """The mean of `values` `(seeds, prompts)`, with the two errors apart.

    Crossed random effects, `x_ip = m + a_i + b_p + e_ip` for seed i of k and prompt p of N, by analysis of variance
    (Searle, Casella and McCulloch 1992, Variance Components, chapter 4; negative variances count as 0):

        MS_seed   = N sum_i (x_i. - x_..)^2 / (k - 1)
        MS_prompt = k sum_p (x_.p - x_..)^2 / (N - 1)
        MS_rest   = sum_ip (x_ip - x_i. - x_.p + x_..)^2 / ((k - 1)(N - 1))

        training^2 = max(0, (MS_seed - MS_rest) / N)     variance between seeds less the mean variance of sampling
        sampling^2 = MS_prompt / (k N)

    What sampling adds between seeds is `MS_rest / N`, not the whole variance of a seed's mean: all seeds answer the
    same prompts, so that a hard prompt moves them all alike and sets none apart.  The mean's variance is
    `training^2 / k + sampling^2`; its interval is Student's with Satterthwaite's degrees of freedom (1946) for the
    combination of mean squares, so with three seeds that differ it is wide, as it must be.
    """
    given = np.asarray(values, float)
    k, n = given.shape
    value = float(given.mean())
    if n < 2:
        return Spread(value, None, None, None, None, k, n)
    by_seed, by_prompt = given.mean(1), given.mean(0)
    of_prompts = k * float(((by_prompt - value) ** 2).sum()) / (n - 1)
    sampling = math.sqrt(of_prompts / (k * n))
    if k < 2:
        return Spread(value, None, sampling, *_interval(value, sampling, n - 1, level), k, n)
    of_seeds = n * float(((by_seed - value) ** 2).sum()) / (k - 1)
    rest = float(((given - by_seed[:, None] - by_prompt + value) ** 2).sum()) / ((k - 1) * (n - 1))
    variance = max(0.0, (of_seeds - rest) / n)
    error = math.sqrt(variance / k + sampling**2)
    freedom = float(n - 1)
    if variance > 0:
        parts = of_seeds**2 / (k - 1) + of_prompts**2 / (n - 1) + rest**2 / ((k - 1) * (n - 1))
        freedom = (of_seeds + of_prompts - rest) ** 2 / parts
    return Spread(value, math.sqrt(variance), sampling, *_interval(value, error, freedom, level), k, n)


def _interval(value: float, error: float, freedom: float, level: float) -> tuple[float | None, float | None]:
    """None where everything is alike: an interval of no width would claim to know all other prompts."""
    if error == 0:
        return None, None
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return value - half, value + half
