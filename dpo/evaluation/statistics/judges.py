"""How far judges agree, what bias they have, and what people's votes correct."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dpo.arrays import Floats
from dpo.evaluation.statistics.intervals import LEVEL, Estimate, mean


def cohens_kappa(first: Sequence[object], second: Sequence[object], level: float = LEVEL) -> Estimate | None:
    """Agreement of two judges on the same items beyond chance (Cohen 1960), with the interval of Fleiss et al. (1969).

    None where chance alone explains everything: both gave one and the same verdict throughout.
    """
    names = sorted({*map(str, first), *map(str, second)})
    place = {name: i for i, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    for a, b in zip(first, second, strict=True):
        table[place[str(a)], place[str(b)]] += 1
    n = int(table.sum())
    if n == 0:
        return None
    p = table / n
    rows, columns = p.sum(1), p.sum(0)
    chance = float(rows @ columns)
    if chance >= 1:
        return None
    kappa = (float(np.trace(p)) - chance) / (1 - chance)
    same = np.diag(p) @ (1 - (rows + columns) * (1 - kappa)) ** 2
    apart = (p * (columns[:, None] + rows[None, :]) ** 2).sum() - np.diag(p) @ (rows + columns) ** 2
    variance = (same + (1 - kappa) ** 2 * apart - (kappa - chance * (1 - kappa)) ** 2) / (n * (1 - chance) ** 2)
    error = math.sqrt(max(0.0, float(variance)))
    half = float(stats.norm.ppf((1 + level) / 2)) * error
    return Estimate(kappa, kappa - half, min(1.0, kappa + half), error, n, level)


def krippendorffs_alpha(verdicts: Sequence[Sequence[object]]) -> float | None:
    """Agreement of any number of judges, nominal (Krippendorff 2011): one list of verdicts an item.

    Items with fewer than two verdicts say nothing and are left out; None where nothing is left or all agree
    on one verdict everywhere.
    """
    counts, observed = _agreements(verdicts)
    value = float(_alpha(counts.sum(0), observed.sum()))
    return None if math.isnan(value) else value


def alpha_by_prompt(
    verdicts: Sequence[Sequence[object]], prompts: Sequence[object], resamples: int = 2_000, seed: int = 0
) -> Estimate | None:
    """`krippendorffs_alpha` with the percentile bootstrap over the `prompts` that the items are of; `n` counts them.

    Draws in which all verdicts are one say nothing and are left out.
    """
    several = [place for place, item in enumerate(verdicts) if len(item) > 1]
    counts, observed = _agreements([verdicts[place] for place in several])
    value = _alpha(counts.sum(0), observed.sum())
    if np.isnan(value):
        return None
    known, places = np.unique([str(prompts[place]) for place in several], return_inverse=True)
    n = len(known)
    if n < 2:
        return Estimate(float(value), None, None, None, n)
    table = np.zeros((n, counts.shape[1] + 1))
    np.add.at(table, places, np.column_stack([counts, observed]))
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    drawn = weights @ table
    redrawn = _alpha(drawn[:, :-1], drawn[:, -1])
    redrawn = redrawn[~np.isnan(redrawn)]
    low, high = np.quantile(redrawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high), float(redrawn.std(ddof=1)), n)


def _agreements(verdicts: Sequence[Sequence[object]]) -> tuple[Floats, Floats]:
    """Of each item with several verdicts how often each verdict was given `(N, V)`, and its disagreement `(N,)`."""
    items = [Counter(map(str, item)) for item in verdicts if len(item) > 1]
    names = sorted({name for item in items for name in item})
    counts = np.array([[item[name] for name in names] for item in items], float).reshape(len(items), len(names))
    sizes = counts.sum(1)
    return counts, (sizes**2 - (counts**2).sum(1)) / np.maximum(sizes - 1, 1)


def _alpha(totals: Floats, observed: npt.ArrayLike) -> Floats:
    """Alpha `(...)` of how often each verdict was given `(..., V)`; no number where only one verdict was."""
    n = totals.sum(-1)
    expected = n**2 - (totals**2).sum(-1)
    found: Floats = np.divide(observed * (n - 1), expected, out=np.full(np.shape(n), np.nan), where=expected > 0)
    return 1 - found


@dataclass(frozen=True)
class OrderEffect:
    """What the order of two answers does to a judge, over items judged in both orders.

    `bias` is the share of verdicts for whichever stood first minus a half; `flips` of `decided` items
    changed the winner with the order; `decisive` is the share of verdicts that are no tie.
    """

    bias: Estimate
    flips: int
    decided: int
    decisive: float


def order_effect(forward: npt.ArrayLike, backward: npt.ArrayLike) -> OrderEffect:
    """Both `(N,)` say what answer A won, 0 to 1: `forward` with A shown first, `backward` with B shown first."""
    a, b = np.asarray(forward, float), np.asarray(backward, float)
    first = (a + (1 - b)) / 2
    bias = mean(first - 0.5)
    both = (a != 0.5) & (b != 0.5)
    verdicts = np.concatenate([a, b])
    return OrderEffect(bias, int(((a != b) & both).sum()), int(both.sum()), float((verdicts != 0.5).mean()))


def corrected_by_people(
    people: npt.ArrayLike, judge: npt.ArrayLike, judge_alone: npt.ArrayLike, weight: float | None = None
) -> tuple[Estimate, float]:
    """The win rate by people, made surer by a judge (prediction-powered inference, Angelopoulos et al. 2023).

    `lam mean(judge_alone) + mean(people - lam judge)`, with `lam` that makes the variance least
    (PPI++, arXiv 2311.01453): at 0 it is people alone, so a bad judge costs nothing.

    Args:
        people, judge: `(n,)`, on prompts that people voted on, drawn at random.
        judge_alone: `(M,)`, on the other prompts.
        weight: `lam`, if not the best one.

    Returns:
        The estimate and `lam`.
    """
    h, j, u = (np.asarray(values, float) for values in (people, judge, judge_alone))
    n, m = len(h), len(u)
    every = np.concatenate([j, u])
    lam = weight
    if lam is None:
        variance = float(every.var(ddof=1)) if len(every) > 1 else 0.0
        covariance = float(np.cov(h, j, ddof=1)[0, 1]) if n > 1 else 0.0
        lam = min(1.0, max(0.0, covariance / ((1 + n / m) * variance))) if m and variance > 0 else 0.0
    value = lam * float(u.mean() if m else 0.0) + float((h - lam * j).mean())
    spread = (lam**2 * float(u.var(ddof=1)) / m if m > 1 else 0.0) + float((h - lam * j).var(ddof=1)) / n
    error = math.sqrt(spread)
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    return Estimate(value, value - half, value + half, error, n), lam
