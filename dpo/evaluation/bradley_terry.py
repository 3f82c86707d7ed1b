"""The Bradley-Terry model: scores from duels, and how sure they are (no torch here).

Bradley and Terry 1952: `P(i beats j) = 1 / (1 + exp(s_j - s_i))`, a logistic regression of "the first
won" on the difference of indicators; here with a weak Gaussian prior on the scores.
"""

from __future__ import annotations

import numpy as np

# Variance of the scores' prior: keeps a policy that never lost finite, and is weak beside ten votes.
PRIOR_VARIANCE = 25.0


def bradley_terry(duels: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Scores `(count,)` with mean 0 from duels `(n, 2)` of (winner, loser) and their weights `(n,)`."""
    from scipy.optimize import minimize

    winners, losers = duels[:, 0], duels[:, 1]

    def loss(scores: np.ndarray) -> tuple[float, np.ndarray]:
        gap = scores[winners] - scores[losers]
        missed = 1 / (1 + np.exp(np.clip(gap, -500, 500)))  # probability of the upset
        slope = scores / PRIOR_VARIANCE
        np.add.at(slope, winners, -weights * missed)
        np.add.at(slope, losers, weights * missed)
        value = float(weights @ np.logaddexp(0, -gap) + scores @ scores / (2 * PRIOR_VARIANCE))
        return value, slope

    solved = minimize(loss, np.zeros(count), jac=True, method="L-BFGS-B", options={"gtol": 1e-6})
    return np.asarray(solved.x - solved.x.mean())


def standard_errors(duels: np.ndarray, weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """`(count,)`: the scores' standard errors by the curvature at the scores (Laplace's approximation).

    The inverse of the Hessian of `bradley_terry`'s loss, of which the mean over policies is projected
    out because scores have mean 0.  It stays above 0 where all votes agree.
    """
    count = len(scores)
    winners, losers = duels[:, 0], duels[:, 1]
    chance = 1 / (1 + np.exp(-(scores[winners] - scores[losers])))
    information = weights * chance * (1 - chance)
    hessian = np.eye(count) / PRIOR_VARIANCE
    for i, j, sign in ((winners, winners, 1), (losers, losers, 1), (winners, losers, -1), (losers, winners, -1)):
        np.add.at(hessian, (i, j), sign * information)
    centred = np.eye(count) - 1 / count
    return np.asarray(np.sqrt(np.diag(centred @ np.linalg.inv(hessian) @ centred)))
