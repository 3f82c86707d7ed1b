"""Words that tuning made more or less frequent, against arithmetic written out and against chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dpo.evaluation.statistics.words import PRIOR, log_odds, shifts, words_of


def test_log_odds_written_out() -> None:
    first, second = np.array([[2, 0], [1, 1], [0, 3.0]]), np.array([[0, 1], [1, 1], [0, 0.0]])
    sizes = np.array([5, 4, 6.0]), np.array([3, 7, 4.0])
    value, t = log_odds(first, second, sizes, prior=10)
    for word in (0, 1):
        rate = (first[:, word].sum() + second[:, word].sum()) / (15 + 14)
        expected, gaps = 0.0, [0.0, 0.0, 0.0]
        for sign, uses, size in ((1, first[:, word], sizes[0]), (-1, second[:, word], sizes[1])):
            here = sum(uses) + 10 * rate
            expected += sign * math.log(here / (sum(size) + 10 - here))
            gaps = [gap + sign * (u - n * rate) / sum(size) for gap, u, n in zip(gaps, uses, size, strict=True)]
        mean = sum(gaps) / 3
        error = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / 2 / 3)
        assert value[word] == pytest.approx(expected, abs=1e-12) and t[word] == pytest.approx(mean / error, abs=1e-12)
    turned, minus = log_odds(second, first, sizes[::-1], prior=10)
    assert np.allclose(turned, -value, atol=1e-12) and np.allclose(minus, -t, atol=1e-12)
    with pytest.raises(ValueError, match="two prompts"):
        log_odds(first[:1], second[:1], (sizes[0][:1], sizes[1][:1]))


def test_words_are_lower_case_and_emoji_are_words() -> None:
    assert words_of("I'm OK 😄👍🏽, it's 5 o'clock_") == ["i'm", "ok", "😄", "👍🏽", "it's", "5", "o'clock"]
    assert words_of("café ’ - ...") == ["café"]


def test_what_is_planted_is_found_and_a_single_chatterbox_is_not() -> None:
    draw = np.random.default_rng(0)
    plain = [f"w{n}" for n in range(40)]

    def texts(extra: str, chance: float) -> list[list[str]]:
        return [
            [" ".join([*draw.choice(plain, 30), *([extra] if draw.random() < chance else [])]) for _ in range(2)]
            for _ in range(80)
        ]

    first, second = texts("awesome 😄", 0.8), texts("assist you", 0.8)
    first[0][0] += " parrot" * 200  # much, under one prompt
    for n in (1, 2, 3):
        first[n][0] += " parrot"
    found = shifts(first, second)
    sure = {shift.word for shift in found if shift.p < 0.05}
    assert sure == {"awesome", "😄", "awesome 😄", "assist", "you", "assist you"}
    assert [shift.word for shift in found[:6] if shift.log_odds > 0] and all(abs(shift.t) > 5 for shift in found[:6])
    best = next(shift for shift in found if shift.word == "assist you")
    assert best.log_odds < 0 and best.rates[0] == 0 < best.rates[1] and best.prompts[0] == 0 < best.prompts[1]
    parrot = next(shift for shift in found if shift.word == "parrot")
    assert parrot.rates[0] > best.rates[1] and parrot.p > 0.05
    assert all("\0" not in shift.word for shift in found)


def test_equal_texts_show_nothing_and_chance_is_kept() -> None:
    same = [["a b c d"], ["b c d e"], ["a b x y"]] * 3
    assert all(shift.log_odds == shift.t == 0 for shift in shifts(same, same))
    assert shifts([["a b"]], [["c d"]]) == [] and shifts([[""], [""]], [["a"], ["b"]]) == []
    with pytest.raises(ValueError, match="same ones"):
        shifts(same, same[:1])
    draw, wrong = np.random.default_rng(1), 0
    vocabulary = [f"w{n}" for n in range(30)]
    for _ in range(100):
        sides = [[[" ".join(draw.choice(vocabulary, 25))] for _ in range(40)] for _ in range(2)]
        wrong += any(shift.p < 0.05 for shift in shifts(*sides, fewest=5))
    assert wrong <= 12  # 5 expected of 100; 13 or more have a chance under 0.1 %
    assert PRIOR == 500
