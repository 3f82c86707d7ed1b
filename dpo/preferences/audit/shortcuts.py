"""Shortcuts: how well rules that read no meaning tell chosen from rejected, on pairs they have not seen.

A policy can reach the same reward accuracy by learning the rule instead of the preference.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpo.arrays import Flags, Floats, Floats32, Ints
from dpo.preferences.audit.surface import NAMES
from dpo.preferences.audit.words import Column

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FEWEST_PAIRS = 40
MOST_PAIRS = 20_000
_LATER_WORDS = 50_000


@dataclass(frozen=True)
class ShortcutRule:
    """A rule, which way it points, and the share of held-out pairs that it decides rightly (ties count half)."""

    name: str
    says: str
    accuracy: float
    pairs: int


def simple_rule(name: str, difference: Floats32, held_out: Flags) -> ShortcutRule:
    """The rule "more of it is chosen" (or less: learned on the other pairs) from chosen minus rejected."""
    lean = float(np.sign(difference[~held_out]).mean()) if (~held_out).any() else 0.0
    way = -1.0 if lean < 0 else 1.0
    seen = way * difference[held_out]
    return ShortcutRule(name, f"{'fewer' if way < 0 else 'more'} {name}", _accuracy(seen), int(held_out.sum()))


def _accuracy(margins: NDArray[np.floating[Any]]) -> float:
    """The share above 0, ties by half."""
    return float((margins > 0).mean() + 0.5 * (margins == 0).mean()) if len(margins) else 0.5


def surface_rules(chosen: Floats32, rejected: Floats32, held_out: Flags) -> list[ShortcutRule]:
    """One rule for each of `surface.NAMES`."""
    rules = []
    for place, name in enumerate(NAMES):
        rule = simple_rule(name, chosen[:, place] - rejected[:, place], held_out)
        if name == "length":
            rule = replace(rule, says="the longer answer" if rule.says.startswith("more") else "the shorter answer")
        rules.append(rule)
    return rules


def first_words(chosen: Column, rejected: Column, held_out: Flags, words: int) -> ShortcutRule:
    """How telling the first two words of an answer are: log-odds of each, learned on the other pairs."""
    scores = np.zeros(len(chosen), np.float32)
    for place in (0, 1):
        at = [_word_at(column, place, words) for column in (chosen, rejected)]
        counts = [np.bincount(ids[~held_out], minlength=words + 1) + 0.5 for ids in at]
        odds = np.log(counts[0] / counts[0].sum()) - np.log(counts[1] / counts[1].sum())
        scores += (odds[at[0]] - odds[at[1]]).astype(np.float32)
    return ShortcutRule("first words", "how an answer begins", _accuracy(scores[held_out]), int(held_out.sum()))


def bag_of_words(
    chosen: Column, rejected: Column, held_out: Flags, names: Sequence[str]
) -> tuple[ShortcutRule, list[str], Floats]:
    """Logistic regression on which words an answer holds: the rule, its telling words, and a margin per pair.

    Fitted twice, on the pairs held out and on the others, so that every margin (chosen minus
    rejected, positive where the label agrees) is of a pair that the fit has not seen.
    """
    difference = _difference(chosen, rejected, len(names))
    margins = np.zeros(len(chosen))
    weights = np.zeros(len(names))
    generator = np.random.default_rng(0)
    for unseen in (held_out, ~held_out):
        rows = np.flatnonzero(~unseen)
        if len(rows) > MOST_PAIRS:
            rows = np.sort(generator.choice(rows, MOST_PAIRS, replace=False))
        if not len(rows) or not unseen.any():
            continue
        fitted = _fitted(difference[rows], generator)
        margins[unseen] = difference[unseen] @ fitted
        if unseen is held_out:
            weights = fitted
    telling = [names[int(word)] for word in np.argsort(-np.abs(weights))[:8] if weights[int(word)] != 0]
    accuracy = _accuracy(margins[held_out])
    return ShortcutRule("bag of words", "which words an answer holds", accuracy, int(held_out.sum())), telling, margins


def _fitted(difference: csr_matrix, generator: np.random.Generator) -> Floats:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import SGDClassifier

    signs = generator.choice([-1.0, 1.0], difference.shape[0])
    signs[:2] = (1.0, -1.0)  # both classes, whatever was drawn
    # No intercept: a pair turned round must give the opposite margin.
    model = SGDClassifier(loss="log_loss", alpha=1e-4, fit_intercept=False, average=True, max_iter=30, random_state=0)
    with warnings.catch_warnings():
        # Few pairs may want more rounds; the held-out accuracy tells what the fit is worth.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(difference.multiply(signs[:, None]).tocsr(), signs)
    return np.asarray(model.coef_[0], dtype=np.float64)


def _difference(chosen: Column, rejected: Column, words: int) -> csr_matrix:
    """`(pairs, words)`: 1 where only the chosen answer holds a word, -1 where only the rejected one does."""
    one, other = chosen.presence(words), rejected.presence(words)
    frequencies = np.bincount(one.indices, minlength=words) + np.bincount(other.indices, minlength=words)
    floor = max(3, int(np.sort(frequencies)[-_LATER_WORDS])) if words > _LATER_WORDS else 3
    difference = (one - other).tocsr()
    difference.data[frequencies[difference.indices] < floor] = 0
    difference.eliminate_zeros()
    return difference


def _word_at(column: Column, place: int, words: int) -> Ints:
    found = np.full(len(column), words, np.int64)
    long = column.lengths() > place
    found[long] = column.ids[column.starts[:-1][long] + place]
    return found
