"""The bundled policies: present, small, lossless, casual after tuning, and free of this or that machine's paths."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dpo.dashboard.compare.example import stored
from dpo.dashboard.markup import to_html
from dpo.dashboard.training.run_picker import rows
from dpo.evaluation.comparison.measures import repeated_4grams
from dpo.generation.pieces import Generation
from dpo.generation.sampler import generate
from dpo.generation.settings import Sampling
from dpo.policies.loading import load_policy
from dpo.policies.names import BUNDLED, BUNDLED_RUNS, resolve
from dpo.policies.text import is_lossless
from dpo.preferences import load_preferences
from dpo.pretraining.config import PretrainConfig
from dpo.runs import RunRecord, find_runs, open_run
from dpo.training.config import RunConfig, SftConfig, TrainConfig
from dpo.training.settings import make, read_yaml
from dpo.training.sweep_plan import read_plan
from scripts.bundled.evaluate import invented, quality, words
from scripts.bundled.prepare import answers as answers_of
from scripts.bundled.prepare import mispaired, repaired

RECIPE = Path(__file__).parents[2] / "scripts" / "bundled"
PROMPTS = ["Do you have a favorite food?", "Any fun plans for the weekend?", "What makes a good friend?"]


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_policy_answers(name: str) -> None:
    policy = load_policy(name, device="cpu")
    assert policy.family.key == resolve(name).family
    answers = generate(policy, PROMPTS, Sampling(max_new_tokens=60))
    assert all(len(answer.text.split()) > 3 for answer in answers)
    assert is_lossless(policy.tokenizer, ["</s> 😂👨‍👩‍👧 \n\n {x} <0x41>", "  a"])


def test_bundled_text_round_trips_on_every_real_row(shared: Path) -> None:
    rows = [json.loads(line) for line in (shared / "data/human-like/human_like_dpo.jsonl").open(encoding="utf-8")]
    texts = [row[side] for row in rows for side in ("prompt", "chosen", "rejected")]
    for name in ("demo/t5", "demo/gpt2"):
        assert is_lossless(load_policy(name, device="cpu").tokenizer, texts)


def test_the_stored_comparison_is_of_these_policies_and_no_others(tmp_path: Path) -> None:
    found = stored()
    assert found is not None, "a bundled policy has changed: python -m scripts.bundled.example makes the example anew"
    assert [one["policy"] for one in found["answers"]] == list(BUNDLED)
    assert all(one["end"] == "eos" and one["text"].strip() for one in found["answers"])
    assert stored(tmp_path / "none.json") is None
    other = tmp_path / "other.json"
    for damage in ({"weights": "0" * 16}, {"policy": "demo/t6"}):
        other.write_text(json.dumps(found | {"answers": [found["answers"][0] | damage, *found["answers"][1:]]}))
        assert stored(other) is None
    other.write_text("{")
    assert stored(other) is None


def test_bundled_files_are_small() -> None:
    sizes = [path.stat().st_size for path in BUNDLED_RUNS.rglob("*") if path.is_file()]
    assert max(sizes) < 20e6 and sum(sizes) < 60e6


def test_bundled_runs_are_complete_records() -> None:
    for name in ("Llama-3-t5-dpo", "Llama-3-gpt2-dpo"):
        run = open_run(BUNDLED_RUNS / name)
        assert run.state == "finished" and run.step_zero is not None and run.step_zero["passed"]
        metrics = run.metrics()
        assert metrics.steps[0] == 0 and metrics.last("eval_rewards/margins") > 0
        assert run.samples() and run.policy_path and (run.policy_path / "README.md").is_file()
    broken = open_run(BUNDLED_RUNS / "Llama-3-t5-dpo-high-rate")
    assert broken.metrics().last("eval_rewards/accuracies") > 0.95
    assert broken.policy_path is None
    assert {run.name for run in find_runs([BUNDLED_RUNS])} >= set(BUNDLED.values())


def test_the_list_of_runs_says_how_each_was_trained() -> None:
    shown = str(rows(find_runs([BUNDLED_RUNS]), [], ""))
    assert shown.count("language modelling from random weights") == 2
    assert shown.count("supervised fine-tuning on answers") == 2


def test_the_list_of_runs_begins_with_one_s_own_and_folds_sweeps(tmp_path: Path) -> None:
    RunRecord.create(tmp_path / "own", {"name": "own", "kind": "sft", "family": "t5", "state": "finished"})
    runs = find_runs([tmp_path, BUNDLED_RUNS])
    html, opened = to_html(rows(runs, [], "")), re.compile(r"<details[^>]* open")
    t5, gpt2 = html.split("8 trials")[0], html.split("8 trials")[1]
    names = re.compile(r'class="run-name" title="([^"]*)"')
    assert names.findall(t5)[:2] == ["own", "Llama-3-t5-dpo"] and names.findall(t5)[-1] == "t5-sweep"
    assert next(name for name in names.findall(gpt2) if "t5" not in name) == "Llama-3-gpt2-dpo"
    assert html.count("<details") == 2 and not opened.findall(html)
    trial = next(str(run.path) for run in runs if run.name == "t5-sweep-003")
    assert len(opened.findall(to_html(rows(runs, [trial], "")))) == 1  # what is on screen is in sight
    assert len(opened.findall(to_html(rows(runs, [], "sweep-00")))) == 2


def test_no_path_of_a_machine_is_shipped() -> None:
    for path in BUNDLED_RUNS.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"/tmp/" not in content and b"/home/" not in content and b"/root/" not in content, path


def test_the_recipe_repairs_the_pairs_as_the_audit_does(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "human-like" / "human_like_dpo.jsonl"
    pairs = repaired(str(source), tmp_path)
    rows = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    log = [json.loads(line) for line in (tmp_path / "pairs.jsonl.log.jsonl").read_text(encoding="utf-8").splitlines()]
    changed = [entry for entry in log if entry["action"] == "changed"]
    assert len(rows) == 6432 - (len(log) - len(changed)) and 200 < len(changed) < 400
    assert max(entry["row"] for entry in log) < 1430
    given = [json.loads(line) for line in source.open(encoding="utf-8")]
    kept = {(row["prompt"], row["chosen"], row["rejected"]) for row in rows}
    for entry in changed:  # each takes the answer of the row that the log names
        row = given[entry["row"]]
        assert (row["prompt"], row["chosen"], given[entry["from_row"]]["rejected"]) in kept
    before = pairs.stat().st_mtime_ns
    assert repaired(str(source), tmp_path).stat().st_mtime_ns == before  # made once
    lesson = [json.loads(line) for line in mispaired(str(source), tmp_path).read_text(encoding="utf-8").splitlines()]
    assert lesson == [given[row] for row in sorted({entry["row"] for entry in log})]
    _, texts = answers_of(pairs, tmp_path)
    held_out = load_preferences(str(pairs)).held_out
    assert len(texts) == 4 * (len(rows) - len(held_out)) and not {*held_out["prompt"]} & {*texts}


def test_quality_counts_by_hand() -> None:
    answers = [
        Generation("As an AI language model, I cannot.", 8, "eos", 0.1),
        Generation("Sure! 😄", 4, "eos", 0.1),
        Generation("a b c d a b c d", 9, "length", 0.1),
    ]
    measured = quality(answers, words(["As an AI language model I cannot sure", "a b c d"]), 0.5)
    assert (measured.emoji.n, measured.emoji.value, measured.speaks_of_ai.value) == (3, 1 / 3, 1 / 3)
    assert measured.ended.value == 2 / 3 and measured.invented.value == 0 and measured.tokens_per_second == 42
    assert measured.emoji.low < 1 / 3 < measured.emoji.high
    assert invented("Sure, the model's blorping won’t stop", words(["sure the model won't stop"])) == ["blorping"]
    assert repeated_4grams("a b c d a b c d") == pytest.approx(1 / 5)
    assert repeated_4grams("a b") == 0.0


@pytest.mark.parametrize("path", sorted(RECIPE.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_step_of_the_recipe_is_a_file_that_its_command_takes(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    commands = [line.removeprefix("#").strip() for line in lines if line.startswith("#   dpo ")]
    assert len(commands) == 1 and f"scripts/bundled/{path.name}" in commands[0]
    word = commands[0].split()[1]
    if word == "sweep":
        assert read_plan(path).trials == 8
    else:
        config: type[RunConfig] = {"pretrain": PretrainConfig, "sft": SftConfig, "train": TrainConfig}[word]
        make(config, read_yaml(path, config)).validate()
