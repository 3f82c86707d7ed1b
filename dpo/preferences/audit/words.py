"""Texts as arrays of word numbers: what duplicates, pairing and shortcuts are measured on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpo.arrays import Flags, Floats, Ints

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# A word, or one sign of a script written without blanks.
_WORD = re.compile(r"[^\W_\u2e80-\u9fff\u3040-\u30ff\uac00-\ud7af]+(?:['’][a-z]+)?|[\u3040-\u30ff\u3400-\u9fff]")
MOST_WORDS = 400
_MOST_CHARACTERS = 8 * MOST_WORDS
_MOST_NUMBERS = 1 << 20

Ids = NDArray[np.int32]


@dataclass
class Column:
    """The words of one side, all rows in one array: row `i` is `ids[starts[i]:starts[i + 1]]`."""

    ids: Ids
    starts: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, index: int) -> Ids:
        """Word numbers of one row, in their order."""
        return self.ids[self.starts[index] : self.starts[index + 1]]

    def lengths(self) -> Ints:
        """Words of each row."""
        return np.diff(self.starts)

    def select(self, rows: Ints) -> Column:
        """The words of some rows."""
        parts = [self.row(int(index)) for index in rows]
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return Column(np.concatenate(parts) if parts else self.ids[:0], starts)

    def filtered(self, keep: Flags) -> Column:
        """Without the words whose number is not in the mask `keep`."""
        mask = keep[self.ids]
        counted = np.concatenate([[0], np.cumsum(mask)])
        return Column(self.ids[mask], counted[self.starts])

    def presence(self, words: int) -> csr_matrix:
        """`(rows, words)`: 1 where a row holds a word."""
        from scipy.sparse import csr_matrix

        # A copy: summing duplicates rewrites the indices in place.
        entries = (np.ones(len(self.ids), np.float32), self.ids.copy(), self.starts.copy())
        matrix = csr_matrix(entries, (len(self), words))
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix


class Words:
    """Numbers for words, and the columns of texts that were numbered with them.

    At most `MOST_WORDS` words of a text count, and a million different words are told apart: memory
    stays bounded whatever the texts are.
    """

    def __init__(self, sides: Sequence[str]) -> None:
        self._numbers: defaultdict[str, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__
        self._ids: dict[str, list[Ids]] = {side: [] for side in sides}
        self._lengths: dict[str, list[Ints]] = {side: [] for side in sides}

    def add(self, side: str, texts: Sequence[str]) -> None:
        """Append rows to a side."""
        find, number = _WORD.findall, self._number()
        rows = [list(map(number, find(text[:_MOST_CHARACTERS].lower())[:MOST_WORDS])) for text in texts]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        self._lengths[side].append(lengths)
        self._ids[side].append(np.fromiter((i for row in rows for i in row), np.int32, int(lengths.sum())))

    def column(self, side: str) -> Column:
        """A side's rows so far, in one array; the batches they came from are given up."""
        ids = np.concatenate(self._ids[side]) if self._ids[side] else np.zeros(0, np.int32)
        lengths = np.concatenate(self._lengths[side]) if self._lengths[side] else np.zeros(0, np.int64)
        self._ids[side], self._lengths[side] = [ids], [lengths]
        return Column(ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self._numbers)

    def names(self) -> list[str]:
        """The words by their number."""
        return list(self._numbers)

    def _number(self) -> Any:
        if len(self._numbers) < _MOST_NUMBERS:
            return self._numbers.__getitem__
        known = self._numbers
        return lambda word: known.get(word, 0)


def spread(frequencies: Ints, rows: int) -> Flags:
    """Words that tell topics apart: in at least two texts and in at most one of twenty."""
    telling: Flags = (frequencies >= 2) & (frequencies <= max(2, rows // 20))
    return telling


def tf_idf(columns: Sequence[Column], words: int) -> list[csr_matrix]:
    """Unit TF-IDF vectors, one matrix `(rows, words)` for each column; document counts are of all columns."""
    presence = [column.presence(words) for column in columns]
    frequencies = sum(np.bincount(matrix.indices, minlength=words) for matrix in presence)
    rows = len(columns) * len(columns[0])
    keep = spread(np.asarray(frequencies), rows)
    idf = np.log(rows / np.maximum(frequencies, 1)).astype(np.float32)
    found = []
    for matrix in presence:
        matrix.data = np.where(keep[matrix.indices], idf[matrix.indices], 0).astype(np.float32)
        matrix.eliminate_zeros()
        found.append(unit(matrix))
    return found


def unit(matrix: csr_matrix) -> csr_matrix:
    """The rows with length 1 (a row of zeros stays one)."""
    from sklearn.preprocessing import normalize

    scaled: csr_matrix = normalize(matrix)
    return scaled


def dots(one: csr_matrix, other: csr_matrix) -> Floats:
    """`(rows,)`: the product of each row of one with the same row of the other."""
    return np.asarray(one.multiply(other).sum(1), dtype=np.float64).ravel()
