"""The bundled policies: present, small, lossless, casual after tuning, and free of this or that machine's paths."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpo.dashboard.compare.example import stored
from dpo.evaluation.comparison.measures import repeated_4grams
from dpo.generation.pieces import Generation
from dpo.generation.sampler import generate
from dpo.generation.settings import Sampling
from dpo.policies.loading import load_policy
from dpo.policies.names import BUNDLED, BUNDLED_RUNS, resolve
from dpo.policies.text import is_lossless
from dpo.runs import find_runs, open_run
from scripts.bundled.evaluate import quality
from scripts.bundled.recipe import prepare

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


def test_no_path_of_a_machine_is_shipped() -> None:
    for path in BUNDLED_RUNS.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"/tmp/" not in content and b"/home/" not in content and b"/root/" not in content, path


def test_the_recipe_repairs_the_pairs_as_the_audit_does(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "human-like" / "human_like_dpo.jsonl"
    pairs = prepare(str(source), tmp_path)
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
    assert prepare(str(source), tmp_path).stat().st_mtime_ns == before  # made once


def test_quality_counts_by_hand() -> None:
    answers = [
        Generation("As an AI language model, I cannot.", 8, "eos", 0.1),
        Generation("Sure! 😄", 4, "eos", 0.1),
        Generation("a b c d a b c d", 9, "length", 0.1),
    ]
    measured = quality(answers)
    assert (measured.n, measured.emoji, measured.speaks_of_ai) == (3, 1 / 3, 1 / 3)
    assert measured.casual == 2 / 3 and measured.ended == 2 / 3
    assert repeated_4grams("a b c d a b c d") == pytest.approx(1 / 5)
    assert repeated_4grams("a b") == 0.0
