"""Re-pairing displaced texts with the rows they belong to, as many as a wanted precision allows.

Each row gets one text: the assignment with the largest sum of cosines (Kuhn 1955, the Hungarian method) between what
is left of the rows (the prompt and half of the other answer) and the displaced texts, of TF-IDF vectors plus 0.3 of
their latent semantic analysis (Deerwester et al. 1990).  Assigned texts are ranked by their margin over the next
best text and the next best row.  How far down that list is right is measured on the user's own rows: some that
are paired well are shuffled, re-paired in the same way, and the margin is cut where `PRECISION` of those above it got
their own text, or that of a twin: a row whose prompt shares so many rare words that the answer fits it as well.

Above `MOST_ASSIGNED` rows (a matrix of 36 MB) the assignment is greedy, over the 40 best texts of each row: it
re-pairs as many displaced rejected answers, and memory grows with the rows, not with their square.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo.arrays import Flags, Floats, Floats32, Ints
from dpo.preferences.audit.pairing import NAMES
from dpo.preferences.audit.words import dots, unit

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from dpo.preferences.audit.pairing import Side

PRECISION = 0.85
MOST_ASSIGNED = 3_000
_CANDIDATES = 40
_TOPICS, _TOPIC_SHARE, _TOPIC_ROWS = 200, 0.3, 20_000
_TWIN = 0.3  # cosine of prompts: "What's your favorite type of cuisine?" and "Do you have a favorite cuisine or dish?"
_PLANTINGS, _ENOUGH, _FEWEST_PLANTED = (2, 10), 2_500, 200
# Without rows to measure by: 0.85 of 4,000 shuffled rejected answers of the Human-Like data with greedy assignment.
_USUAL_CUT = 0.05
_CELLS = 4_000_000


@dataclass(frozen=True)
class Repair:
    """For each displaced row the row that its text of `side` comes from; None: no text fits clearly enough.

    `precision` and `exact` are the measured shares of given texts that are the own or a twin's, and the own one, of
    `planted` shuffled rows; None where there are too few well paired rows to measure by.
    """

    side: Side
    sources: Mapping[int, int | None]
    precision: float | None
    exact: float | None
    planted: int

    def sentence(self) -> str:
        """What was done and how sure it is, on one line."""
        given = sum(source is not None for source in self.sources.values())
        text = f"Re-paired {given:,} of {len(self.sources):,} displaced {NAMES[self.side]}"
        if not given:
            return f"{text}: none fits a row clearly enough"
        if self.precision is None or self.exact is None:
            return f"{text}; too few other rows to measure how many are right (85 % in docs/data.md): read some"
        return (
            f"{text}; about {self.precision:.0%} are right (the own text {self.exact:.0%}, else that of a row with "
            f"nearly the same prompt), measured on {self.planted:,} rows of the same data that were shuffled"
        )


def repair(displaced: Ints, paired: Ints, side: Side, sides: Mapping[Side, csr_matrix]) -> Repair:
    """Give the rows `displaced` texts of `side` from among theirs, one to one, where the fit is clear.

    Args:
        paired: rows that are paired well, to measure by.
        sides: unit TF-IDF vectors `(rows, words)` of the whole table.
    """
    texts, rows = _vectors(side, sides)
    text, margin = assign(rows.at(displaced), texts.at(displaced))
    right, exact, measured = _planted(paired, displaced, rows, texts, sides["prompt"])
    cut, precision, own = _USUAL_CUT, None, None
    if len(measured):
        cut, precision, own = _cut(measured, right, exact)
    clear = (text >= 0) & (margin >= cut)
    sources = {int(row): int(displaced[text[place]]) if clear[place] else None for place, row in enumerate(displaced)}
    return Repair(side, sources, precision, own, len(measured))


@dataclass(frozen=True)
class Vectors:
    """Texts as unit vectors: of words `(n, words)`, and of topics `(n, topics)` of length sqrt(0.3)."""

    words: csr_matrix
    topics: Floats32

    def at(self, rows: Ints) -> Vectors:
        """Some of them."""
        return Vectors(self.words[rows], self.topics[rows])

    def fits(self, others: Vectors, rows: slice) -> Floats32:
        """`(rows, others)`: cosine of words plus 0.3 times that of topics."""
        found: Floats32 = (self.words[rows] @ others.words.T).toarray().astype(np.float32)
        found += self.topics[rows] @ others.topics.T
        return found


def assign(rows: Vectors, texts: Vectors) -> tuple[Ints, Floats]:
    """For each row the place of its text (-1: none was left), and its margin over the next best text and row."""
    count = rows.words.shape[0]
    if count < 2:
        return np.full(count, -1), np.zeros(count)
    if count <= MOST_ASSIGNED:
        from scipy.optimize import linear_sum_assignment

        fits = rows.fits(texts, slice(None))
        _, text = linear_sum_assignment(fits, maximize=True)
        places = np.arange(count)
        score = fits[places, text].astype(np.float64)
        fits[places, text] = -2.0
        return text.astype(np.int64), score - np.maximum(fits.max(1), fits.max(0)[text])
    return _greedy(rows, texts, count)


def _greedy(rows: Vectors, texts: Vectors, count: int) -> tuple[Ints, Floats]:
    """The best fitting pair of a row and a text first, then the best one of those left."""
    step, width = max(1, _CELLS // count), min(_CANDIDATES, count - 1)
    candidates, scores = np.empty((count, width), np.int32), np.empty((count, width), np.float32)
    for start in range(0, count, step):
        fits = rows.fits(texts, slice(start, start + step))
        best = np.argpartition(-fits, width, axis=1)[:, :width]
        candidates[start : start + step], scores[start : start + step] = best, np.take_along_axis(fits, best, 1)
    text, owner = np.full(count, -1), np.full(count, -1)
    for entry in np.argsort(-scores, axis=None):
        row, place = divmod(int(entry), width)
        if text[row] < 0 and owner[chosen := int(candidates[row, place])] < 0:
            text[row], owner[chosen] = chosen, row
    # The best fit of each text to another row than its owner, as far as it is among the candidates.
    mine = candidates == text[:, None]
    rival = np.zeros(count)
    np.maximum.at(rival, candidates[~mine], scores[~mine])
    score = np.where(mine, scores, -2.0).max(1)
    margin = score - np.maximum(np.where(mine, -2.0, scores).max(1), rival[text])
    return text, np.where(text >= 0, margin, -2.0).astype(np.float64)


def _vectors(side: Side, sides: Mapping[Side, csr_matrix]) -> tuple[Vectors, Vectors]:
    """The texts of `side`, and what the rows hold beside them: the prompt and half of the other answer."""
    from scipy.sparse import vstack
    from sklearn.decomposition import TruncatedSVD

    one, other = (sides[name] for name in ("prompt", "chosen", "rejected") if name != side)
    rows = unit(one + (1.0 if side == "prompt" else 0.5) * other)
    sample = np.sort(np.random.default_rng(0).permutation(rows.shape[0])[:_TOPIC_ROWS])
    shown = vstack([rows[sample], sides[side][sample]])
    topics = min(_TOPICS, min(shown.shape) - 1)
    reduction = TruncatedSVD(topics, n_iter=2, random_state=0).fit(shown)
    return _with_topics(sides[side], reduction), _with_topics(rows, reduction)


def _with_topics(words: csr_matrix, reduction: Any) -> Vectors:
    from sklearn.preprocessing import normalize

    topics = normalize(reduction.transform(words)) * np.sqrt(_TOPIC_SHARE)
    return Vectors(words, topics.astype(np.float32))


def _planted(
    paired: Ints, displaced: Ints, rows: Vectors, texts: Vectors, prompts: csr_matrix
) -> tuple[Flags, Flags, Floats]:
    """Of shuffled rows: whether the own text or a twin's was given, whether the own one, and the margins.

    As many rows take part as are displaced, since more texts to choose from are more to confuse: where fewer are
    paired well, displaced ones fill up.
    """
    count = min(len(paired), len(displaced))
    if count < min(_FEWEST_PLANTED, len(displaced)):
        return np.zeros(0, bool), np.zeros(0, bool), np.zeros(0)
    found: list[tuple[Flags, Flags, Floats]] = []
    for seed in range(int(np.clip(-(-_ENOUGH // count), *_PLANTINGS))):
        generator = np.random.default_rng(seed)
        filling = generator.permutation(displaced)[: len(displaced) - count]
        chosen = np.concatenate([generator.choice(paired, count, replace=False), filling])
        order = generator.permutation(len(chosen))
        text, margin = assign(rows.at(chosen), texts.at(chosen[order]))
        some = np.flatnonzero(text[:count] >= 0)
        own = order[text[some]]
        exact = own == some
        twin = (dots(prompts[chosen[some]], prompts[chosen[own]]) >= _TWIN) & (own < count)
        found.append((exact | twin, exact, margin[some]))
    right, exact, margins = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return right, exact, margins


def _cut(margins: Floats, right: Flags, exact: Flags) -> tuple[float, float, float]:
    """The smallest margin above which `PRECISION` are right; the shares above it that are right, and exact."""
    order = np.argsort(-margins, kind="stable")
    counted = np.arange(1, len(order) + 1)
    enough = np.flatnonzero(np.cumsum(right[order]) / counted >= PRECISION)
    if not len(enough):
        return float("inf"), 0.0, 0.0
    above = order[: enough[-1] + 1]
    return float(margins[above[-1]]), float(right[above].mean()), float(exact[above].mean())
