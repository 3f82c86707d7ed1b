"""From a source to training and held-out pairs."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dpo.errors import DataError
from dpo.preferences.formats import recognise
from dpo.preferences.sources import load_rows
from dpo.preferences.split import SALT, is_held_out

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Preferences:
    """Pairs for training and held-out pairs, with what a run records about them."""

    train: Dataset
    held_out: Dataset
    info: dict[str, Any]


def load_preferences(
    source: str,
    *,
    split: str = "train",
    num_samples: int | None = None,
    eval_fraction: float = 0.05,
    seed: int = 0,
    prompt_column: str | None = None,
    chosen_column: str | None = None,
    rejected_column: str | None = None,
) -> Preferences:
    """Load preference pairs and split them by prompt.

    Rows with a blank or missing side, or with equal answers, are dropped and counted.  With
    `num_samples`, that many pairs are drawn (by `seed`) before the split, so a prompt is on the
    same side however many are drawn.

    >>> pairs = load_preferences("sample", num_samples=100)
    >>> pairs.train.column_names
    ['prompt', 'chosen', 'rejected']

    Raises:
        DataError: nothing there, not preference data, or no pair left.
    """
    rows = load_rows(source, split)
    try:
        layout = recognise(rows[0], {"prompt": prompt_column, "chosen": chosen_column, "rejected": rejected_column})
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    pairs: list[dict[str, str]] = []
    dropped: Counter[str] = Counter()
    for row in rows:
        pair, reason = _pair(layout.pair, row)
        if pair is None:
            dropped[reason] += 1
        else:
            pairs.append(pair)
    if not pairs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise DataError(f"{source} has no usable pair ({reasons}): every pair needs a prompt and two different answers")
    if num_samples is not None and num_samples < len(pairs):
        chosen = sorted(random.Random(seed).sample(range(len(pairs)), num_samples))
        pairs = [pairs[index] for index in chosen]
    sides: dict[bool, list[dict[str, str]]] = {False: [], True: []}
    for pair in pairs:
        sides[is_held_out(pair["prompt"], eval_fraction)].append(pair)
    prompts = len({pair["prompt"] for pair in pairs})
    if not sides[False] or (eval_fraction > 0 and not sides[True]):
        missing = "training" if not sides[False] else "held out"
        raise DataError(
            f"{source}: none of its {prompts} different prompts falls on the {missing} side with "
            f"--eval-fraction {eval_fraction:g}: change it, or give more pairs"
        )
    info = {
        "source": source,
        "split_name": split,
        "layout": layout.name,
        "fingerprint": fingerprint(pairs),
        "rows": len(rows),
        "pairs": len(pairs),
        "prompts": prompts,
        "dropped": dict(dropped),
        "split": {"method": "sha256(salt + prompt)", "salt": SALT, "fraction": eval_fraction},
    }
    return Preferences(_dataset(sides[False]), _dataset(sides[True]), info)


def fingerprint(pairs: Sequence[dict[str, str]]) -> str:
    """16 hex digits that depend on the pairs and their order alone, the same on every machine."""
    digest = hashlib.sha256()
    for pair in pairs:
        for name in COLUMNS:
            digest.update(pair[name].encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()[:16]


def _pair(convert: Any, row: Any) -> tuple[dict[str, str] | None, str]:
    try:
        pair = convert(row)
    except (KeyError, IndexError, TypeError, AttributeError):
        return None, "of another layout"
    if not all(isinstance(pair.get(name), str) for name in COLUMNS):
        return None, "without text"
    for name in COLUMNS:
        if not pair[name].strip():
            return None, f"with a blank {name}"
    if pair["chosen"].strip() == pair["rejected"].strip():
        return None, "with equal answers"
    return pair, ""


def _dataset(pairs: list[dict[str, str]]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_dict({name: [pair[name] for pair in pairs] for name in COLUMNS})
