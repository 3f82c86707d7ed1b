"""From an interval to a word, so that the word follows the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import stats

from dpo.evaluation.statistics.intervals import Estimate

Word = Literal["better", "worse", "equivalent", "cannot tell at this size"]


def verdict(estimate: Estimate, margin: float | None = None, even: float = 0.5, p: float | None = None) -> Word:
    """Better, worse, equivalent, or that this size cannot tell.

    Args:
        estimate: of a win rate.
        margin: what counts as equal, as a distance from `even`; None if nothing does.
        p: the adjusted p-value (`holm`), where several comparisons are made; the word then needs it below
            `1 - estimate.level` as well.
    """
    sure = p is None or p < 1 - estimate.level
    if estimate.low is not None and estimate.high is not None:
        if estimate.low > even and sure:
            return "better"
        if estimate.high < even and sure:
            return "worse"
        if margin is not None and even - margin <= estimate.low and estimate.high <= even + margin:
            return "equivalent"
    return "cannot tell at this size"


def p_value(estimate: Estimate, even: float = 0.5) -> float:
    """Two-sided p-value of a mean being `even`, by Student's t over prompts; 1 where nothing can be said.

    Where every prompt agrees the standard error is 0, and the p-value is that of the sign test.
    """
    if estimate.error is None:
        return 1.0
    if estimate.error == 0:
        return 1.0 if estimate.value == even else min(1.0, 2 * 0.5**estimate.n)
    return float(2 * stats.t.sf(abs(estimate.value - even) / estimate.error, estimate.n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values, in the order given: the chance of one false word among them stays alpha."""
    order = np.argsort(p_values, kind="stable")
    adjusted, least = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, (len(p_values) - rank) * p_values[place])
        adjusted[place] = min(1.0, least)
    return adjusted
