"""Weighted logistic regression with an optional prior, and errors that know which rows belong together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dpo.arrays import Floats

_STEPS = 100
_CLOSE = 1e-10
_FAR = 30.0  # log-odds beyond which data that are all alike have no finite answer


@dataclass(frozen=True)
class Fit:
    """Coefficients `(k,)` and their covariance `(k, k)`."""

    coefficients: Floats
    covariance: Floats

    @property
    def errors(self) -> Floats:
        """Standard errors `(k,)`."""
        return np.sqrt(np.diag(self.covariance))


def fit(
    design: Floats, outcome: Floats, clusters: npt.ArrayLike | None = None, prior_variance: Floats | None = None
) -> Fit | None:
    """Coefficients of `logit P(y) = design b` by Newton's method; None where they have no finite values.

    Args:
        design: `(n, k)`.
        outcome: `(n,)` in [0, 1]; a half is half a success.
        clusters: `(n,)`, which rows are one draw; None: each its own.
        prior_variance: `(k,)` of Gaussian priors around 0, infinite for none.

    The covariance is the cluster sandwich `H^-1 (sum_c g_c g_c') H^-1` (Liang and Zeger 1986).
    """
    k = design.shape[1]
    precision = np.zeros(k) if prior_variance is None else 1 / np.asarray(prior_variance, float)
    b = np.zeros(k)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ b, -500, 500)))
        slope = design.T @ (outcome - chance) - precision * b
        curve = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(precision)
        if np.linalg.matrix_rank(curve, tol=1e-12) < k:
            return None
        step = np.linalg.solve(curve, slope)
        b = b + step
        if np.abs(b).max() > _FAR:
            return None
        if np.abs(step).max() < _CLOSE:
            break
    chance = 1 / (1 + np.exp(-(design @ b)))
    curve = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(precision)
    rows = design * (outcome - chance)[:, None]
    if clusters is not None:
        known, places = np.unique(np.asarray(clusters), return_inverse=True)
        rows = np.stack([np.bincount(places, weights=rows[:, i], minlength=len(known)) for i in range(k)], 1)
    inverse = np.linalg.inv(curve)
    return Fit(b, inverse @ (rows.T @ rows) @ inverse)
