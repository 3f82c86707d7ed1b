"""Tokens to words and sentences, for reading a text by larger units (no torch here)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Unit = Literal["token", "word", "sentence"]
UNITS: tuple[Unit, ...] = ("token", "word", "sentence")
Span = tuple[int, int]
# A sentence ends after its closing marks and the blanks that follow, or at a line's end.
_SENTENCE = re.compile(r"[.!?…。！？]+[\"'”’)\]]*\s+|\n+")


def spans(pieces: Sequence[str], unit: Unit) -> list[Span]:
    """Half-open ranges of tokens, in order and without gaps.

    `pieces` are the characters that each token adds: a token in the middle of a character adds
    none, and the one that completes it adds it.  Tokens of one character are never parted, so they
    are one unit even where the unit is the token.
    """
    whole = _characters(pieces)
    if unit == "token":
        return whole
    text = "".join(pieces)
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    if unit == "word":
        cuts = {
            position
            for position in range(1, len(text))
            if text[position - 1].isspace() != text[position].isspace() and text[position].isspace()
        }
    else:
        cuts = {match.end() for match in _SENTENCE.finditer(text) if match.end() < len(text)}
    return _joined(whole, starts, cuts, word=unit == "word")


def _characters(pieces: Sequence[str]) -> list[Span]:
    made: list[Span] = []
    start = 0
    for index, piece in enumerate(pieces):
        if piece:
            made.append((start, index + 1))
            start = index + 1
    # What is left adds no character: EOS, or a broken end.
    made += [(index, index + 1) for index in range(start, len(pieces))]
    return made


def _joined(whole: list[Span], starts: list[int], cuts: set[int], word: bool) -> list[Span]:
    """Join spans until one begins at or after the next cut; spans without characters stand alone."""
    ordered = sorted(cuts)
    made: list[Span] = []
    place = 0
    for start, end in whole:
        begins, ends = starts[start], starts[end]
        passed = False
        # A sentence's blank belongs to the token after it, a word's blank begins the word.
        while place < len(ordered) and ordered[place] <= (begins if word else begins + 1):
            place += 1
            passed = True
        if made and begins < ends and not passed and starts[made[-1][0]] < starts[made[-1][1]]:
            made[-1] = (made[-1][0], end)
        else:
            made.append((start, end))
    return made
