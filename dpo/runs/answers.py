"""Measures of the probe answers, step by step."""

from __future__ import annotations

from collections.abc import Sequence

from dpo.runs.doctor.text import length_ratio, repetition
from dpo.runs.metrics import Metrics
from dpo.runs.reader import Sample


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
