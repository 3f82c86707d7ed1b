"""What CHES says of pairs (`dpo.evaluation.ches` measures it): a finding, and which pairs to drop (no torch here)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from datasets import Dataset

from dpo.arrays import Floats, Ints
from dpo.preferences.audit.result import Audit, Finding, ranges
from dpo.preferences.normalise import Normalised

SHARE = 0.05
"""Of the pairs, those with the highest CHES: what Razin et al. 2024 left out is in this order."""
_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class DropChes:
    """Drop the share of pairs with the highest CHES under a model, as `score` measures it `(pairs,)`."""

    share: float
    model: str
    score: Callable[[Dataset], Floats]

    def places(self, pairs: Dataset) -> list[int]:
        """Their places in the table."""
        return [int(place) for place in highest(self.score(pairs), self.share)]


def highest(scores: Floats, share: float) -> Ints:
    """Places of the highest scores, the highest first: `share` of those that are numbers, rounded up."""
    known = np.flatnonzero(~np.isnan(scores))
    order = known[np.argsort(-scores[known], kind="stable")]
    return order[: int(np.ceil(round(share * len(known), 9)))]


def with_ches(result: Audit, data: Normalised, model: str, scores: Floats) -> Audit:
    """An audit with the CHES of every pair of `data`, the highest first, and a finding on the highest ones."""
    rows, order = np.asarray(data.pairs["row"]), highest(scores, 1.0)
    if not len(order):
        return result
    worst = highest(scores, SHARE)
    low, middle, high = np.quantile(scores[order], _QUANTILES)
    measures = dict(result.measures)
    measures["ches"] = dict(measures.get("ches", {})) | {
        model: {
            "rows": rows[order].tolist(), "scores": [round(float(score), 6) for score in scores[order]],
            "p05": float(low), "p50": float(middle), "p95": float(high), "unread": int(len(scores) - len(order)),
        }
    }  # fmt: skip
    finding = Finding(
        "ches",
        "note",
        f"{len(worst):,} pairs have the highest CHES under {model} ({scores[worst[-1]]:.3g} or more, half of all are "
        f"above {middle:.3g}): their answers are the most alike to it, and training pushes their chosen one down most.",
        ranges(rows[worst].tolist()),
        len(worst),
        {"model": model, "least": float(scores[worst[-1]]), "median": float(middle)},
        f"if chosen answers fall in training: dpo data clean ... --drop-ches {SHARE:.0%} --model {model}",
    )
    return replace(result, findings=(*result.findings, finding), measures=measures)
