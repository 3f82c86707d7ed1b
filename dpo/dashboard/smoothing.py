"""Smoothed curves."""

from __future__ import annotations

import math

import numpy as np

from dpo.arrays import Floats

_MOST_DIGITS = 200  # of the 308 that a float has before it overflows
_LARGE = 1e100


def is_smoothed(key: str) -> bool:
    """Whether a measure is smoothed: what is measured now and then (held out, on probes) is shown as it is."""
    return not key.startswith(("eval_", "probe/"))


def smoothed(values: Floats, weight: float) -> Floats:
    """Exponential moving average, debiased as TensorBoard does; `weight` from 0 (off) below 1."""
    if weight <= 0 or not len(values):
        return values
    # Within a block, sum(w^(t-i) x_i) = w^t cumsum(w^-i x_i); a block ends before w^-i overflows.
    block = min(max(int(_MOST_DIGITS / -math.log10(weight)), 1), len(values))
    falling = weight ** np.arange(block)
    padded = np.zeros(-(-len(values) // block) * block)
    # A run that went wrong logs values as large as floats get: those are smoothed in units of the largest.
    largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))
    unit = largest if largest > _LARGE else 1.0
    padded[: len(values)] = (1 - weight) * (values / unit)
    sums = np.cumsum(padded.reshape(-1, block) / falling, axis=1) * falling
    carried = 0.0
    for row in sums:
        row += weight * carried * falling
        carried = row[-1]
    smooth: Floats = sums.reshape(-1)[: len(values)]
    smooth[:block] /= 1 - weight * falling  # beyond the first block that is 1 to the last digit
    smooth *= unit
    return smooth
