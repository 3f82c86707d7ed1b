"""The study's tables: what their files say, and the arithmetic of spread over trainings and error of the prompts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dpo.dashboard.training.jobs_api import presets
from dpo.errors import ConfigError
from scripts.study.__main__ import main
from scripts.study.plan import TABLES, StudyTable, Variant, read_table
from scripts.study.spread import Spread, spread
from scripts.study.table import Measured, markdown, picture

ROWS = [[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]]


def test_the_two_errors_by_hand() -> None:
    """Seeds of means 1/2 and 1 on four prompts of means 1, 1/2, 1, 1/2.

    MS_seed = 4 (1/16 + 1/16) / 1 = 1/2; MS_prompt = 2 (4/16) / 3 = 1/6; what is left is 1/4 everywhere: MS_rest =
    8/16 / 3 = 1/6.  Training^2 = (1/2 - 1/6) / 4 = 1/12, sampling^2 = (1/6) / 8 = 1/48, the mean's variance is
    1/24 + 1/48 = 1/16, its freedom (1/2 + 1/6 - 1/6)^2 / (1/4 + 1/108 + 1/108) = 27/29.
    """
    found = spread(ROWS)
    assert (found.value, found.seeds, found.prompts) == (0.75, 2, 4)
    assert found.training == pytest.approx(math.sqrt(1 / 12)) and found.sampling == pytest.approx(math.sqrt(1 / 48))
    assert found.high is not None and found.high - 0.75 == pytest.approx(0.25 * stats.t.ppf(0.975, 27 / 29))


def test_seeds_that_differ_by_less_than_the_prompts_explain_have_no_spread() -> None:
    found = spread([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    assert found.training == 0 and found.sampling == pytest.approx(math.sqrt(1 / 36))
    assert found.high is not None and found.high == pytest.approx(2 / 3 + math.sqrt(1 / 36) * stats.t.ppf(0.975, 2))
    alone, alike = spread([[0.0, 1.0]]), spread([[1.0, 1.0], [1.0, 1.0]])
    assert alone.training is None and alone.sampling == 0.5  # one seed tells nothing of others
    assert (alike.low, alike.high) == (None, None) and spread([[1.0], [2.0]]).sampling is None


def test_both_errors_are_found_again_in_draws_of_a_known_kind() -> None:
    draw = np.random.default_rng(1)
    made = []
    for _ in range(400):
        x = 2 + draw.normal(0, 0.5, (3, 1)) + draw.normal(0, 1, (1, 50)) + draw.normal(0, 2, (3, 50))
        made.append(spread(x))
    assert np.mean([one.training**2 for one in made if one.training is not None]) == pytest.approx(0.25, rel=0.15)
    assert np.mean([one.sampling**2 for one in made if one.sampling]) == pytest.approx(1 / 50 + 4 / 150, rel=0.05)
    inside = [one.low <= 2 <= one.high for one in made if one.low is not None and one.high is not None]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.035)


def test_every_table_can_be_trained_and_is_no_preset_of_the_page() -> None:
    names = sorted(path.stem for path in TABLES.glob("*.yaml"))
    assert names == ["adapters", "beta", "families", "losses", "pairs"]
    assert not set(names) & {preset["name"] for preset in presets()}
    docs = (TABLES.parents[1] / "docs" / "study.md").read_text(encoding="utf-8")
    for name in names:
        table = read_table(name)
        assert {one.settings["half"] for one in table.variants} == {1} and table.judge.settings["half"] == 2
        assert f"python -m scripts.study {name} --work" in docs
    shorter = read_table("beta").changed(2, 5)
    assert [one.settings["max_steps"] for one in (*shorter.variants, shorter.judge)] == [2] * 5
    assert shorter.evaluation["prompts"] == 5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: [", "not valid YAML"), ("models: {}", "no models"), ("models: [1]", "must be name: value"),
        ("colour: red", "and nothing else"), ("models: {a: b}\nvariants: {x: {recipe: ppo}}", "choose from dpo, sft"),
        ("models: {a: b}\nvariants: {x: {beta: -1}}", "--beta is -1"),
        ("models: {a: b}\nvariants: {x: {recipe: sft, beta: 1}}", "no setting is called"),
        ("models: {a: b}\nvariants: {x: {}}\nevaluation: {judges: 3}", "evaluation has no judges"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_made_is_refused_in_a_line(
    content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        read_table(str(path))
    assert main([str(path), "--work", str(tmp_path / "work")]) == 2
    assert main(["losse", "--work", str(tmp_path / "work")]) == 2 and main(["beta", "--work", "x", "--seeds", "0"]) == 2
    assert "choose from adapters, beta, families, losses, pairs" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_the_table_tells_the_errors_apart() -> None:
    table = StudyTable("t", "Which?", {"gpt2": "a", "t5": "b"}, [Variant("dpo"), Variant("ipo")], Variant("judge"))
    one = Measured("win rate", "dpo", "gpt2", spread(ROWS), None)
    other = replace(one, variant="ipo", difference=Spread(-0.25, 0.1, 0.05, -0.5, 0.0, 2, 4))
    plan = {"data": {"source": "p.jsonl", "fingerprint": "f"}, "prompts": list("abcd"), "temperatures": [0.7]}
    lines = markdown(table, [one, other], "python -m x", plan).splitlines()
    overview = lines.index("| variant | model | win rate |")
    assert lines[overview + 2] == "| dpo | gpt2 | 75.0 % (-304.0 to 454.0) |"
    assert lines[overview + 3].startswith("| ipo | gpt2 | 75.0 %")
    [first, second] = [line for line in lines[overview + 4 :] if "| gpt2 |" in line]
    assert first.split(" | ")[2:7] == ["0.750", "-3.040 to 4.540", "0.289", "0.144", "–"]
    assert second.split(" | ")[6:8] == ["-0.250", "-0.500 to +0.000"]
    figure = picture(table, [one, other])
    whole, sampling = figure.data
    assert list(whole.x) == [0.75, 0.75] and list(whole.y) == ["dpo · gpt2", "ipo · gpt2"]
    assert whole.error_x.arrayminus[0] > sampling.error_x.arrayminus[0] == pytest.approx(1.96 * 0.1443, abs=1e-3)
    assert sampling.error_x.array[0] == 0.25  # no share is above 1
