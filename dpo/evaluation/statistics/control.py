"""Win rates and strengths with what is merely style held equal: length, emoji, markup."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dpo.arrays import Floats
from dpo.evaluation.statistics.intervals import LEVEL, Estimate
from dpo.evaluation.statistics.logistic import fit


@dataclass(frozen=True)
class Controlled:
    """A win rate with something held equal, and how much that alone moves a verdict.

    `slopes` `(s,)` are the log-odds of a win for one unit of each thing that is held equal.
    """

    rate: Estimate
    slopes: tuple[float, ...]


def controlled(
    h: npt.ArrayLike, style: npt.ArrayLike, clusters: npt.ArrayLike | None = None, level: float = LEVEL
) -> Controlled | None:
    """The win rate that is expected where both answers have the same style: `logit P(win) = theta + style phi`.

    Of two policies this is Bradley-Terry with covariates; no prior, so that nothing is claimed that is not in the data.

    Args:
        h: `(n,)`.
        style: `(n, s)`, what the judged answer has more of than the other.
        clusters: `(n,)`, the prompts of the rows.

    Returns:
        None where it cannot be estimated: all verdicts agree, or style alone tells who wins.
    """
    given, features = np.asarray(h, float), np.asarray(style, float)
    if len(given) < 3:
        return None
    made = fit(np.column_stack([np.ones(len(given)), features]), given, clusters)
    if made is None:
        return None
    theta, error = float(made.coefficients[0]), float(made.errors[0])
    half = float(stats.norm.ppf((1 + level) / 2)) * error
    rate = _sigmoid(theta)
    n = len(given) if clusters is None else len(np.unique(np.asarray(clusters)))
    estimate = Estimate(rate, _sigmoid(theta - half), _sigmoid(theta + half), rate * (1 - rate) * error, n, level)
    return Controlled(estimate, tuple(made.coefficients[1:].tolist()))


def length_controlled(
    h: npt.ArrayLike, longer: npt.ArrayLike, clusters: npt.ArrayLike | None = None, level: float = LEVEL
) -> Controlled | None:
    """The win rate that is expected where both answers are equally long (Dubois et al. 2024, arXiv 2404.04475).

    `logit P(win) = theta + phi tanh(d / sd(d))`; the rate is `1 / (1 + exp(-theta))`: AlpacaEval's minimal
    model, which has no term for the difficulty of its own prompts.

    Args:
        h: `(n,)`.
        longer: `(n,)`, length of the judged answer minus that of the other, in characters.
        clusters: `(n,)`, the prompts of the rows.

    Returns:
        None where it cannot be estimated: lengths do not differ, or all verdicts agree.
    """
    d = np.asarray(longer, float)
    if len(d) < 3 or np.ptp(d) == 0:
        return None
    return controlled(h, np.tanh(d / d.std(ddof=1))[:, None], clusters, level)


def style_controlled(
    duels: npt.ArrayLike, h: npt.ArrayLike, style: npt.ArrayLike, count: int, clusters: npt.ArrayLike | None = None,
    prior_variance: float = 25.0,
) -> tuple[Floats, Floats, Floats] | None:  # fmt: skip
    """Bradley-Terry strengths beside the weight of style (as Chatbot Arena's style control).

    Args:
        duels: `(n, 2)`, places of the two policies.
        h: `(n,)`, what the first one won.
        style: `(n, s)`, what the first answer has more of (a length ratio, emoji, ...); scaled here to variance 1.
        count: policies in all.
        clusters: `(n,)`, the prompts of the duels.

    Returns:
        Strengths `(count,)` of mean 0, their standard errors, and the weights of style `(s,)`; None where
        they cannot be estimated.
    """
    pairs, features = np.asarray(duels, int), np.atleast_2d(np.asarray(style, float))
    deviation = features.std(axis=0)
    features = features / np.where(deviation > 0, deviation, 1.0)
    rows = np.arange(len(pairs))
    design = np.zeros((len(pairs), count + features.shape[1]))
    design[rows, pairs[:, 0]] += 1
    design[rows, pairs[:, 1]] -= 1
    design[:, count:] = features
    variance = np.concatenate([np.full(count, prior_variance), np.where(deviation > 0, prior_variance, 1e-12)])
    made = fit(design, np.asarray(h, float), clusters, variance)
    if made is None:
        return None
    centred = np.eye(count) - 1 / count
    covariance = centred @ made.covariance[:count, :count] @ centred
    return centred @ made.coefficients[:count], np.sqrt(np.diag(covariance)), made.coefficients[count:]


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))
