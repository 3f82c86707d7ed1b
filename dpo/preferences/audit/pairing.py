"""Answers that belong to other prompts: blocks of rows, a whole column, scattered rows.

An answer shares rare words with its own prompt and with the other answer to it, more than with
those of another row: each row has three links (prompt-chosen, prompt-rejected, chosen-rejected), each
a cosine of TF-IDF vectors.  A side that is displaced breaks the two links it has and leaves the third.

Blocks: the log-likelihood ratio of "some other row's answer" against "this row's" is summed over
stretches of rows, and the stretch with the largest sum is a block where the sum is more than chance
could give (the same ratios in random orders) and where fits are as low as a random re-pairing of the
same rows would make them.  A whole column (`whole_column`): two links at chance beside a third that is
not.  Scattered rows are looked for in `scattered`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dpo.arrays import Flags, Floats
from dpo.preferences.audit.scattered import Scattered, find_scattered, share_at_home_elsewhere
from dpo.preferences.audit.words import Column, dots, tf_idf

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Side = Literal["prompt", "chosen", "rejected"]
Link = Literal["prompt-chosen", "prompt-rejected", "chosen-rejected"]
SHORTEST = 20
SIDES: tuple[Side, ...] = ("prompt", "chosen", "rejected")
_ORDER: tuple[Side, ...] = ("rejected", "chosen", "prompt")
NAMES: Mapping[Side, str] = {"prompt": "prompts", "chosen": "chosen answers", "rejected": "rejected answers"}
LINKS: Mapping[Link, tuple[Side, Side]] = {
    "prompt-chosen": ("prompt", "chosen"),
    "prompt-rejected": ("prompt", "rejected"),
    "chosen-rejected": ("chosen", "rejected"),
}
_SHIFTS = (61, 173)
_BINS = 24
# A link is at chance with less than a tenth of the third link's power above it; the third must be plain.
_AT_CHANCE, _PLAIN = 0.1, 0.1


@dataclass(frozen=True)
class Block:
    """Rows `first` to `last` (places in the table, inclusive) whose `side` belongs to other prompts."""

    first: int
    last: int
    side: Side
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Pairing:
    """What was found, and how well fit tells pairs apart in this data.

    `links`: for each link the probability that a pair fits better than one made at random (0.5: chance);
    `power` is that of the best side.  `column` is a side whose links are at chance over the whole table, and
    `column_homes` the share of its texts that fit another row clearly.
    """

    blocks: tuple[Block, ...]
    power: float
    links: Mapping[Link, float]
    column: Side | None = None
    column_homes: float = 0.0
    scattered: tuple[Scattered, ...] = ()


@dataclass(frozen=True)
class Links:
    """The three sides as unit vectors `(rows, words)`, and the fit of each link `(rows,)`.

    `nulls` are fits of pairs made with a row elsewhere: by the rows that the link's second side is moved by.
    """

    sides: Mapping[Side, csr_matrix]
    fits: Mapping[Link, Floats]
    nulls: Mapping[Link, Mapping[int, Floats]]

    @classmethod
    def of(cls, sides: Mapping[Side, csr_matrix]) -> Links:
        """The links between the sides of a table."""
        rows = sides["prompt"].shape[0]
        steps = [step for shift in _SHIFTS if shift % rows for step in (shift, -shift)]
        fits, nulls = {}, {}
        for link, (one, other) in LINKS.items():
            fits[link] = dots(sides[one], sides[other])
            nulls[link] = {
                step: dots(sides[one], sides[other][np.roll(np.arange(rows), step)]) for step in steps
            }  # fmt: skip
        return cls(sides, fits, nulls)

    def power(self, link: Link) -> float:
        """The probability that a pair fits better than one made at random; a tie counts a half."""
        return _above(self.fits[link], np.stack(list(self.nulls[link].values())))

    def of_side(self, side: Side) -> tuple[Floats, Floats]:
        """The fit of a side to the two others `(rows,)`, and that of this side of a row elsewhere `(shifts, rows)`."""
        mine = [link for link, ends in LINKS.items() if side in ends]
        fit = np.sum([self.fits[link] for link in mine], 0)
        null = [np.sum([self._moved(link, side, step) for link in mine], 0) for step in self.nulls[mine[0]]]
        return fit, np.stack(null)

    def _moved(self, link: Link, side: Side, step: int) -> Floats:
        """A link's fits with `side` moved by `step`: the first side's is the second's moved back, seen from its end."""
        nulls = self.nulls[link]
        return nulls[step] if LINKS[link][1] == side else np.roll(nulls[-step], step)

    def others(self, side: Side) -> tuple[csr_matrix, csr_matrix]:
        """The vectors of the two other sides."""
        one, other = (self.sides[name] for name in SIDES if name != side)
        return one, other

    def untouched(self, side: Side) -> Link:
        """The link between the two other sides."""
        return next(link for link, ends in LINKS.items() if side not in ends)


def find_mispaired(prompt: Column, chosen: Column, rejected: Column, words: int) -> Pairing:
    """Blocks of at least `SHORTEST` rows, a whole column, and scattered rows whose texts belong to other prompts.

    Args:
        words: how many different words the columns hold.
    """
    if len(prompt) < 4 * SHORTEST:
        return Pairing((), 0.5, dict.fromkeys(LINKS, 0.5))
    links = Links.of(dict(zip(SIDES, tf_idf([prompt, chosen, rejected], words), strict=True)))
    powers = {link: links.power(link) for link in LINKS}
    best = max(_above(*links.of_side(side)) for side in SIDES)
    if (column := whole_column(powers, len(prompt))) is not None:
        return Pairing((), best, powers, column, share_at_home_elsewhere(links, column))
    blocks: list[Block] = []
    for side in _ORDER:
        fit, null = links.of_side(side)
        for first, last, score in _low_stretches(fit, null):
            block = _judged(links, side, slice(first, last + 1), score)
            if block is not None:
                blocks.append(block)
    merged = _merged(blocks)
    return Pairing(merged, best, powers, scattered=find_scattered(links, merged))


def whole_column(powers: Mapping[Link, float], rows: int) -> Side | None:
    """The side whose two links are at chance while the third is not; None where the links give no reason for one.

    `powers` are those of `Links.power`.  Chance is within two and a half standard errors of 0.5 (of a
    rank statistic over `rows` pairs), or within a tenth of the third link's distance from it.
    """
    error = float(np.sqrt(1 / (12 * rows)) * np.sqrt(1 + 1 / (2 * len(_SHIFTS))))
    for side in SIDES:
        mine = [powers[link] - 0.5 for link, ends in LINKS.items() if side in ends]
        [third] = [powers[link] - 0.5 for link, ends in LINKS.items() if side not in ends]
        if third > max(_PLAIN, 6 * error) and max(mine) < max(2.5 * error, _AT_CHANCE * third):
            return side
    return None


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


def ratios_of(seen: Floats, null: Floats, usual: Flags) -> Floats:
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


def _judged(links: Links, side: Side, inside: slice, score: float) -> Block | None:
    """A stretch as a block, if its fits are as low as a re-pairing of the same rows would make them."""
    fit, null = links.of_side(side)
    outside = np.ones(len(fit), bool)
    outside[inside] = False
    if outside.sum() < SHORTEST:
        return None  # nothing left to compare with; `Pairing.column` and `Pairing.power` tell
    here, (one, other) = links.sides[side][inside], (matrix[inside] for matrix in links.others(side))
    generator = np.random.default_rng(0)
    orders = [generator.permutation(here.shape[0]) for _ in range(4)]
    local = np.mean([dots(one, here[order]) + dots(other, here[order]) for order in orders])
    usual_gain = fit[outside].mean() - null[:, outside].mean()
    # No better than random pairs, as far as so few rows can tell: a stretch of small talk fits less than others, and
    # still better than at random.
    error = float(fit[inside].std()) / np.sqrt(here.shape[0])
    if usual_gain <= 0 or fit[inside].mean() - local > min(0.3 * usual_gain, max(0.1 * usual_gain, 3 * error)):
        return None
    untouched = links.fits[links.untouched(side)]
    if side != "rejected" and untouched[inside].mean() < 0.5 * untouched[outside].mean():
        return None  # all three sides disagree: told once, as rejected answers of other prompts
    evidence = {
        "fit_inside": round(float(fit[inside].mean()), 4),
        "fit_elsewhere": round(float(fit[outside].mean()), 4),
        "fit_of_random_pairs": round(float(local), 4),
        "other_two_sides_inside": round(float(untouched[inside].mean()), 4),
        "other_two_sides_elsewhere": round(float(untouched[outside].mean()), 4),
        "log_likelihood_ratio": round(score, 1),
    }
    return Block(inside.start, inside.stop - 1, side, evidence)


def _merged(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Blocks of one side that almost touch as one."""
    found: list[Block] = []
    for block in sorted(blocks, key=lambda b: (b.side, b.first)):
        if found and found[-1].side == block.side and block.first - found[-1].last <= SHORTEST:
            found[-1] = Block(found[-1].first, block.last, block.side, found[-1].evidence)
        else:
            found.append(block)
    return tuple(sorted(found, key=lambda b: b.first))


def _above(fit: Floats, null: Floats) -> float:
    return float(np.mean(fit[None] > null) + 0.5 * np.mean(fit[None] == null))
