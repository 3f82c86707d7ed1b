"""What is counted in a policy's answers, beside those of what it is compared with (no torch here)."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from dpo.arrays import Floats
from dpo.evaluation.comparison.measures import DIVERSITY, MEASURES, Measure, self_bleu
from dpo.evaluation.comparison.rows import Row
from dpo.evaluation.comparison.table import Table
from dpo.evaluation.statistics.intervals import Estimate, mean, paired_difference, win_rate

_MOST_WORDS = 20_000  # that diversity is measured on: more take long, and say the same
_MOST_ALIKE, _SAMPLES = 200, 4  # answers that self-BLEU is measured on, and of one prompt


def measured(table: Table) -> dict[tuple[str, float], Row]:
    """By policy and temperature: every measure of its answers, and how far it is from what it is compared with."""
    made = {}
    for t in table.plan["temperatures"]:
        answers = {name: _Answers(table, name, t) for name in table.plan["policies"]}
        budget = min(min(one.words for one in answers.values()), _MOST_WORDS)
        for name, own in answers.items():
            against = next((b for a, b in table.plan["comparisons"] if a == name), None)
            other = answers[against] if against is not None else None
            made[name, t] = {
                "policy": name, "against": against, "temperature": t, "prompts": len(own.rows),
                "left_out": own.left_out,
                "values": {key: _value(own, other, key, measure) for key, measure in MEASURES.items()},
                "self_bleu": _alike(own, other), "word_budget": budget,
                "diversity": {key: of(own.texts, budget) if budget else None for key, of in DIVERSITY.items()},
            }  # fmt: skip
    order = [(name, t) for name in table.plan["policies"] for t in table.plan["temperatures"]]
    return {where: made[where] for where in order}


def with_energy(rows: Sequence[Row], before: float | None, after: float | None) -> list[Row]:
    """Rows of a batch with their part of the watt-hours that it took, which go by tokens; without where unknown.

    Args:
        before: watt-hours at the start of the batch.
        after: at its end.
    """
    tokens = sum(row.get("tokens") or 0 for row in rows)
    if before is None or after is None or not tokens:
        return list(rows)
    each = (after - before) / tokens
    return [row | ({"wh": each * row["tokens"]} if row.get("tokens") else {}) for row in rows]


def speeds(table: Table) -> Iterator[Row]:
    """How quickly each policy answered: `policy`, `temperature`, `tokens` in `seconds`, and what that drew.

    `wh_per_1000_tokens` is of the answers that were made on GPUs whose power could be read; None where there are none.
    Of the time that a batch took, and of its energy, each answer has its part.  Both differ from machine to machine and
    run to run: they are no part of a result.
    """
    for name in table.plan["policies"]:
        for t in table.plan["temperatures"]:
            rows = [row for prompt in table.prompts for row in table.written(name, prompt, t) if row.get("seconds")]
            metered = [row for row in rows if row.get("wh") is not None and row["tokens"]]
            drawn = math.fsum(row["wh"] for row in metered) * 1000
            if rows:
                yield {
                    "policy": name, "temperature": t, "tokens": sum(row["tokens"] for row in rows),
                    "seconds": math.fsum(row["seconds"] for row in rows),
                    "wh_per_1000_tokens": drawn / sum(row["tokens"] for row in metered) if metered else None,
                }  # fmt: skip


class _Answers:
    """A policy's answers at a temperature: by the prompt's key, their measures averaged by prompt, their texts."""

    def __init__(self, table: Table, policy: str, t: float) -> None:
        by_prompt = {prompt["key"]: table.answers(policy, prompt, t) for prompt in table.prompts}
        there = {key: [row for row in rows if row is not None] for key, rows in by_prompt.items()}
        found = {key: [row for row in rows if row["text"] is not None] for key, rows in there.items()}
        self.rows = {key: rows for key, rows in found.items() if rows}
        self.left_out = sum(map(len, there.values())) - sum(map(len, found.values()))
        self.texts = [row["text"] for rows in self.rows.values() for row in rows]
        values = [[row["measures"][name] for name in MEASURES] for rows in self.rows.values() for row in rows]
        every = np.array(values, float).reshape(len(values), len(MEASURES))
        self.words = int(every[:, list(MEASURES).index("words")].sum())
        self.means = dict(zip(MEASURES, self._averaged(every), strict=True))

    def _averaged(self, values: Floats) -> Iterable[dict[str, float]]:
        """By measure and prompt's key; a prompt none of whose answers has a measure is left out."""
        sizes = [len(rows) for rows in self.rows.values()]
        starts = np.cumsum([0, *sizes[:-1]])
        for column in values.T:
            known = ~np.isnan(column)
            if not sizes:
                yield {}
                continue
            sums, counts = (np.add.reduceat(one, starts) for one in (np.where(known, column, 0.0), known.astype(float)))
            yield {
                key: float(total / count)
                for key, total, count in zip(self.rows, sums.tolist(), counts.tolist(), strict=True)
                if count
            }

    @functools.cached_property
    def alike(self) -> dict[str, float]:
        """Self-BLEU of the first answers to each prompt that has several; of the first such prompts."""
        several = {key: [row["text"] for row in rows[:_SAMPLES]] for key, rows in self.rows.items() if len(rows) > 1}
        made, left = {}, _MOST_ALIKE
        for key, texts in several.items():
            if left <= 0:
                break
            made[key] = self_bleu(texts)
            left -= len(texts)
        return made


def _value(own: _Answers, other: _Answers | None, name: str, measure: Measure) -> Row:
    means = own.means[name]
    value: Estimate | None = None
    if means:
        value = estimated(list(means.values()), measure)
    return _beside(value, means, {} if other is None else other.means[name], measure.share)


def _alike(own: _Answers, other: _Answers | None) -> Row:
    means = own.alike
    value = _sure(mean(list(means.values()))) if means else None
    return _beside(value, means, {} if other is None else other.alike, share=True)


def _beside(value: Estimate | None, own: Mapping[str, float], other: Mapping[str, float], share: bool) -> Row:
    common = [key for key in own if key in other]
    gap = difference([own[key] for key in common], [other[key] for key in common], share) if common else None
    return {"value": None if value is None else asdict(value), "difference": None if gap is None else asdict(gap)}


def estimated(values: Sequence[float], measure: Measure) -> Estimate:
    """The mean of a measure by prompt: of shares with Wilson's interval, of counts not below 0."""
    if measure.share:
        return win_rate(values)
    return _sure(mean(values)) if measure.signed else count(values)


def difference(first: Sequence[float], second: Sequence[float], share: bool = False) -> Estimate:
    """The mean paired difference; of shares no further from 0 than 1."""
    made = _sure(paired_difference(first, second))
    if not share or made.low is None or made.high is None:
        return made
    return replace(made, low=max(-1.0, made.low), high=min(1.0, made.high))


def count(values: Iterable[float]) -> Estimate:
    """The mean of what cannot be negative."""
    made = _sure(mean(list(values)))
    return made if made.low is None else replace(made, low=max(0.0, made.low))


def _sure(made: Estimate) -> Estimate:
    """Without an interval where all prompts are alike: one of no width would claim to know all other prompts."""
    return replace(made, low=None, high=None) if made.error == 0 else made
