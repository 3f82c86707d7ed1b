"""The win rate during training: by hand from the run's own checkpoints, chosen by, resumed, and without its judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from killing import SIGKILL, differences, fork, killed_at, writes_of
from resuming import go_on, starting
from short_runs import BASE, one_thread, rows_of

from dpo.errors import ConfigError, PolicyError
from dpo.evaluation.statistics.intervals import win_rate
from dpo.generation.sampler import generate
from dpo.generation.settings import PLAIN
from dpo.policies.loading import load_policy
from dpo.preferences.load import load
from dpo.preferences.spec import DataSpec
from dpo.training.config import TrainConfig
from dpo.training.probes import fitting
from dpo.training.recipes.dpo import train
from dpo.training.settings import make

__all__ = ["one_thread"]

SETTINGS: dict[str, Any] = BASE | {
    "max_steps": 6, "eval_steps": 2, "save_steps": 2, "learning_rate": 0.3, "keep_checkpoints": 9, "probes": 0,
    "kl_prompts": 0, "eval_win_rate": 3, "eval_judge": "longer", "seed": 3, "precision": "fp32",
}  # fmt: skip


def curve(run: Path) -> dict[int, dict[str, float]]:
    return {row["step"]: row for row in rows_of(run) if "eval_win_rate" in row}


@pytest.mark.parametrize(("family", "lora"), [("t5", False), ("gpt2", True)])
def test_a_win_rate_is_measured_at_every_evaluation_and_keeps_the_best(
    family: str, lora: bool, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    """By hand: the checkpoints' answers and the start's, and the longer one of each two wins."""
    settings = SETTINGS | {"lora": lora, "keep_best": "win_rate", "kl_prompts": 2 if lora else 0}
    run = train(TrainConfig(model=str(policy_dirs[family]), output_dir=str(tmp_path / "run"), **settings))
    assert run.info["win_rate"] == {
        "judge": "longer", "says": "the longer answer, a rule that reads no meaning", "prompts": 3,
    }  # fmt: skip
    found, rows = curve(run.path), rows_of(run.path)
    assert len({row["step"] for row in rows}) == len(rows)  # with all that was measured at it
    assert [row["step"] for row in rows if "eval_kl" in row] == ([0, 2, 4, 6] if lora else [])
    assert list(found) == [0, 2, 4, 6] and found[0]["eval_win_rate"] == 0.5
    pairs = load(DataSpec.of(run.config)).held_out
    base = load_policy(str(policy_dirs[family]), device="cpu")
    asked = [pair["prompt"] for pair in fitting(base, pairs, 3, SETTINGS["max_prompt_length"])]
    sampling = replace(PLAIN, max_new_tokens=128, seed=3)
    start = [one.text for one in generate(base, asked, sampling)]
    for step in (2, 4, 6):
        policy = load_policy(str(run.path / f"checkpoint-{step}"), device="cpu")
        after = [one.text for one in generate(policy, asked, sampling)]
        gaps = [len(new) - len(old) for new, old in zip(after, start, strict=True)]
        by_hand = win_rate([0.5 if gap == 0 else float(gap > 0) for gap in gaps])
        names = ("eval_win_rate", "eval_win_rate_low", "eval_win_rate_high", "eval_win_rate_prompts")
        expected = [by_hand.value, by_hand.low, by_hand.high, 3]
        assert [found[step][name] for name in names] == pytest.approx(expected)
    best = max(found.values(), key=lambda row: row["eval_win_rate"])
    assert run.info["best"]["value"] == best["eval_win_rate"] and run.info["best"]["by"] == "win_rate"
    assert run.info["policy"]["step"] == best["step"]


def test_a_killed_run_measures_and_keeps_what_it_would_have(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    more = {"eval_win_rate": 2, "eval_judge": "longer", "keep_best": "win_rate", "learning_rate": 0.3, "probes": 0,
            "eval_steps": 2}  # fmt: skip
    start, log, whole, out = (
        starting(policy_dirs["gpt2"], **more),
        tmp_path / "log",
        tmp_path / "whole",
        tmp_path / "out",
    )
    writes = writes_of(start(whole), whole, log)
    assert len(curve(whole)) == 4
    at = [number for number, what in enumerate(writes, 1) if what == "open /metrics.jsonl"][3]
    assert fork(killed_at(at, SIGKILL, start(out), out), log) == -SIGKILL
    assert go_on(out, start, log) == 0, log.read_text()
    assert differences(whole, out) == []


def test_a_reward_judges_and_a_judge_that_is_down_stops_nothing(
    tuned_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SETTINGS | {"max_steps": 2, "model": str(tuned_home / "base")}
    reward = f"reward:{tuned_home / 'run'}"
    run = train(TrainConfig(output_dir=str(tmp_path / "reward"), **settings | {"eval_judge": reward}))
    assert "agreement with the training preference" in run.info["win_rate"]["says"]
    assert [row["eval_win_rate_prompts"] for row in curve(run.path).values()] == [3, 3]
    settings |= {"eval_judge": "endpoint:http://127.0.0.1:9/v1#m", "keep_best": "win_rate"}
    run = train(TrainConfig(output_dir=str(tmp_path / "down"), **settings))
    assert run.state == "finished" and run.info["policy"]["step"] == 2 and not curve(run.path)
    assert (
        capsys.readouterr().err.count("the judge gave no verdict on 6 of 6: http://127.0.0.1:9/v1 can't be asked") == 1
    )


def test_a_judge_that_is_none_is_refused_before_anything_begins(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    given = {"model": str(policy_dirs["gpt2"]), "output_dir": str(tmp_path / "run"), **BASE}
    for more, error, says in (
        ({"eval_win_rate": 3}, ConfigError, "needs a judge"),
        ({"eval_judge": "longer"}, ConfigError, "nothing to judge"),
        ({"keep_best": "win_rate"}, ConfigError, "add --eval-win-rate"),
        ({"eval_win_rate": 3, "eval_judge": "longer", "eval_fraction": 0.0}, ConfigError, "held-out prompts"),
        ({"eval_win_rate": 3, "eval_judge": "taller"}, ConfigError, "No judge is called 'taller'"),
        ({"eval_win_rate": 3, "eval_judge": "votes"}, ConfigError, "has judged other answers"),
        ({"eval_win_rate": 3, "eval_judge": f"reward:{tmp_path}"}, PolicyError, "holds no policy"),
    ):
        with pytest.raises(error, match=says):
            train(make(TrainConfig, given | more))
