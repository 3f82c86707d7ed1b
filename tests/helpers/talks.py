"""Pairs with faults put in, for the tests of the audit and of cleaning."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpo.preferences.audit import Audit, Finding, Vocabulary, audit
from dpo.preferences.normalise import normalise

Write = Callable[..., Path]
Rows = list[dict[str, str]]


def talk(count: int, seed: int = 0, emoji: bool = False) -> Rows:
    """Pairs about topics of their own: answers take up rare words of their prompt, as real ones do."""
    rng = random.Random(seed)
    common = [f"word{n}" for n in range(200)]
    topics = ["".join(rng.choices("bcdfglmnprstvaeiou", k=7)) for _ in range(count)]

    def say(row: int, length: int) -> str:
        words = [rng.choice(common) for _ in range(rng.randint(length, 3 * length))]
        for place in rng.sample(range(len(words)), 2):
            words[place] = topics[row] if rng.random() < 0.8 else topics[(row * 7 + place) % count]
        return " ".join(words)

    return [
        {
            "prompt": say(row, 6) + "?",
            "chosen": say(row, 12) + (" 😀" if emoji and rng.random() < 0.96 else ""),
            "rejected": say(row, 12),
        }
        for row in range(count)
    ]


def shuffled(rows: Rows, first: int, last: int, side: str) -> Rows:
    """`rows` with one side of a block in another order."""
    order = list(range(first, last + 1))
    random.Random(1).shuffle(order)
    changed = [dict(row) for row in rows]
    for place, origin in zip(range(first, last + 1), order, strict=True):
        changed[place][side] = rows[origin][side]
    return changed


def found(result: Audit, code: str) -> list[Finding]:
    """The findings of a code."""
    return [finding for finding in result.findings if finding.code == code]


def audited(path: Path, *vocabularies: Vocabulary, **options: Any) -> Audit:
    """The audit of a file."""
    return audit(normalise(str(path)), vocabularies, **options)
