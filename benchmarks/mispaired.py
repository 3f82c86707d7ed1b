"""What the audit finds of rows that were shuffled on purpose, and what a repair puts back.

    python benchmarks/mispaired.py FILE [--first N] [--seeds K]

Prints the tables of docs/data.md: recall and precision by side and share of displaced rows, the alarm's count in rows
left as they were, and for blocks how many texts are given back, with the precision that the repair tells beside
the true one.  FILE holds pairs that are paired well, from row --first on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dpo.preferences.audit.pairing import SIDES, Pairing, Side, find_mispaired
from dpo.preferences.audit.repairing import repair
from dpo.preferences.audit.words import Column, Words, dots, tf_idf
from dpo.preferences.normalise import normalise

Rows = NDArray[np.int64]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file")
    parser.add_argument("--first", type=int, default=0, help="the first row that is taken [0]")
    parser.add_argument("--seeds", type=int, default=5, help="shuffles of each kind [5]")
    arguments = parser.parse_args()
    pairs = normalise(arguments.file).pairs.select_columns(list(SIDES))[arguments.first :]
    words = Words(SIDES)
    for side in SIDES:
        words.add(side, pairs[side])
    columns = {side: words.column(side) for side in SIDES}
    count = len(pairs["prompt"])
    left = find_mispaired(columns["prompt"], columns["chosen"], columns["rejected"], len(words))
    print(f"{count:,} rows as they are: {len(left.blocks)} blocks, side {left.column}, single rows {_named(left)}\n")
    print("| side | displaced | warned | noted | named | precision, said | recall | estimated |")
    for side in SIDES:
        for share in (0.01, 0.05, 0.2, 1.0):
            print(_detected(columns, side, share, arguments.seeds, len(words)), flush=True)
    print("\n| block | given | right, told | right | own |")
    for side in SIDES:
        for size in (100, 300, 1_380):
            print(_repaired(columns, side, size, arguments.seeds, len(words)), flush=True)


def _named(found: Pairing) -> str:
    return ", ".join(f"{one.side} {len(one.places)}{'' if one.clear else ' (note)'}" for one in found.scattered) or "0"


def _shuffles(count: int, size: int, seeds: int) -> Iterator[tuple[Rows, Rows]]:
    """The rows that are displaced, and the order `(count,)` in which a side is taken."""
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        places = np.sort(generator.choice(count, size, replace=False))
        order = np.arange(count)
        order[places] = np.roll(generator.permutation(places), 1)
        yield places, order


def _moved(columns: dict[Side, Column], side: Side, order: Rows) -> dict[Side, Column]:
    return {name: column.select(order) if name == side else column for name, column in columns.items()}


def _detected(columns: dict[Side, Column], side: Side, share: float, seeds: int, words: int) -> str:
    count = len(columns["prompt"])
    warned = noted = whole = 0
    named: list[tuple[int, int, float, int, int]] = []
    for places, order in _shuffles(count, round(share * count), seeds):
        moved = _moved(columns, side, order)
        found = find_mispaired(moved["prompt"], moved["chosen"], moved["rejected"], words)
        wrong = places[order[places] != places]
        whole += found.column == side
        one = next((each for each in found.scattered if each.side == side), None)
        if one is not None:
            warned += one.clear
            noted += not one.clear
            right = int(np.isin(one.places, wrong).sum())
            named.append((len(one.places), right, one.precision, one.estimated or 0, len(wrong)))
    if share == 1.0:
        return f"| {side} | all | {whole} of {seeds} | | | | | |"
    size = round(share * count)
    if not named:
        return f"| {side} | {size} | 0 of {seeds} | 0 | | | | |"
    total, right = sum(each[0] for each in named), sum(each[1] for each in named)
    expected = np.mean([each[2] for each in named])
    return (
        f"| {side} | {size} ({share:.0%}) | {warned} of {seeds} | {noted} | {total / len(named):.0f} | "
        f"{right / total:.2f}, {expected:.2f} | {right / sum(each[4] for each in named):.2f} | "
        f"{np.mean([each[3] for each in named]):.0f} |"
    )


def _repaired(columns: dict[Side, Column], side: Side, size: int, seeds: int, words: int) -> str:
    count = len(columns["prompt"])
    given = right = own = 0
    precisions: list[float] = []
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        first = int(generator.integers(0, count - size))
        block = np.arange(first, first + size)
        order = np.arange(count)
        order[block] = generator.permutation(block)
        moved = _moved(columns, side, order)
        sides = dict(zip(SIDES, tf_idf([moved[name] for name in SIDES], words), strict=True))
        found = repair(block, np.setdiff1d(np.arange(count), block), side, sides)
        rows = np.array([row for row, source in found.sources.items() if source is not None], np.int64)
        origin = np.array([order[source] for source in found.sources.values() if source is not None], np.int64)
        prompts = sides["prompt"][np.argsort(order)] if side == "prompt" else sides["prompt"]
        twin = dots(prompts[rows], prompts[origin]) >= 0.3
        given, own = given + len(rows), own + int((origin == rows).sum())
        right += int((twin | (origin == rows)).sum())
        precisions.append(found.precision or 0.0)
    whole, expected = max(given, 1), np.mean(precisions)
    shares = f"{expected:.2f} | {right / whole:.2f} | {own / whole:.2f}"
    return f"| {side}, {size} rows | {given / seeds:.0f} | {shares} |"


if __name__ == "__main__":
    main()
