"""Bradley-Terry strengths of many resamples at once, drawn by prompt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dpo.arrays import Floats
from dpo.evaluation.statistics.intervals import LEVEL

_STEPS = 50


def bradley_terry(wins: npt.ArrayLike, prior_variance: float = np.inf) -> Floats:
    """Strengths `(..., P)` of mean 0 from wins `(..., P, P)`, `wins[i, j]` of i over j; a tie is half a win each way.

    Newton's method on `P(i beats j) = 1 / (1 + exp(s_j - s_i))` (Bradley and Terry 1952), for all leading
    dimensions together.  A finite `prior_variance` keeps who never lost finite.
    """
    given = np.asarray(wins, float)
    count = given.shape[-1]
    games = given + np.swapaxes(given, -1, -2)
    won = given.sum(-1)
    precision = 0.0 if np.isinf(prior_variance) else 1 / prior_variance
    # Only differences are known: the sum is held at 0.
    pinned = np.full((count, count), 1.0 / count) + precision * np.eye(count)
    scores = np.zeros(won.shape)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-(scores[..., :, None] - scores[..., None, :])))
        slope = won - (games * chance).sum(-1) - (precision + 0.0) * scores
        weight = games * chance * (1 - chance)
        curve = -weight
        curve[..., np.arange(count), np.arange(count)] += weight.sum(-1)
        step = np.linalg.solve(curve + pinned, slope[..., None])[..., 0]
        scores = scores + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-10:
            break
    return scores - scores.mean(-1, keepdims=True)


def standard_errors(wins: npt.ArrayLike, scores: Floats, prior_variance: float) -> Floats:
    """`(P,)`: the scores' standard errors by the curvature at the scores (Laplace's approximation).

    The inverse of the Hessian of the penalised likelihood of `wins` `(P, P)`, of which the mean over policies is
    projected out because scores have mean 0.  It stays above 0 where all verdicts agree.
    """
    given = np.asarray(wins, float)
    chance = 1 / (1 + np.exp(-(scores[:, None] - scores[None, :])))
    weight = (given + given.T) * chance * (1 - chance)
    hessian = np.diag(weight.sum(1) + 1 / prior_variance) - weight
    centred = np.eye(len(scores)) - 1 / len(scores)
    return np.asarray(np.sqrt(np.diag(centred @ np.linalg.inv(hessian) @ centred)))


def resampled_by_prompt(
    wins: npt.ArrayLike, resamples: int = 2_000, seed: int = 0, prior_variance: float = 25.0
) -> Floats:
    """Strengths `(resamples, P)` of bootstrap draws of whole prompts; `wins` is `(N, P, P)`, one table a prompt."""
    given = np.asarray(wins, float)
    n, count = given.shape[0], given.shape[-1]
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    tables = drawn @ given.reshape(n, count * count)
    return bradley_terry(tables.reshape(resamples, count, count), prior_variance)


def percentiles(samples: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The interval `(P,), (P,)` that holds `level` of the samples `(resamples, P)`."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
