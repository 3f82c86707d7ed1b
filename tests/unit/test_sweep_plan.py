"""The file of a sweep: what it may hold, and how mistakes in it are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo.cli.main import main
from dpo.errors import ConfigError
from dpo.training.sweep_plan import Choices, Range, SweepPlan, read_plan

GOOD: dict[str, Any] = {
    "method": "tpe", "trials": 4, "settings": {"model": "demo/gpt2", "max-steps": 4},
    "search": {"beta": [0.05, 0.1], "learning_rate": {"low": "1e-5", "high": "1e-3", "log": True},
               "lora_rank": {"low": 2, "high": 8, "step": 2}},
}  # fmt: skip


def planned(directory: Path, **changed: Any) -> SweepPlan:
    path = directory / "rates.yaml"
    path.write_text(yaml.safe_dump(GOOD | changed))
    return read_plan(path)


def test_a_plan_is_read_in_the_types_of_the_settings(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert plan.name == "rates"
    assert plan.settings == {"model": "demo/gpt2", "max_steps": 4}
    assert plan.search["beta"] == Choices((0.05, 0.1))
    assert plan.search["learning_rate"] == Range(1e-5, 1e-3, log=True)
    assert plan.search["lora_rank"] == Range(2, 8, step=2.0, whole=True)
    assert (plan.measure, plan.more_is_better) == ("accuracy", True)
    assert planned(tmp_path, measure="loss").more_is_better is False


def test_a_grid_is_every_combination_and_a_list_setting_comes_back_as_one(tmp_path: Path) -> None:
    search = {"loss_type": [["sigmoid"], ["sigmoid", "sft"], "ipo"], "lora_rank": {"low": 2, "high": 8, "step": 3}}
    plan = planned(tmp_path, method="grid", trials=None, search=search, settings={"lora": True})
    assert plan.trials == 9
    points = plan.combinations()
    assert points is not None and len({tuple(point.items()) for point in points}) == 9
    assert plan.values(points[0]) == {"lora": True, "loss_type": ["sigmoid"], "lora_rank": 2}
    assert sorted({point["lora_rank"] for point in points}) == [2, 5, 8]  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"search": {}}, "no 'search:'"),
        ({"search": {"bta": [0.1]}}, "did you mean beta?"),
        ({"search": {"beta": [0.1, -1]}}, "must be above 0"),
        ({"search": {"beta": [0.1, 0.1]}}, "twice"),
        ({"search": {"beta": 0.1}}, "give a list of values"),
        ({"search": {"beta": {"low": 0.1}}}, "both 'low:' and 'high:'"),
        ({"search": {"beta": {"low": 0.2, "high": 0.1}}}, "must be below"),
        ({"search": {"weight_decay": {"low": 0, "high": 1, "log": True}}}, "above 0"),
        ({"search": {"output_dir": ["a", "b"]}}, "set by the sweep"),
        ({"settings": {"beta": 0.1}}, "keep one of them"),
        ({"method": "grid", "trials": None}, "a grid needs values of learning_rate"),
        ({"method": "bayes"}, "choose from grid, random, tpe"),
        ({"trials": None}, "needs a number of runs"),
        ({"trials": 3, "search": {"beta": [0.1, 0.2]}}, "2 combinations only"),
        ({"trails": 3}, "did you mean trials?"),
        ({"settings": {}, "search": {"lora_dropout": [0.1, 0.2]}, "trials": 2}, "--lora-dropout needs --lora"),
        ({"name": "../out"}, "no folder's name"),
        ({"measure": "win_rate"}, "needs eval_win_rate and eval_judge"),
    ],
)
def test_mistakes_are_one_line(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, **changed)
    assert said in str(caught.value)
    assert "rates.yaml" in str(caught.value)


def test_the_command_line_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read" in capsys.readouterr().err
