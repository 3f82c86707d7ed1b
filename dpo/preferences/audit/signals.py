"""Everything an audit and a cleaning measure on the pairs, read once and a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo.arrays import Flags, Floats32, Ints
from dpo.preferences.audit.duplicates import near_duplicates
from dpo.preferences.audit.pairing import Pairing, find_mispaired
from dpo.preferences.audit.surface import MARKUP, features, marked, private_in, suspects
from dpo.preferences.audit.tokens import Counted
from dpo.preferences.audit.words import Column, Words
from dpo.preferences.split import held_out_of, is_held_out, position
from dpo.preferences.table import COLUMNS

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 2048
_MOST_CHARACTERS = 50_000  # of a text are searched for personal data
_SHORTCUT_SALT, _SHORTCUT_SHARE = "dpo-audit-shortcuts", 0.3
StepProgress = Callable[[str, float], None]


@dataclass
class Signals:
    """Arrays with one entry for each pair, in the order of the table.

    `*_number` are equal for equal texts; `near_*` name the first pair that one nearly repeats.
    `tested` are the pairs that shortcuts are tested on, `held_out` those that training would hold out.
    """

    words: Words
    columns: dict[str, Column]
    row: Ints
    prompt_number: Ints
    pair_number: Ints
    chosen_number: Ints
    near_prompt: Ints
    near_pair: Ints
    surface: dict[str, Floats32]
    tested: Flags
    held_out: Flags
    repeats_prompt: Ints
    pairing: Pairing
    private: dict[str, list[int]] = field(default_factory=dict)
    """Places of the pairs by what they hold ("e-mail address")."""
    markup: dict[str, list[int]] = field(default_factory=dict)
    """Places of the pairs by the chat template's token that a text of theirs holds ("<|im_end|>")."""
    tokens: dict[str, Counted] = field(default_factory=dict)
    """By vocabulary, once an audit counted them."""


def measure(pairs: Dataset, eval_fraction: float, progress: StepProgress | None = None) -> Signals:
    """Read the pairs once and compare them.

    `progress` hears the name of the step and its share done (0 to 1).
    """
    tell = progress or (lambda step, share: None)
    words = Words(COLUMNS)
    numbers: dict[str, list[int]] = {name: [] for name in ("prompt", "pair", "chosen")}
    surface: dict[str, list[Floats32]] = {"chosen": [], "rejected": []}
    tested: list[bool] = []
    positions: list[int] = []
    repeats: list[int] = []
    private: dict[str, list[int]] = {}
    markup: dict[str, list[int]] = {}
    arrow = pairs.with_format("arrow")
    for start in range(0, len(pairs), _BATCH):
        batch = arrow[start : start + _BATCH]
        texts = {side: batch[side].to_pylist() for side in COLUMNS}
        for side in COLUMNS:
            words.add(side, texts[side])
        for side in surface:
            surface[side].append(features(batch[side].combine_chunks()))
        numbers["prompt"] += map(hash, texts["prompt"])
        numbers["chosen"] += map(hash, texts["chosen"])
        numbers["pair"] += map(hash, zip(*texts.values(), strict=True))
        tested += [is_held_out(prompt, _SHORTCUT_SHARE, _SHORTCUT_SALT) for prompt in texts["prompt"]]
        positions += [position(prompt) for prompt in texts["prompt"]]
        repeats += _repeating(texts, start)
        _add_found(private, batch, start, suspects, private_in)
        _add_found(markup, batch, start, marked, MARKUP.findall)
        tell("reading", min(1.0, (start + _BATCH) / len(pairs)))
    columns = {side: words.column(side) for side in COLUMNS}
    number = {name: np.array(each, np.int64) for name, each in numbers.items()}
    tell("comparing prompts", 0.0)
    near_prompt = near_duplicates(columns["prompt"], number["prompt"])
    tell("comparing pairs", 0.3)
    answers = _joined([columns["chosen"], columns["rejected"]])
    near_pair = _same(near_prompt, near_duplicates(answers, number["pair"]))
    tell("fitting answers to prompts", 0.6)
    pairing = find_mispaired(columns["prompt"], columns["chosen"], columns["rejected"], len(words))
    return Signals(
        words=words,
        columns=columns,
        row=_row_numbers(pairs),
        prompt_number=number["prompt"],
        pair_number=number["pair"],
        chosen_number=number["chosen"],
        near_prompt=near_prompt,
        near_pair=near_pair,
        surface={side: np.concatenate(parts) for side, parts in surface.items()},
        tested=np.array(tested, bool),
        held_out=held_out_of(positions, eval_fraction),
        repeats_prompt=np.array(repeats, np.int64),
        pairing=pairing,
        private=private,
        markup=markup,
    )


def _row_numbers(pairs: Dataset) -> Ints:
    if "row" not in pairs.column_names:
        return np.arange(len(pairs))
    # This column alone: all texts at once would fill the memory.
    return np.asarray(pairs.select_columns("row").with_format("numpy")[:]["row"], np.int64)


def _add_found(
    found: dict[str, list[int]], batch: Any, start: int,
    candidates: Callable[[Any], Ints], kinds: Callable[[str], Iterable[str]],
) -> None:  # fmt: skip
    """Add the places of the pairs by the kinds that their texts hold, of those that a quick look names."""
    here: dict[str, set[int]] = {}
    for side in COLUMNS:
        for place in candidates(batch[side].combine_chunks()):
            for kind in kinds(batch[side][int(place)].as_py()[:_MOST_CHARACTERS]):
                here.setdefault(kind, set()).add(start + int(place))
    for kind, places in here.items():
        found.setdefault(kind, []).extend(sorted(places))


def _same(one: Ints, other: Ints) -> Ints:
    """The first row that is in the same group as a row by both groupings."""
    first: dict[tuple[int, int], int] = {}
    return np.array(
        [first.setdefault((int(a), int(b)), row) for row, (a, b) in enumerate(zip(one, other, strict=True))]
    )


def _repeating(texts: dict[str, list[str]], start: int) -> list[int]:
    """Places of the pairs in which an answer holds the whole prompt."""
    return [
        place
        for place, (prompt, chosen, rejected) in enumerate(zip(*texts.values(), strict=True), start)
        if len(prompt) >= 20 and (prompt in chosen or prompt in rejected)
    ]


def _joined(columns: list[Column]) -> Column:
    """The words of several sides of each row, one after the other."""
    lengths = np.stack([column.lengths() for column in columns], 1)
    starts = np.concatenate([[0], np.cumsum(lengths.sum(1))]).astype(np.int64)
    ids = np.empty(int(starts[-1]), np.int32)
    offsets = starts[:-1].copy()
    for side, column in enumerate(columns):
        # Where each word of this side goes: its row's offset plus its place in the row.
        places = np.repeat(offsets - column.starts[:-1], lengths[:, side]) + np.arange(len(column.ids))
        ids[places] = column.ids
        offsets += lengths[:, side]
    return Column(ids, starts)
