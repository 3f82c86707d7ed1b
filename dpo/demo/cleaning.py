"""Mend the block of the Human-Like data in which rejected answers belong to other prompts.

Upstream's first part was shuffled on one side: its rejected answers answer some other prompt of the
same part.  Which rows are touched is found from the text alone: a rejected answer normally shares
rare words with its own prompt, far more than with a random one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[a-z']+")
_WINDOW = 40
# A re-pairing counts as clear when the prompt is the answer's best match and the answer the
# prompt's, with this much cosine similarity and this much more than the runner-up.
_CLEAR, _AHEAD = 0.15, 0.03


@dataclass(frozen=True)
class Mended:
    """Pairs with their own rejected answers, and how they came about."""

    rows: list[dict[str, str]]
    kept: int
    repaired: int
    dropped: int


def mend(rows: Sequence[dict[str, str]]) -> Mended:
    """Re-pair rejected answers within mispaired stretches where the fit is clear; drop the rest."""
    vectors = _tf_idf([row["prompt"] for row in rows], [row["rejected"] for row in rows])
    prompts, answers = vectors
    bad = mispaired(prompts, answers)
    kept = [dict(row) for row, wrong in zip(rows, bad, strict=True) if not wrong]
    index = np.flatnonzero(bad)
    repaired: list[dict[str, str]] = []
    if len(index):
        similarity = prompts[index] @ answers[index].T
        best_answer, best_prompt = similarity.argmax(1), similarity.argmax(0)
        for prompt, answer in enumerate(best_answer):
            ranked = np.sort(similarity[prompt])
            clear = ranked[-1] >= _CLEAR and ranked[-1] - ranked[-2] >= _AHEAD
            if clear and best_prompt[answer] == prompt:
                row = rows[int(index[prompt])]
                repaired.append({**row, "rejected": rows[int(index[answer])]["rejected"]})
    return Mended(repaired + kept, len(kept), len(repaired), len(index) - len(repaired))


def mispaired(prompts: NDArray[np.float32], answers: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Rows in windows whose answers fit their own prompts no better than their neighbours' prompts."""
    own = (prompts * answers).sum(1)
    shifted = (prompts * np.roll(answers, 7, axis=0)).sum(1)
    window = np.ones(_WINDOW) / _WINDOW
    own_mean, other_mean = np.convolve(own, window, "same"), np.convolve(shifted, window, "same")
    typical = float(np.median(own_mean))
    wrong: NDArray[np.bool_] = own_mean < (other_mean + typical) / 2
    return wrong


def _tf_idf(prompts: Sequence[str], answers: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit TF-IDF vectors over the words of the prompts, `(rows, words)` for each side."""
    tokens = [[Counter(_WORD.findall(text.lower())) for text in side] for side in (prompts, answers)]
    frequency = Counter(word for counts in tokens[0] for word in counts)
    telling = [word for word, count in frequency.items() if 2 <= count <= max(2, len(prompts) // 20)]
    vocabulary = {word: column for column, word in enumerate(telling)}
    idf = {word: math.log(len(prompts) / frequency[word]) for word in vocabulary}
    sides = []
    for side in tokens:
        matrix = np.zeros((len(side), len(vocabulary)), dtype=np.float32)
        for row, counts in enumerate(side):
            for word, count in counts.items():
                if word in vocabulary:
                    matrix[row, vocabulary[word]] = (1 + math.log(count)) * idf[word]
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        sides.append(matrix / np.maximum(norms, 1e-9))
    return sides[0], sides[1]
