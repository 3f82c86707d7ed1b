"""What a size can show, said before it is spent; and when enough has been seen."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from dpo.evaluation.statistics.intervals import Estimate, standard_error

_POWER = 0.8
# How alike several samples of one prompt are judged, where nothing is measured yet: the intraclass correlation.
_ALIKE = 0.22


def spread(ties: float = 0.0, samples: int = 1, alike: float = _ALIKE) -> float:
    """Standard deviation of a prompt's mean verdict near 50 %, for a share of `ties` and `samples` a prompt.

    One verdict has variance `(1 - ties) / 4`; of the mean of K it is `(alike + (1 - alike) / K)` times that.
    """
    single = (1 - ties) / 4
    return math.sqrt(single * (alike + (1 - alike) / samples))


def detectable_difference(prompts: int, sd: float, alpha: float = 0.05, power: float = _POWER) -> float:
    """The smallest distance from 50 % that `prompts` show with probability `power`: `(z_a + z_p) sd / sqrt(N)`."""
    return _quantiles(alpha, power) * sd / math.sqrt(prompts)


def prompts_needed(difference: float, sd: float, alpha: float = 0.05, power: float = _POWER) -> int:
    """How many prompts show a `difference` from 50 % with probability `power`."""
    return math.ceil((_quantiles(alpha, power) * sd / difference) ** 2)


def _quantiles(alpha: float, power: float) -> float:
    return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))


def sequence_halfwidth(h: npt.ArrayLike, level: float = 0.95, tuned_for: int = 200) -> float:
    """Half the width of an interval that may be looked at after every prompt (a confidence sequence).

    Asymptotic, of Waudby-Smith et al. (arXiv 2103.06476, equation 2):
    `sd sqrt(2 (t r^2 + 1) / (t^2 r^2) log(sqrt(t r^2 + 1) / alpha))`, narrowest at `tuned_for` prompts.
    `sd` is that of `h` `(t,)` and one win and one loss more: without them it errs in 13 % of cases at a win
    rate of 90 %, where the first prompts may all agree.
    """
    given = np.asarray(h, float)
    return halfwidth(float(np.std([*given, 0.0, 1.0], ddof=1)), len(given), level, tuned_for)


def sequence(h: npt.ArrayLike, level: float = 0.95, tuned_for: int = 200) -> Estimate:
    """The win rate `(t,)` with the interval of `sequence_halfwidth`, within 0 and 1."""
    given = np.asarray(h, float)
    value, half = float(given.mean()), sequence_halfwidth(given, level, tuned_for)
    error = standard_error(given) if len(given) > 1 else None
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), error, len(given), level)


def halfwidth(sd: float, t: int, level: float = 0.95, tuned_for: int = 200) -> float:
    """`sequence_halfwidth` for a known standard deviation."""
    alpha = 1 - level
    r = scale(alpha, tuned_for) ** 2
    return sd * math.sqrt(2 * (t * r + 1) / (t * t * r) * math.log(math.sqrt(t * r + 1) / alpha))


def scale(alpha: float, tuned_for: int) -> float:
    """The parameter that makes a sequence narrowest at `tuned_for` prompts (there, equation 9)."""
    log = -2 * math.log(alpha)
    return math.sqrt((log + math.log(log) + 1) / tuned_for)
