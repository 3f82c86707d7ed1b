"""Which words two sets of texts use more or less often, with prompts as the unit (no torch here)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from dpo.evaluation.statistics.intervals import Floats
from dpo.preferences.audit.surface import COUNTED

PRIOR = 500.0
"""Words that the prior is worth."""
_COLUMNS = 500  # of the counts at a time, so that memory stays flat
# Letters and digits with what stands within a word ("don't"; "well-known" is two); an emoji with
# its skin tone, or several joined to one, is a word.
_EMOJI = f"(?:{COUNTED['emoji']})"
_WORD = re.compile(rf"[^\W_](?:[\w'’]*[^\W_])?|{_EMOJI}(?:[\U0001f3fb-\U0001f3ff\ufe0f]|\u200d{_EMOJI})*")
_END = "\0"  # between two answers, so that no pair of words spans them


@dataclass(frozen=True)
class Shift:
    """How much more often the first texts use a word, or two in a row, than the second.

    `log_odds` is above 0 for more often; `t` how sure that is (`log_odds`), `p` its p-value adjusted for all
    words together (Benjamini and Hochberg 1995).  `rates` are uses in 1,000 words, `prompts` the prompts under which it
    occurs, both of the first and of the second texts.
    """

    word: str
    log_odds: float
    t: float
    p: float
    rates: tuple[float, float]
    prompts: tuple[int, int]


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; an emoji is one, punctuation none.

    >>> words_of("Don't stop! 😄😄")
    ["don't", 'stop', '😄', '😄']
    """
    return _WORD.findall(text.lower())


def log_odds(
    first: npt.ArrayLike, second: npt.ArrayLike, sizes: tuple[npt.ArrayLike, npt.ArrayLike], prior: float = PRIOR
) -> tuple[Floats, Floats]:
    """Weighted log-odds `(V,)` of each word, and a statistic `(V,)` of how sure the difference is.

    The prior of the log-odds is an informative Dirichlet's, both texts pooled and worth `prior` words (Monroe, Colaresi
    and Quinn 2008, "Fightin' Words").  Their z takes words for independent draws.  Here the prompt is the unit: the
    statistic is a paired t of how far the uses under each prompt are from those at one common rate (a score test,
    with N - 1 degrees of freedom), so that a word which one answer repeats twenty times is one prompt's.

    Args:
        first: uses `(N, V)` of each word under each prompt.
        second: uses of the same words in the other texts, under the same prompts.
        sizes: how many words the texts have in all, `(N,)` and `(N,)`.

    Raises:
        ValueError: fewer than two prompts, or texts without a word.
    """
    uses = [np.asarray(side, float) for side in (first, second)]
    totals = [np.asarray(size, float) for size in sizes]
    if len(uses[0]) < 2 or min(total.sum() for total in totals) == 0:
        raise ValueError("words are compared over two prompts or more, and of texts that have some")
    rate = (uses[0].sum(0) + uses[1].sum(0)) / (totals[0].sum() + totals[1].sum())
    value, gap = np.zeros(uses[0].shape[1]), np.zeros_like(uses[0])
    for sign, side, total in zip((1, -1), uses, totals, strict=True):
        here = side.sum(0) + prior * rate
        value += sign * (np.log(here) - np.log(total.sum() + prior - here))
        gap += sign * (side - total[:, None] * rate) / total.sum()
    mean = gap.mean(0)
    # Where all prompts are alike there is no error left: no t is above 1,000.
    error = np.maximum(gap.std(0, ddof=1) / np.sqrt(len(gap)), np.abs(mean) / 1000)
    return value, np.divide(mean, error, out=np.zeros_like(value), where=error > 0)


def shifts(first: Sequence[Sequence[str]], second: Sequence[Sequence[str]], fewest: int = 3) -> list[Shift]:
    """Every word, and two in a row, that stands under at least `fewest` prompts of one side; the surest first.

    Args:
        first: texts by prompt; `first[i]` and `second[i]` are of the same one.

    Raises:
        ValueError: the two have not the same number of prompts.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} prompts: give texts of the same ones")
    sides = [
        [[word for text in texts for word in (*words_of(text), _END)] for texts in side] for side in (first, second)
    ]
    sizes = [np.array([sum(word != _END for word in words) for words in side], float) for side in sides]
    if len(first) < 2 or min(size.sum() for size in sizes) == 0:
        return []
    names, counts = _counted(sides, fewest)
    if not names:
        return []
    parts = []
    for start in range(0, len(names), _COLUMNS):
        some = slice(start, start + _COLUMNS)
        parts.append(log_odds(counts[0][:, some].toarray(), counts[1][:, some].toarray(), (sizes[0], sizes[1])))
    values, t = (np.concatenate([part[n] for part in parts]) for n in (0, 1))
    p = stats.false_discovery_control(2 * stats.t.sf(np.abs(t), len(first) - 1))
    rates = [1000 * np.asarray(side.sum(0)).ravel() / size.sum() for side, size in zip(counts, sizes, strict=True)]
    prompts = [np.asarray((side > 0).sum(0)).ravel() for side in counts]
    return [
        Shift(
            names[n], float(values[n]), float(t[n]), float(p[n]), (float(rates[0][n]), float(rates[1][n])),
            (int(prompts[0][n]), int(prompts[1][n])),
        )
        for n in sorted(range(len(names)), key=lambda n: (-abs(t[n]), names[n]))
    ]  # fmt: skip


def _counted(sides: Sequence[Sequence[Sequence[str]]], fewest: int) -> tuple[list[str], list[Any]]:
    """The words that are worth a look, and sparse counts `(N, V)` of both sides."""
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(analyzer=_one_and_two)
    table = vectorizer.fit_transform([*sides[0], *sides[1]]).tocsc()
    names = vectorizer.get_feature_names_out()
    counts = [table[: len(sides[0])], table[len(sides[0]) :]]
    most = np.maximum(*(np.asarray((side > 0).sum(0)).ravel() for side in counts))
    shown = np.flatnonzero(most >= fewest)
    return [str(names[n]) for n in shown], [side[:, shown] for side in counts]


def _one_and_two(words: Sequence[str]) -> list[str]:
    single = [word for word in words if word != _END]
    return single + [f"{a} {b}" for a, b in itertools.pairwise(words) if _END not in (a, b)]
