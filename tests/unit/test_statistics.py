"""The statistics of comparisons against numbers worked out elsewhere, and by simulation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dpo.evaluation.statistics.control import controlled, length_controlled, style_controlled
from dpo.evaluation.statistics.intervals import (
    Estimate,
    bootstrap,
    effective_size,
    mean,
    paired_difference,
    saved_by_pairing,
    standard_error,
    win_rate,
)
from dpo.evaluation.statistics.judges import (
    alpha_by_prompt,
    cohens_kappa,
    corrected_by_people,
    krippendorffs_alpha,
    order_effect,
)
from dpo.evaluation.statistics.logistic import fit
from dpo.evaluation.statistics.planning import (
    detectable_difference,
    halfwidth,
    prompts_needed,
    scale,
    sequence_halfwidth,
    spread,
)
from dpo.evaluation.statistics.strengths import bradley_terry, percentiles, resampled_by_prompt
from dpo.evaluation.statistics.verdicts import holm, p_value, verdict

ORACLES = Path(__file__).parent.parent / "data" / "statistics-oracles.json"
PROMPTS = np.array([1, 0.75, 0.5, 1, 0, 0.875, 0.625, 0.5, 1, 0.25])


def close(*values: float) -> object:
    return pytest.approx(values, abs=1e-5)


def test_rows_of_one_prompt_are_one_draw() -> None:
    values = np.array([1, 1, 0, 0, 0.5, 1, 0.5, 0.5, 1, 0])
    prompts = ["a"] * 3 + ["b"] * 2 + ["c"] + ["d"] * 4
    # statsmodels' cluster covariance without and inspect_ai's with the correction for few clusters
    assert standard_error(values, prompts, corrected=False) == pytest.approx(0.0851469318, abs=1e-9)
    assert standard_error(values, prompts) == pytest.approx(0.0983192080, abs=1e-9)
    assert standard_error(values) == pytest.approx(values.std(ddof=1) / np.sqrt(10))


def test_intervals_of_ten_prompts() -> None:
    student, share = mean(PROMPTS), win_rate(PROMPTS)
    assert (student.value, student.low, student.high, student.error) == close(0.65, 0.404933, 0.895067, 0.1083333)
    assert effective_size(PROMPTS) == pytest.approx(14.551502, abs=1e-5)
    assert (share.low, share.high) == close(0.398454, 0.838890)
    drawn = bootstrap(PROMPTS, resamples=20_000)
    assert (drawn.low, drawn.high) == close(0.425, 0.825)


def test_swapping_the_sides_mirrors_every_number() -> None:
    ours, theirs = win_rate(PROMPTS), win_rate(1 - PROMPTS)
    assert ours.low is not None and ours.high is not None
    assert (theirs.value, theirs.low, theirs.high) == pytest.approx(
        (1 - ours.value, 1 - ours.high, 1 - ours.low), abs=1e-15
    )
    first, second = np.arange(9.0), np.arange(9.0)[::-1] ** 2
    one, other = paired_difference(first, second), paired_difference(second, first)
    assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)  # type: ignore[operator]


def test_no_interval_has_zero_width() -> None:
    for values in (np.ones(7), np.zeros(7), np.full(7, 0.5)):
        rate = win_rate(values)
        assert rate.low is not None and rate.high is not None and rate.high - rate.low > 0.2
    assert win_rate([1.0]).low is None


@pytest.mark.parametrize("psi", [0.5, 0.6, 0.95])
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("prompts", [20, 50, 200])
@pytest.mark.parametrize("ties", [0.0, 0.3])
def test_intervals_hold_what_they_say(psi: float, prompts: int, samples: int, ties: float) -> None:
    generator = np.random.default_rng(int(1000 * psi) + prompts + samples)
    ties = min(ties, 2 * min(psi, 1 - psi))
    chance = np.full((1000, prompts, 1), psi)
    if samples > 1:  # samples of one prompt are alike: an intraclass correlation of .22
        chance = generator.beta(psi * 0.78 / 0.22, (1 - psi) * 0.78 / 0.22, chance.shape)
    wins = np.clip((chance - ties / 2) / (1 - ties), 0, 1)
    shape = (1000, prompts, samples)
    tied, won = generator.random(shape) < ties, generator.random(shape) < wins
    h = np.where(tied, 0.5, won).mean(-1)
    true = float((ties / 2 + (1 - ties) * wins).mean())
    covered = sum(rate.low <= true <= rate.high for rate in map(win_rate, h))  # type: ignore[operator]
    # At 20 prompts and 95 % a share has few values: its true coverage is 91 to 98.5 %.
    assert (910 if prompts == 20 else 930) - 15 <= covered <= (985 if prompts == 20 else 970) + 15


def test_equal_policies_are_within_the_interval() -> None:
    """Both sides draw from one distribution, with ties: 50 % is covered, and a verdict is given in 5 of 100 at most."""
    draw = np.random.default_rng(7)
    h = (1 + np.sign(draw.integers(0, 4, (1000, 100)) - draw.integers(0, 4, (1000, 100)))) / 2
    made = [win_rate(row) for row in h]
    covered = sum(one.low <= 0.5 <= one.high for one in made)  # type: ignore[operator]
    assert 930 <= covered <= 970
    assert sum(verdict(one, p=p_value(one)) in ("better", "worse") for one in made) <= 70


def test_size_before_the_run() -> None:
    assert [round(100 * detectable_difference(n, spread()), 1) for n in (50, 100, 200, 500, 1000)] == [
        19.8, 14.0, 9.9, 6.3, 4.4,
    ]  # fmt: skip
    assert prompts_needed(0.05, spread()) == 785
    assert (spread(ties=0.3), spread(samples=4)) == pytest.approx((0.418, 0.322), abs=5e-4)


def test_a_sequence_may_be_looked_at_all_the_time() -> None:
    assert (scale(0.05, 200), halfwidth(0.45, 200)) == pytest.approx((0.2095, 0.0965873), abs=5e-5)
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(60):
        h = (generator.random(200) < 0.6).astype(float)
        wrong += any(abs(h[:t].mean() - 0.6) > sequence_halfwidth(h[:t]) for t in range(20, 201, 5))
    assert wrong <= 9  # 5 % of 60, and room for chance


def test_words_follow_the_numbers() -> None:
    def rate(low: float, high: float) -> Estimate:
        return Estimate((low + high) / 2, low, high, (high - low) / 4, 50)

    assert verdict(rate(0.51, 0.7)) == "better"
    assert verdict(rate(0.3, 0.49)) == "worse"
    assert verdict(rate(0.4, 0.6)) == "cannot tell at this size"
    assert verdict(rate(0.46, 0.54), margin=0.05) == "equivalent"
    assert verdict(rate(0.51, 0.7), p=0.2) == "cannot tell at this size"
    assert verdict(Estimate(1.0, None, None, None, 1)) == "cannot tell at this size"
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert p_value(win_rate(np.ones(8))) == pytest.approx(2 / 2**8)
    assert p_value(win_rate(np.full(8, 0.5))) == 1.0


def test_lengths_held_equal() -> None:
    place = np.arange(40)
    longer = ((37 * place) % 41 - 20) * 12
    x = np.tanh(longer / longer.std(ddof=1))
    h = ((((29 * place) % 40) + 0.5) / 40 < 1 / (1 + np.exp(-(0.3 + 0.9 * x)))).astype(float)
    h[::9] = 0.5
    made = length_controlled(h, longer)
    assert made is not None
    assert (h.mean(), made.slopes[0], made.rate.value) == pytest.approx((0.5875, 0.742794, 0.588732), abs=1e-5)
    mirrored = length_controlled(1 - h, -longer)
    assert mirrored is not None and mirrored.rate.value == pytest.approx(1 - made.rate.value, abs=1e-12)
    assert length_controlled(np.ones(10), np.arange(10)) is None
    assert length_controlled(h, np.zeros(40)) is None


def test_other_programs_say_the_same() -> None:
    """What statsmodels and evalica said once of the same data; neither is a dependency."""
    said = json.loads(ORACLES.read_text(encoding="utf-8"))
    h, longer, emoji, prompts = (np.array(said["rows"][name]) for name in ("h", "longer", "emoji", "prompt"))
    for made, other, design in (
        (length_controlled(h, longer, prompts), said["length"], np.tanh(longer / longer.std(ddof=1))[:, None]),
        (controlled(h, np.column_stack([longer / 100, emoji]), prompts), said["style"],
         np.column_stack([longer / 100, emoji])),
    ):  # fmt: skip
        assert made is not None
        assert np.log(made.rate.value / (1 - made.rate.value)) == pytest.approx(other["coefficients"][0], abs=1e-6)
        assert made.slopes == pytest.approx(other["coefficients"][1:], abs=1e-6)
        fitted = fit(np.column_stack([np.ones(len(h)), design]), h, prompts)
        assert fitted is not None and fitted.errors == pytest.approx(np.array(other["errors_plain"]), abs=1e-6)
    assert bradley_terry(said["wins"]) == pytest.approx(np.array(said["strengths"]), abs=1e-6)
    by_item = [[word for word in words if word is not None] for words in zip(*said["ratings"], strict=True)]
    assert krippendorffs_alpha(by_item) == pytest.approx(said["alpha"], abs=1e-9)


def test_strengths() -> None:
    wins = np.array([[0, 8, 8], [4, 0, 6], [2, 4, 0]], float)
    assert bradley_terry(wins) == pytest.approx([0.677937, -0.093129, -0.584808], abs=1e-5)
    assert bradley_terry(wins, 25.0) == pytest.approx([0.673531, -0.092767, -0.580764], abs=1e-5)
    assert bradley_terry(np.stack([wins, wins.T])) == pytest.approx(
        np.stack([bradley_terry(wins), -bradley_terry(wins)])
    )
    never = bradley_terry(np.array([[0, 9], [0, 0]], float), 25.0)
    assert np.isfinite(never).all() and never[0] > 1


def test_strengths_are_drawn_by_prompt() -> None:
    generator = np.random.default_rng(1)
    won = generator.random(120) < 0.7
    one = np.zeros((120, 2, 2))
    one[:, 0, 1], one[:, 1, 0] = won, ~won
    low, high = percentiles(resampled_by_prompt(one, 500))
    four_low, four_high = percentiles(resampled_by_prompt(one * 4, 500))  # the same prompts judged four times
    assert high[0] - low[0] == pytest.approx(four_high[0] - four_low[0], rel=0.05)
    assert low[0] < bradley_terry(one.sum(0))[0] < high[0]


def test_style_is_told_from_strength() -> None:
    generator = np.random.default_rng(2)
    style = generator.normal(size=(3000, 1))
    duels = np.tile([0, 1], (3000, 1))
    h = (generator.random(3000) < 1 / (1 + np.exp(-(0.4 + 1.2 * style[:, 0])))).astype(float)
    made = style_controlled(duels, h, style, 2)
    assert made is not None
    scores, errors, weights = made
    assert scores[0] - scores[1] == pytest.approx(0.4, abs=0.15)
    assert weights[0] == pytest.approx(1.2 * style.std(), abs=0.15)
    assert 0 < errors[0] < 0.05


def test_a_win_rate_at_equal_style() -> None:
    """Coefficients by a general optimiser, errors by the sandwich written out prompt by prompt."""
    from scipy.optimize import minimize

    draw = np.random.default_rng(5)
    style, prompts = draw.normal(size=(240, 2)), np.repeat(np.arange(80), 3)
    chance = 1 / (1 + np.exp(-(0.3 + style @ [1.0, -0.5])))
    h = np.where(draw.random(240) < 0.2, 0.5, draw.random(240) < chance)
    design = np.column_stack([np.ones(240), style])

    def unlikely(b: np.ndarray) -> float:
        return float((np.logaddexp(0, design @ b) - h * (design @ b)).sum())

    best = minimize(unlikely, np.zeros(3), tol=1e-12).x
    p = 1 / (1 + np.exp(-design @ best))
    bread = np.linalg.inv(sum(w * np.outer(x, x) for w, x in zip(p * (1 - p), design, strict=True)))
    scores = [sum((h[i] - p[i]) * design[i] for i in np.flatnonzero(prompts == n)) for n in range(80)]
    error = np.sqrt((bread @ sum(np.outer(g, g) for g in scores) @ bread)[0, 0])
    made = controlled(h, style, prompts)
    assert made is not None and made.rate.n == 80
    assert made.slopes == pytest.approx(best[1:], abs=1e-5)
    low, high = (1 / (1 + np.exp(-(best[0] + side * 1.959964 * error))) for side in (-1, 1))
    assert (made.rate.low, made.rate.high) == pytest.approx((low, high), abs=1e-5)
    mirrored = controlled(1 - h, -style, prompts)
    assert mirrored is not None and mirrored.rate.low == pytest.approx(1 - made.rate.high, abs=1e-12)
    # Style alone tells who wins: nothing is left to say at equal style.
    assert controlled(style[:, 0] > 0, style) is None and controlled(np.ones(240), style) is None


def test_judges_against_each_other() -> None:
    first, second = list("0011220121"), list("0111200122")
    kappa = cohens_kappa(first, second)
    assert kappa is not None
    assert (kappa.value, kappa.low, kappa.high) == pytest.approx((0.545455, 0.1172, 0.9737), abs=5e-5)
    assert krippendorffs_alpha(list(zip(first, second, strict=True))) == pytest.approx(0.568182, abs=1e-5)
    assert cohens_kappa("aaa", "aaa") is None
    assert krippendorffs_alpha([["a"], ["b"]]) is None and krippendorffs_alpha([]) is None
    items = [*zip(first, second, strict=True), ("0",), ("1", "1", "2")]
    prompts = [n // 2 for n in range(len(items))]
    alpha = alpha_by_prompt(items, prompts)
    assert alpha is not None and alpha.n == 6  # an item with one verdict says nothing
    assert alpha.value == pytest.approx(krippendorffs_alpha(items), abs=1e-12)
    draw = np.random.default_rng(9)
    redrawn = []
    for _ in range(1500):
        drawn = draw.integers(0, 6, 6)
        redrawn.append(krippendorffs_alpha([items[i] for prompt in drawn for i in range(12) if prompts[i] == prompt]))
    low, high = np.quantile([value for value in redrawn if value is not None], [0.025, 0.975])
    assert (alpha.low, alpha.high) == pytest.approx((low, high), abs=0.06)
    assert alpha_by_prompt([("a", "a")] * 5, range(5)) is None


def test_a_judge_that_always_says_first() -> None:
    effect = order_effect(np.ones(20), np.zeros(20))
    assert (effect.bias.value, effect.flips, effect.decided, effect.decisive) == (0.5, 20, 20, 1.0)
    fair = order_effect([1, 0, 0.5, 1], [1, 0, 0.5, 0])
    assert (fair.bias.value, fair.flips, fair.decided, fair.decisive) == (0.125, 1, 3, 0.75)


def test_people_correct_a_judge() -> None:
    people, judge, alone = [1, 0.5, 0.5, 0, 1, 0], [1, 0.5, 1, 0, 1, 1], [0.5, 1, 0, 1, 1, 0.5]
    made, weight = corrected_by_people(people, judge, alone, weight=1.0)
    assert (made.value, made.error, weight) == close(0.416667, 0.238630, 1.0)
    made, weight = corrected_by_people(people, judge, alone)
    assert (made.value, made.error, weight) == close(0.473494, 0.168796, 0.318072)
    made, _ = corrected_by_people(people, judge, alone, weight=0.0)
    assert (made.value, made.error) == close(0.5, 0.182574)


def test_what_pairing_saved() -> None:
    generator = np.random.default_rng(3)
    shared = generator.normal(size=2000)
    saved = saved_by_pairing(shared + generator.normal(size=2000), shared + generator.normal(size=2000))
    assert saved == pytest.approx(0.5, abs=0.05)
    assert saved_by_pairing([1, 1], [1, 1]) is None
