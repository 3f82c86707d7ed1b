"""A table of the study from its file to its text, on tiny policies of both families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import save_tiny

from dpo.evaluation.comparison.rows import RowStore
from dpo.evaluation.comparison.table import Table
from dpo.runs import open_run
from scripts.study.__main__ import main
from scripts.study.plan import read_table


@pytest.mark.slow
def test_a_table_is_made_by_one_command_and_goes_on(
    tuned_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "batch_size": 4, "probes": 0, "device": "cpu", "eval_fraction": 0.3, "precision": "fp32", "kl_prompts": 0,
        "max_prompt_length": 24, "max_completion_length": 60,
    }  # fmt: skip
    table: dict[str, Any] = {
        "question": "Which?",
        "models": {"gpt2": str(tuned_home / "base"), "t5": str(save_tiny("t5", tmp_path / "t5"))},
        "variants": {
            "dpo": settings | {"learning_rate": 0.02},
            "sft": {name: value for name, value in settings.items() if name != "kl_prompts"}
            | {"recipe": "sft", "pairs": "without-emoji"},
        },
        "judge": settings,
        "evaluation": {"kl_prompts": 2, "max_new_tokens": 6, "device": "cpu"},
    }
    path, work = tmp_path / "which.yaml", tmp_path / "work"
    path.write_text(yaml.safe_dump(table), encoding="utf-8")
    command = [str(path), "--work", str(work), "--data", str(tuned_home / "pairs.jsonl"), "--seeds", "2"]
    command += ["--updates", "2", "--prompts", "4"]
    assert main(command) == 0
    runs = sorted((work / "runs").iterdir())
    assert len(runs) == 2 * 2 * 2 + 1 and {open_run(run).state for run in runs} == {"finished"}
    assert {open_run(run).config["half"] for run in runs if run.name != "which-judge"} == {1}

    text = (work / "which.md").read_text(encoding="utf-8")
    in_full = text.partition("## Win rate")[2].splitlines()
    rows = [line.strip("| ").split(" | ") for line in in_full if line.startswith(("| dpo", "| sft"))]
    assert "| variant | model | mean | 95 % | training | sampling | difference |" in text
    won = {(row[0], row[1]): row for row in rows[:4]}
    store = RowStore(work / "evaluations" / "which-2-seeds")
    assert store.plan is not None and len(store.plan["comparisons"]) == 8 and read_table(str(path)).name == "which"
    by_rows = Table(store, store.plan)
    means = []
    for seed in (0, 1):
        run = str(work / "runs" / f"which-gpt2-dpo-{seed}")
        judged = by_rows.judged(store.plan["judges"][0], run, str(tuned_home / "base"), 0.7)
        means += [one.h for one in judged.values() if one.h is not None]
    assert won["dpo", "gpt2"][2] == f"{sum(means) / len(means):.3f}" and won["dpo", "gpt2"][8:] == ["2", "4"]
    assert won["dpo", "t5"][6] == "–" != won["sft", "t5"][6]
    accuracies = text.partition("## Held-out accuracy")[2].partition("##")[0]
    assert "| dpo | gpt2 |" in accuracies and "| sft |" not in accuracies
    assert "sampling alone" in (work / "which.html").read_text(encoding="utf-8")
    cleaned = [json.loads(line) for line in (work / "pairs-without-emoji.jsonl").read_text().splitlines()]
    assert cleaned and not any("😄" in row["chosen"] for row in cleaned)

    capsys.readouterr()
    assert main(command) == 0
    told = capsys.readouterr().out
    assert told.count("is there") == 9 and "trained" not in told
    assert (work / "which.md").read_text(encoding="utf-8") == text
    a_second_table_takes_what_is_there(table, settings, command, work, capsys)

    assert main([*command, "--updates", "3"]) == 2
    assert "was trained with another max_steps" in capsys.readouterr().err


def a_second_table_takes_what_is_there(
    table: dict[str, Any], settings: dict[str, Any], command: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same settings by another name, with a judge of its own."""
    alike = work.parent / "alike.yaml"
    alike.write_text(
        yaml.safe_dump(
            table | {"models": {"gpt2": table["models"]["gpt2"]}, "judge": settings | {"learning_rate": 0.01},
                     "variants": {"full": table["variants"]["dpo"]}, "evaluation": table["evaluation"]}
        ), encoding="utf-8",
    )  # fmt: skip
    assert main([str(alike), *command[1:]]) == 0
    told = capsys.readouterr().out
    assert "alike-judge: trained" in told
    assert "is which-gpt2-dpo-0" in told and "is which-gpt2-dpo-1" in told and told.count("trained") == 1
    assert "| full | gpt2 |" in (work / "alike.md").read_text(encoding="utf-8")
