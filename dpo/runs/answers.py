"""Measures of answers as text, and of the probe answers step by step."""

from __future__ import annotations

from collections.abc import Sequence

from dpo.runs.metrics import Metrics
from dpo.runs.reader import Sample


def repetition(texts: Sequence[str], size: int = 3) -> float:
    """Share of word groups of `size` that occurred before in the same text (seq-rep-n, Welleck et al. 2019)."""
    total = repeated = 0
    for text in texts:
        words = text.lower().split()
        groups = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
        total += len(groups)
        repeated += len(groups) - len(set(groups))
    return repeated / total if total else 0.0


def length_ratio(samples: Sequence[Sample]) -> float | None:
    """Words of the policy's answers over words of the reference's; None without a reference."""
    pairs = [(len(s.policy.split()), len(s.reference.split())) for s in samples if s.reference]
    theirs = sum(count for _, count in pairs)
    return sum(count for count, _ in pairs) / theirs if theirs else None


def answer_measures(samples: Sequence[Sample]) -> Metrics:
    """`length_ratio` (words of policy over reference), `repetition` (share of repeated word triples) by step."""
    by_step: dict[int, list[Sample]] = {}
    for sample in samples:
        by_step.setdefault(sample.step, []).append(sample)
    rows = []
    for step, answers in by_step.items():
        row: dict[str, float | str] = {"step": step, "repetition": repetition([answer.policy for answer in answers])}
        ratio = length_ratio(answers)
        rows.append(row | ({} if ratio is None else {"length_ratio": ratio}))
    return Metrics.of_rows(rows)
