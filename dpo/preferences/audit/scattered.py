"""Single rows, here and there, whose text of one side belongs to another row.

A row that fits badly is no proof: many an answer says nothing of its question.  What counts is a better home: a
text that fits its own row no better than a random one, and fits another row clearly, whose own text fits
it badly as well.  Texts that do fit their own row tell how often that happens by chance: with their own row left
out they have no home among the badly fitting rows, so whatever they find there is false (a decoy, as in target-
decoy searches: Elias and Gygi 2007).

Most displaced texts say too little to name their row: about one in twelve of shuffled Human-Like rows is named.
How many there are in all is estimated by shuffling some fitting rows of the same data and counting how many of
these are named.  At 1 % of displaced rows the named ones are too few to stand out (docs/data.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpo.arrays import Flags, Floats, Ints
from dpo.preferences.audit.words import dots, unit

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from dpo.preferences.audit.pairing import Block, Links, Side

MOST_TEXTS = 3_000
"""Badly fitting texts, and as many decoys, that are searched for; fewer where there are many rows to search."""
_MOST_FITS = 60_000_000  # of one search: about a second
_LIKE_RANDOM = 0.8  # quantile of the random pairs' fits under which a row may be displaced
_LEAD, _BOTH, _ALIKE = 0.01, 0.02, 0.06  # cosines: ahead of the next best, to both other sides, of the two rows
_PLANTED, _FEWEST_PLANTED = 0.05, 50
_CELLS = 4_000_000
# Found against decoys: clearly more (a warning), or more than one would expect (a note).
_WARNING, _NOTE = (2.5, 7.0), (2.0, 3.0)


@dataclass(frozen=True)
class Scattered:
    """Ints `places` whose text of `side` fits the rows `homes` instead.

    `by_chance` of them are expected to be false, by decoys; `estimated` rows in all (None: too few to tell) have
    such a text, of which a share `recall` can be named.  `clear`: they are clearly more than chance gives.
    """

    side: Side
    places: Ints
    homes: Ints
    by_chance: float
    recall: float
    estimated: int | None
    clear: bool

    @property
    def precision(self) -> float:
        """The share of `places` that is expected to be right."""
        return max(0.0, 1 - self.by_chance / max(len(self.places), 1))

    def rest(self) -> str:
        """The end of a sentence on the rows that cannot be named, empty if there are none."""
        if self.estimated is None or self.estimated <= len(self.places):
            return ""
        more = self.estimated - len(self.places)
        return f"; about {more:,} more cannot be named (of shuffled rows {self.recall:.0%} are)"


def find_scattered(links: Links, blocks: Sequence[Block]) -> tuple[Scattered, ...]:
    """The sides of which single rows are displaced, outside of `blocks`."""
    rows = links.sides["prompt"].shape[0]
    free = np.ones(rows, bool)
    for block in blocks:
        free[block.first : block.last + 1] = False
    found = []
    for side in ("rejected", "chosen", "prompt"):
        texts = links.sides[side]
        fit, null = links.of_side(side)
        limit = float(np.quantile(null[:, free], _LIKE_RANDOM)) if free.any() else 0.0
        search = _Search(side, links.others(side), free, limit)
        named = search.named(texts, fit)
        count, chance = len(named.places), named.by_chance
        if count > _NOTE[0] * chance + _NOTE[1]:
            recall = _planted_recall(search, texts, fit) * named.searched
            more = (count - chance) / recall if recall > 0 else 0.0
            clear = count > _WARNING[0] * chance + _WARNING[1]
            # Never fewer than are named, never more than fit badly.
            estimated = int(np.clip(more, count, named.suspects)) if recall > 0 else None
            found.append(Scattered(side, named.places, named.homes, chance, recall, estimated, clear))
    return tuple(found)


@dataclass(frozen=True)
class _Named:
    """Badly fitting texts `places` with a clear home, and how many of as many decoys have one.

    `suspects` rows fit badly, of which a share `searched` was looked at.
    """

    places: Ints
    homes: Ints
    by_chance: float
    suspects: int
    searched: float = 1.0


@dataclass(frozen=True)
class _Search:
    """The search for better homes among the rows (`others`: vectors of the two sides that stay) of `free`."""

    side: Side
    others: tuple[csr_matrix, csr_matrix]
    free: Flags
    limit: float

    def named(self, texts: csr_matrix, fit: Floats) -> _Named:
        """Ints whose text (`texts`, all rows) has a better home; `fit` is that to their own row."""
        low, high = np.flatnonzero((fit <= self.limit) & self.free), np.flatnonzero((fit > self.limit) & self.free)
        if len(low) < 2 or not len(high):
            return _Named(low[:0], low[:0], 0.0, len(low))
        generator = np.random.default_rng(0)
        most = min(MOST_TEXTS, max(_FEWEST_PLANTED, _MOST_FITS // len(low)))
        suspects, decoys = (np.sort(generator.permutation(group)[:most]) for group in (low, high))
        asked = np.concatenate([suspects, decoys])
        passing, home = self._clear(texts, asked, low)
        real = passing < len(suspects)
        chance = float((~real).sum()) * len(suspects) / len(decoys)
        passing = passing[real]
        return _Named(asked[passing], home[passing], chance, len(low), len(suspects) / len(low))

    def share_at_home_elsewhere(self, texts: csr_matrix) -> float:
        """The share of texts (a sample of them) that fit another row clearly, whatever they are to their own."""
        every = np.arange(texts.shape[0])
        most = min(MOST_TEXTS, max(_FEWEST_PLANTED, _MOST_FITS // len(every)))
        asked = np.sort(np.random.default_rng(0).permutation(every)[:most])
        return len(self._clear(texts, asked, every)[0]) / max(len(asked), 1)

    def _clear(self, texts: csr_matrix, asked: Ints, low: Ints) -> tuple[Ints, Ints]:
        """Which of `asked` have a clear home among `low`, and the home of each of them (clear or not)."""
        one, other = self.others
        rows = unit(one + (1.0 if self.side == "prompt" else 0.5) * other)
        home, fits, next_best = _best_of(texts[asked], asked, rows, low)
        lead = fits - np.maximum(next_best, dots(texts[asked], rows[asked]))
        alike = dots(one[asked], one[home]) + dots(other[asked], other[home])
        both = np.minimum(dots(texts[asked], one[home]), dots(texts[asked], other[home]))
        passing = np.flatnonzero((lead >= _LEAD) & (both >= _BOTH) & (alike <= _ALIKE))
        if len(passing):
            # Only now against all rows, and the other way round: no other suspect fits the home as well.
            asking, homes = asked[passing], home[passing]
            _, any_row, _ = _best_of(texts[asking], asking, rows, np.flatnonzero(self.free), homes)
            _, rival, _ = _best_of(rows[homes], homes, texts, low, asking)
            passing = passing[(fits[passing] > any_row) & (fits[passing] - rival >= _LEAD)]
        return passing, home


def share_at_home_elsewhere(links: Links, side: Side) -> float:
    """The share of a side's texts (of a sample) that fit another row clearly: what a displaced column shows."""
    rows = links.sides[side].shape[0]
    return _Search(side, links.others(side), np.ones(rows, bool), np.inf).share_at_home_elsewhere(links.sides[side])


def _planted_recall(search: _Search, texts: csr_matrix, fit: Floats) -> float:
    """The share of texts that a search of all would name after shuffling some fitting rows of the same data."""
    rows = np.flatnonzero((fit > search.limit) & search.free)
    generator = np.random.default_rng(1)
    count = min(len(rows) // 2, max(_FEWEST_PLANTED, round(_PLANTED * len(fit))))
    planted = np.sort(generator.choice(rows, count, replace=False))
    order = np.arange(len(fit))
    order[planted] = np.roll(generator.permutation(planted), 1)
    moved = texts[order]
    refitted = np.sum([dots(moved, other) for other in search.others], 0)
    named = search.named(moved, refitted)
    return float(np.isin(planted, named.places).sum() / max(count, 1) / named.searched)


def _best_of(
    queries: csr_matrix, own: Ints, pool: csr_matrix, places: Ints, besides: Ints | None = None
) -> tuple[Ints, Floats, Floats]:
    """For each query the place of the best of `pool[places]`, its fit and that of the next best (0 at least).

    No choice is the query's own row `own`, and what is named in `besides`.
    """
    columns = pool[places].T.tocsr()
    best = np.zeros(queries.shape[0], np.int64)
    first, second = np.zeros(queries.shape[0]), np.zeros(queries.shape[0])
    at = np.full(pool.shape[0], -1)
    at[places] = np.arange(len(places))
    step = max(1, _CELLS // max(len(places), 1))
    for start in range(0, queries.shape[0], step):
        part = (queries[start : start + step] @ columns).toarray()
        rows = np.arange(len(part))
        for left_out in (own, besides):
            if left_out is not None:
                mine = at[left_out[start : start + step]]
                part[rows[mine >= 0], mine[mine >= 0]] = 0.0
        chosen = part.argmax(1)
        best[start : start + step] = places[chosen]
        first[start : start + step] = part[rows, chosen]
        part[rows, chosen] = 0.0
        second[start : start + step] = part.max(1)
    return best, first, second
