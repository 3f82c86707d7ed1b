"""Grouping of tokens: nothing lost, characters never parted, words and sentences as one reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo.evaluation.units import UNITS, Unit, spans


def texts(pieces: list[str], unit: Unit) -> list[str]:
    return ["".join(pieces[start:end]) for start, end in spans(pieces, unit)]


def test_words_and_sentences() -> None:
    pieces = ["Oh", ",", " tot", "ally", "!", " I", "'m", " in", ".", "\n", "You", "?", ""]
    assert texts(pieces, "token") == pieces
    assert texts(pieces, "word") == ["Oh,", " totally!", " I'm", " in.", "\nYou?", ""]
    assert texts(pieces, "sentence") == ["Oh, totally!", " I'm in.", "\nYou?", ""]


def test_a_character_of_several_tokens_is_one_unit() -> None:
    pieces = [" a", "", "", "", "😄", "b", ""]
    assert spans(pieces, "token") == [(0, 1), (1, 5), (5, 6), (6, 7)]
    assert texts(pieces, "word") == [" a😄b", ""]


@given(st.lists(st.text(alphabet="ab .!\n😄", max_size=4), max_size=12), st.sampled_from(UNITS))
@pytest.mark.parametrize("end", [True, False])
def test_units_cover_every_token_once(end: bool, pieces: list[str], unit: Unit) -> None:
    pieces = [*pieces, ""] if end else pieces
    made = spans(pieces, unit)
    assert [index for start, stop in made for index in range(start, stop)] == list(range(len(pieces)))
    # Larger units are made of whole smaller ones.
    assert {start for start, _ in made} <= {start for start, _ in spans(pieces, "token")}
