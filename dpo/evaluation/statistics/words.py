"""Which words two sets of texts use more or less often, with prompts as the unit (no torch here)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from dpo.arrays import Floats, Ints
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
class WordShift:
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


def shifts(first: Sequence[Sequence[str]], second: Sequence[Sequence[str]], fewest: int = 3) -> list[WordShift]:
    """Every word, and two in a row, that stands under at least `fewest` prompts of one side; the surest first.

    Args:
        first: texts by prompt; `first[i]` and `second[i]` are of the same one.

    Raises:
        ValueError: the two have not the same number of prompts.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} prompts: give texts of the same ones")
    known: dict[str, int] = {_END: 0}
    sides = [_Words(side, known) for side in (first, second)]
    sizes = sides[0].sizes, sides[1].sizes
    if len(first) < 2 or min(size.sum() for size in sizes) == 0:
        return []
    shown, counts = _counted(sides, len(known), fewest)
    parts = [np.zeros((2, 0))]
    for start in range(0, len(shown), _COLUMNS):
        some = slice(start, start + _COLUMNS)
        parts.append(np.stack(log_odds(counts[0][:, some].toarray(), counts[1][:, some].toarray(), sizes)))
    values, t = np.concatenate(parts, 1)
    p = stats.false_discovery_control(2 * stats.t.sf(np.abs(t), len(first) - 1)) if len(t) else t
    rates = [1000 * np.asarray(side.sum(0)).ravel() / size.sum() for side, size in zip(counts, sizes, strict=True)]
    prompts = [np.asarray((side > 0).sum(0)).ravel() for side in counts]
    names = _names(shown, list(known))
    return [
        WordShift(
            names[n], float(values[n]), float(t[n]), float(p[n]), (float(rates[0][n]), float(rates[1][n])),
            (int(prompts[0][n]), int(prompts[1][n])),
        )
        for n in sorted(range(len(names)), key=lambda n: (-abs(t[n]), names[n]))
    ]  # fmt: skip


class _Words:
    """The words of one side as numbers, all prompts in a row, with the prompt of each; 0 stands between two texts."""

    def __init__(self, texts: Sequence[Sequence[str]], known: dict[str, int]) -> None:
        written = [[word for text in of_prompt for word in (*words_of(text), _END)] for of_prompt in texts]
        self.ids = np.array([known.setdefault(word, len(known)) for words in written for word in words], np.int64)
        self.prompts = np.repeat(np.arange(len(texts)), [len(words) for words in written])
        self.sizes = np.bincount(self.prompts[self.ids > 0], minlength=len(texts)).astype(float)

    def codes(self, known: int) -> tuple[Ints, Ints]:
        """Prompt and code of every word (its number), and of every two in a row (`number * known + the next's`)."""
        single = self.ids > 0
        pair = single[:-1] & single[1:] & (self.prompts[:-1] == self.prompts[1:])
        pairs = self.ids[:-1][pair] * known + self.ids[1:][pair]
        prompts = np.concatenate([self.prompts[single], self.prompts[:-1][pair]])
        return prompts, np.concatenate([self.ids[single], pairs])


def _counted(sides: Sequence[_Words], known: int, fewest: int) -> tuple[Ints, list[sparse.csc_array]]:
    """The codes that are worth a look, and how often each stands under each prompt of both sides, `(N, V)`."""
    tables, under = [], []
    for side in sides:
        # One number for each prompt and code: they are counted by sorting.
        prompts, codes = side.codes(known)
        keys, uses = np.unique(codes * len(side.sizes) + prompts, return_counts=True)
        unique = np.divmod(keys, len(side.sizes))
        tables.append((unique, uses))
        under.append(np.unique(unique[0], return_counts=True))
    shown = np.unique(np.concatenate([codes[times >= fewest] for codes, times in under]))
    counts = []
    for side, (unique, uses) in zip(sides, tables, strict=True):
        kept = np.isin(unique[0], shown)
        places = unique[1][kept], np.searchsorted(shown, unique[0][kept])
        counts.append(sparse.csc_array((uses[kept], places), shape=(len(side.sizes), len(shown))))
    return shown, counts


def _names(codes: Ints, words: Sequence[str]) -> list[str]:
    known = len(words)
    return [words[code] if code < known else f"{words[code // known]} {words[code % known]}" for code in codes]
