"""Held-out measures are over pairs, and every place that shows them shows the same ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import BASE, FAMILIES, one_thread, rows_of

from dpo.cli.main import main
from dpo.policies.loading import load_policy
from dpo.policies.ranking import TIE_NATS, ranked_right
from dpo.policies.scoring import score
from dpo.preferences import load_preferences
from dpo.runs import summarise
from dpo.runs.doctor.case import Case
from dpo.runs.doctor.rules.health import healthy
from dpo.runs.doctor.verdict import Thresholds
from dpo.training.config import SftConfig, TrainConfig
from dpo.training.measures import PairMeasures
from dpo.training.recipes.dpo import train
from dpo.training.recipes.sft import sft

__all__ = ["one_thread"]  # the fixture acts here too

# Evaluation batches of 10: the held-out pairs below are no multiple of it.
SETTINGS: dict[str, Any] = BASE | {
    "num_samples": None, "probes": 0, "kl_prompts": 0, "eval_fraction": 0.3, "batch_size": 5,
}  # fmt: skip


@pytest.fixture
def pairs_file(write_pairs: Callable[..., Path]) -> Path:
    """Real pairs, few enough to score all of them."""
    pairs = load_preferences("sample", num_samples=110, eval_fraction=0.0).train
    return write_pairs([{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in pairs])


@pytest.mark.parametrize("overlong", ["truncate", "drop"])
@pytest.mark.parametrize("family", FAMILIES)
def test_five_places_show_the_same_held_out_measures(
    family: str, overlong: str, pairs_file: Path, policy_dirs: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings = SETTINGS | {"dataset": str(pairs_file), "overlong": overlong, "max_completion_length": 80}
    run = train(TrainConfig(**settings, model=str(policy_dirs[family]), output_dir=str(tmp_path / "run")))
    n = run.info["dataset"]["held_out"]
    assert n > 10 and n % 10
    last = rows_of(run.path)[-1]
    capsys.readouterr()
    assert main(["score", f"--policy={run.path}", f"--dataset={pairs_file}", "--held-out", "--json=-"]) == 0
    scored = json.loads(capsys.readouterr().out)
    pairs = scored["pairs"]  # without what training left out as too long
    assert len(pairs) == n
    for name, own in (("margins", "margin"), ("chosen", "chosen_reward"), ("rejected", "rejected_reward")):
        expected = sum(pair[own] for pair in pairs) / n
        assert last[f"eval_rewards/{name}"] == pytest.approx(expected, abs=1e-6), name
    assert last["eval_logps/chosen"] == pytest.approx(sum(pair["chosen_logp"] for pair in pairs) / n, abs=1e-4)
    accuracy, margin = last["eval_rewards/accuracies"], last["eval_rewards/margins"]
    assert accuracy * n == pytest.approx(round(2 * accuracy * n) / 2, abs=1e-9)  # so many of n pairs
    assert accuracy == pytest.approx(sum(ranked_right(pair["margin"], 0.1) for pair in pairs) / n, abs=1e-9)
    assert scored["summary"]["rewards/accuracies"] == pytest.approx(accuracy, abs=1e-9)
    assert scored["summary"]["rewards/margins"] == pytest.approx(margin, abs=1e-6)
    # The Runs table and the end of the command read the summary; the card and the doctor the record.
    assert (summarise(run)["accuracy"], summarise(run)["margin"]) == (accuracy, margin)
    card = (run.path / "policy" / "README.md").read_text(encoding="utf-8")
    assert f"{n} held-out pairs" in card
    told = [line for line in card.splitlines() if line.startswith(("| margin", "| accuracy"))]
    rows = [line.split(" | ")[-1].strip(" |") for line in told]
    assert [float(value) for value in rows] == [pytest.approx(margin, rel=1e-3), pytest.approx(accuracy, rel=1e-3)]
    said = {evidence.text: evidence.value for evidence in healthy(Case(run, run.metrics(), [], Thresholds())).evidence}
    assert said["margin"] == margin and said[f"accuracy, n {n}"] == accuracy


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tie_is_half_right(family: str, policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    """A policy that is its reference ranks like a coin: held out and in training, until the first update."""
    settings = SETTINGS | {"max_steps": 2, "num_samples": 40, "gradient_accumulation": 2}
    run = train(TrainConfig(**settings, model=str(policy_dirs[family]), output_dir=str(tmp_path / "run")))
    rows = rows_of(run.path)
    assert rows[0]["rewards/accuracies"] == rows[0]["eval_rewards/accuracies"] == 0.5
    assert rows[1]["rewards/accuracies"] == 0.5  # measured before the first update
    assert ranked_right(0.02, 0.1) == 1 and ranked_right(-0.02, 0.1) == 0
    assert ranked_right(0.09 * TIE_NATS, 0.1) == ranked_right(-0.09 * TIE_NATS, 0.1) == ranked_right(0, 0.1) == 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_held_out_loss_of_fine_tuning_is_over_tokens(
    family: str, pairs_file: Path, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "kl_prompts"}
    settings |= {"dataset": str(pairs_file), "max_completion_length": 80, "overlong": "drop"}
    run = sft(SftConfig(**settings, model=str(policy_dirs[family]), output_dir=str(tmp_path / "run")))
    last = rows_of(run.path)[-1]
    policy = load_policy(str(run.path), device="cpu")
    held_out = load_preferences(str(pairs_file), eval_fraction=0.3).held_out
    for side in ("chosen", "rejected"):
        encoded = policy.family.encode_completions(policy.tokenizer, held_out[side])
        total = [
            score(policy, [row["prompt"]], [row[side]])[0]
            for row, ids in zip(held_out, encoded, strict=True)
            if len(ids) <= 80
        ]
        assert len(total) > 10 and (len(total) % 10 or side == "rejected")
        expected = -sum(map(sum, total)) / sum(map(len, total))
        assert last[f"eval_{side}_loss"] == pytest.approx(expected, abs=1e-5)


def test_pairs_that_fill_up_a_batch_count_once() -> None:
    """With several processes the sampler repeats rows, so that each process has a full batch."""
    table = torch.zeros(3, 6, 2)
    table[:, 0, 0] = torch.tensor([1.0, -1.0, 3.0])  # chosen rewards; the rejected ones are 0
    table[:, 2] = 1.0
    held_out, training = PairMeasures(0.1, once=True), PairMeasures(0.1, once=False)
    for measures in (held_out, training):
        measures.add(torch.tensor([4, 5, 6]), table)
        measures.add(torch.tensor([7, 4]), table[[1, 0]])
    assert held_out.pairs == 4 and held_out.means()["rewards/margins"] == 0.5
    assert held_out.means()["rewards/accuracies"] == 0.5
    assert training.pairs == 5 and training.means()["rewards/margins"] == pytest.approx(0.6)
    held_out.clear()
    assert held_out.means() == {}
