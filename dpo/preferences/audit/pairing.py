"""Blocks of rows whose answers belong to other prompts, and putting them right.

An answer shares rare words with its own prompt and with the other answer to it, more than with
those of another row.  For each row that fit (a cosine of TF-IDF vectors) is compared with the fit
to rows elsewhere: the log-likelihood ratio of "some other row's answer" against "this row's" is
summed over stretches of rows, and the stretch with the largest sum is a block where the sum is more
than chance could give (the same ratios in random orders) and where fits are as low as a
random re-pairing of the same rows would make them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dpo.preferences.audit.words import Column, tf_idf

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Side = Literal["prompt", "chosen", "rejected"]
Floats = NDArray[np.float64]
SHORTEST = 20
_SHIFTS = (-173, -61, 61, 173)
_BINS = 24
# A re-pairing is clear when prompt and answer are each other's best match, this much ahead of the
# runner-up on both sides, and the answer fits the prompt and the other answer by these cosines at least.
# Found on clean Human-Like rows of which 1,380 were shuffled: both margins name more own answers than
# a larger one on the prompt's side alone (docs/data.md).
_CLEAR, _CLEAR_BESIDE, _AHEAD = 0.12, 0.03, 0.03


@dataclass(frozen=True)
class Block:
    """Rows `first` to `last` (places in the table, inclusive) whose `side` belongs to other prompts."""

    first: int
    last: int
    side: Side
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Pairing:
    """Blocks found, and how well fit tells pairs apart in this data (0.5: not at all)."""

    blocks: tuple[Block, ...]
    power: float


@dataclass(frozen=True)
class Repair:
    """For a row of a block, the row whose answer fits its prompt (None: no clear fit)."""

    side: Side
    sources: dict[int, int | None]


def find_blocks(prompt: Column, chosen: Column, rejected: Column, words: int) -> Pairing:
    """Mispaired blocks of at least `SHORTEST` rows.

    Args:
        words: how many different words the columns hold.
    """
    if len(prompt) < 4 * SHORTEST:
        return Pairing((), 0.5)
    p, c, r = tf_idf([prompt, chosen, rejected], words)
    fits = {"pc": _dots(p, c), "pr": _dots(p, r), "cr": _dots(c, r)}
    blocks: list[Block] = []
    power = 0.5
    for link in (
        _Link("rejected", "pr", "cr", "pc"),
        _Link("chosen", "pc", "cr", "pr"),
        _Link("prompt", "pc", "pr", "cr"),
    ):
        moved, others = {"prompt": (p, (c, r)), "chosen": (c, (p, r)), "rejected": (r, (p, c))}[link.side]
        null = _shifted(moved, others)
        fit = fits[link.first] + fits[link.second]
        power = max(power, float(np.mean(fit[None] > null) + 0.5 * np.mean(fit[None] == null)))
        for first, last, score in _low_stretches(fit, null):
            block = _judged(link, slice(first, last + 1), score, fits, fit, null, moved, others)
            if block is not None:
                blocks.append(block)
    return Pairing(_merged(blocks), power)


@dataclass(frozen=True)
class _Link:
    """A side, the two fits that suffer when it is displaced, and the one that does not."""

    side: Side
    first: str
    second: str
    untouched: str


def repair(block_rows: NDArray[np.int64], side: Side, columns: Sequence[Column], words: int) -> Repair:
    """Re-pair the `side` of some rows with the prompts they fit, one to one, where the fit is clear.

    The two sides that belong together are matched against the displaced texts of all `block_rows`;
    `columns` are prompt, chosen, rejected of the whole table.
    """
    p, c, r = (matrix[block_rows] for matrix in tf_idf(columns, words))
    moved = {"prompt": p, "chosen": c, "rejected": r}[side]
    main, beside = {"prompt": (c, r), "chosen": (p, r), "rejected": (p, c)}[side]
    query = main + beside
    norms = np.maximum(np.sqrt(np.asarray(query.multiply(query).sum(1)).ravel()), 1e-9)
    count = len(block_rows)
    texts = _labels(columns[("prompt", "chosen", "rejected").index(side)], block_rows)
    best, owner = np.zeros(count, np.int64), np.zeros(count, np.int64)
    score, lead = np.zeros(count), np.zeros(count)
    highest, second = np.full(count, -1.0), np.full(count, -1.0)  # of each text: its best and its next best query
    step = max(1, min(512, 20_000_000 // count))
    for start in range(0, count, step):
        part = (query[start : start + step] @ moved.T).toarray() / norms[start : start + step, None]
        for place, fits in enumerate(part, start):
            best[place] = fits.argmax()
            score[place] = fits[best[place]]
            # An answer with the same words is no rival.
            lead[place] = score[place] - np.where(texts == texts[best[place]], 0.0, fits).max()
        order = part.argmax(0)
        here = part[order, np.arange(count)]
        part[order, np.arange(count)] = -1.0
        second = np.maximum(np.minimum(here, highest), np.maximum(second, part.max(0)))
        owner = np.where(here > highest, order + start, owner)
        highest = np.maximum(here, highest)
    both = np.minimum(_dots(main, moved[best]) / _CLEAR, _dots(beside, moved[best]) / _CLEAR_BESIDE)
    lead = np.minimum(lead, (highest - second)[best])
    clear = (lead >= _AHEAD) & (both >= 1) & (owner[best] == np.arange(count))
    return Repair(
        side,
        {int(block_rows[at]): int(block_rows[best[at]]) if clear[at] else None for at in range(count)},
    )


def stretches(ratios: Floats, chance: float) -> list[tuple[int, int, float]]:
    """Non-overlapping stretches of rows whose sum of `ratios` is over `chance`: first, last, sum."""
    found: list[tuple[int, int, float]] = []
    waiting = [(0, len(ratios))]
    while waiting:
        start, end = waiting.pop()
        if end - start < SHORTEST:
            continue
        sums = np.concatenate([[0.0], np.cumsum(ratios[start:end])])
        lowest = np.minimum.accumulate(sums)
        last = int(np.argmax(sums - lowest))
        score = float(sums[last] - lowest[last])
        if score <= chance:
            continue
        first = int(np.flatnonzero(sums[: last + 1] == lowest[last])[-1])
        if last - first >= SHORTEST:
            found.append((start + first, start + last - 1, score))
        waiting += [(start, start + first), (start + last, end)]
    return sorted(found)


def by_chance(ratios: Floats, orders: int = 20) -> float:
    """A sum that stretches of the same ratios in random orders do not reach, with a margin."""
    generator = np.random.default_rng(0)
    highest = 0.0
    for _ in range(orders):
        sums = np.concatenate([[0.0], np.cumsum(generator.permutation(ratios))])
        highest = max(highest, float(np.max(sums - np.minimum.accumulate(sums))))
    return 1.3 * highest + 4.0


def ratios_of(seen: Floats, null: Floats, usual: NDArray[np.bool_]) -> Floats:
    """Log-likelihood ratio of each value of `seen`: drawn like `null`, against like `seen[usual]`."""
    edges = np.unique(np.quantile(np.concatenate([seen, null.ravel()]), np.linspace(0, 1, _BINS + 1)[1:-1]))
    places = np.searchsorted(edges, seen, side="left")
    counts = [
        np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1) + 1.0
        for values in (null.ravel(), seen[usual])
    ]
    densities = [count / count.sum() for count in counts]
    ratio: Floats = np.clip(np.log(densities[0] / densities[1]), -3, 3)[places]
    return ratio


def _low_stretches(fit: Floats, null: Floats) -> list[tuple[int, int, float]]:
    usual = np.ones(len(fit), bool)
    found: list[tuple[int, int, float]] = []
    for _ in range(3):  # the usual fit is estimated without the blocks that it then helps to find
        ratio = ratios_of(fit, null, usual)
        found = stretches(ratio, by_chance(ratio))
        now = np.ones(len(fit), bool)
        for first, last, _score in found:
            now[first : last + 1] = False
        if now.sum() < len(fit) // 4 or np.array_equal(now, usual):
            break
        usual = now
    return found


def _judged(
    link: _Link,
    inside: slice,
    score: float,
    fits: dict[str, Floats],
    fit: Floats,
    null: Floats,
    moved: csr_matrix,
    others: tuple[csr_matrix, csr_matrix],
) -> Block | None:
    """A stretch as a block, if its fits are as low as a re-pairing of the same rows would make them."""
    outside = np.ones(len(fit), bool)
    outside[inside] = False
    if outside.sum() < SHORTEST:
        return None  # nothing left to compare with; `Pairing.power` tells
    here, (one, other) = moved[inside], (matrix[inside] for matrix in others)
    generator = np.random.default_rng(0)
    orders = [generator.permutation(here.shape[0]) for _ in range(4)]
    local = np.mean([_dots(one, here[order]) + _dots(other, here[order]) for order in orders])
    usual_gain = fit[outside].mean() - null[:, outside].mean()
    if usual_gain <= 0 or fit[inside].mean() - local > 0.3 * usual_gain:
        return None
    untouched = fits[link.untouched]
    if link.side != "rejected" and untouched[inside].mean() < 0.5 * untouched[outside].mean():
        return None  # all three sides disagree: told once, as rejected answers of other prompts
    evidence = {
        "fit_inside": round(float(fit[inside].mean()), 4),
        "fit_elsewhere": round(float(fit[outside].mean()), 4),
        "fit_of_random_pairs": round(float(local), 4),
        "other_two_sides_inside": round(float(untouched[inside].mean()), 4),
        "other_two_sides_elsewhere": round(float(untouched[outside].mean()), 4),
        "log_likelihood_ratio": round(score, 1),
    }
    return Block(inside.start, inside.stop - 1, link.side, evidence)


def _merged(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Blocks of one side that almost touch as one."""
    found: list[Block] = []
    for block in sorted(blocks, key=lambda b: (b.side, b.first)):
        if found and found[-1].side == block.side and block.first - found[-1].last <= SHORTEST:
            found[-1] = Block(found[-1].first, block.last, block.side, found[-1].evidence)
        else:
            found.append(block)
    return tuple(sorted(found, key=lambda b: b.first))


def _dots(one: csr_matrix, other: csr_matrix) -> Floats:
    return np.asarray(one.multiply(other).sum(1), dtype=np.float64).ravel()


def _shifted(moved: csr_matrix, others: tuple[csr_matrix, csr_matrix]) -> Floats:
    """`(shifts, rows)`: the fit of each row's other two sides to this side of a row elsewhere."""
    rows = moved.shape[0]
    steps = sorted({step if abs(step) < rows // 2 else (step % rows) for step in _SHIFTS if step % rows})
    found = []
    for step in steps:
        elsewhere = moved[np.roll(np.arange(rows), step)]
        found.append(_dots(others[0], elsewhere) + _dots(others[1], elsewhere))
    return np.stack(found)


def _labels(column: Column, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Equal numbers for rows with the same words."""
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(column.row(int(row)).tobytes(), len(known)) for row in rows], np.int64)
