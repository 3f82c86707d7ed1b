"""What tuning changed, in words: counted from the answers, without a model (no torch here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dpo.evaluation.comparison.measures import MEASURES
from dpo.evaluation.comparison.rows import Row
from dpo.evaluation.comparison.table import Table
from dpo.evaluation.statistics.words import WordShift, shifts

SURE = 0.05
"""A word counts as used more or less often where its adjusted p-value is below."""
_SHOWN = 12  # words on each side in the result
_NAMED = 3  # of which the sentence names
# What the sentence says of a measure that differs: a count as "3.1 more ...", a share as "... in 94 % (27 %)".
_COUNTS = {"contractions": "contractions", "first_person": "first-person words"}
_SHARES = {
    "has_emoji": "hold an emoji",
    "speaks_of_ai": "speak of being an AI",
    "ended": "end by themselves",
    "repeated_4grams": "repeat themselves",
}


def changed(table: Table, row: Row, base: Row) -> Row:
    """What a policy's answers have more and less of than those of what it is compared with, and one sentence.

    Args:
        row: the policy's measures, with differences.
        base: the measures of the other one, at the same temperature.
    """
    policy, against, t = row["policy"], row["against"], row["temperature"]
    written = [[table.written(name, prompt, t) for prompt in table.prompts] for name in (policy, against)]
    both = [pair for pair in zip(*written, strict=True) if all(pair)]
    first, second = ([[one["text"] for one in pair[side]] for pair in both] for side in (0, 1))
    found = shifts(first, second)
    sides = _sides(found)
    return {
        "policy": policy, "against": against, "temperature": t, "prompts": len(both),
        "sentence": _sentence(row, base, sides), **sides,
    }  # fmt: skip


def taught(table: Table) -> Row:
    """What the chosen answers of the held-out pairs have more and less of than the rejected ones."""
    pairs = [prompt["pairs"] for prompt in table.prompts if prompt["pairs"]]
    chosen, rejected = ([[pair[side] for pair in of_prompt] for of_prompt in pairs] for side in ("chosen", "rejected"))
    return {"pairs": sum(map(len, pairs)), "prompts": len(pairs), **_sides(shifts(chosen, rejected))}


def _sides(found: Sequence[WordShift]) -> dict[str, list[Row]]:
    sure = [shift for shift in found if shift.p < SURE]
    return {
        "more": [_as_row(shift) for shift in sure if shift.log_odds > 0][:_SHOWN],
        "less": [_as_row(shift) for shift in sure if shift.log_odds < 0][:_SHOWN],
    }


def _as_row(shift: WordShift) -> Row:
    return asdict(shift) | {"rates": list(shift.rates), "prompts": list(shift.prompts)}


def _sentence(row: Row, base: Row, sides: Mapping[str, Sequence[Row]]) -> str:
    policy, against = row["policy"], row["against"]
    says = [*_length(row, base, against), *_counts(row), *_shares(row, base), *_words(sides)]
    if not says:
        return f"Nothing that is counted differs for sure between {policy}'s answers and {against}'s at this size"
    listed = says[0] if len(says) == 1 else f"{', '.join(says[:-1])} and {says[-1]}"
    return f"{policy}'s answers {listed}"


def _length(row: Row, base: Row, against: str) -> list[str]:
    gap = _sure(row, "words")
    if gap is None:
        return []
    own, other = (side["values"]["words"]["value"]["value"] for side in (row, base))
    return [f"are {abs(gap):.0f} words {'longer' if gap > 0 else 'shorter'} than {against}'s ({own:.0f}, {other:.0f})"]


def _counts(row: Row) -> list[str]:
    gaps = {says: _sure(row, name) for name, says in _COUNTS.items()}
    return [
        f"have {abs(gap):.1f} {'more' if gap > 0 else 'fewer'} {says}" for says, gap in gaps.items() if gap is not None
    ]


def _shares(row: Row, base: Row) -> list[str]:
    made = []
    for name, says in _SHARES.items():
        if _sure(row, name) is not None:
            own, other = (side["values"][name]["value"]["value"] for side in (row, base))
            made.append(f"{says} in {own * 100:.0f} % ({other * 100:.0f} %)")
    return made


def _sure(row: Row, name: str) -> float | None:
    """The difference of a measure, None where 0 lies within its interval."""
    assert name in MEASURES
    difference: Mapping[str, Any] | None = row["values"][name]["difference"]
    if difference is None:
        return None
    low, high = difference["low"], difference["high"]
    apart = difference["value"] != 0 if low is None else low > 0 or high < 0
    return float(difference["value"]) if apart else None


def _words(sides: Mapping[str, Sequence[Row]]) -> list[str]:
    made = []
    for side, how in (("more", "more often"), ("less", "less often")):
        names: list[str] = []
        for row in sides[side]:
            # Of "as an" and "an" the surer one says it all.
            parts = set(row["word"].split())
            if not any(parts & set(name.split()) for name in names):
                names.append(row["word"])
        if names:
            made.append(f"use {', '.join(f'“{name}”' for name in names[:_NAMED])} {how}")
    return made
