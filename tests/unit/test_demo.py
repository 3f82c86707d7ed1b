"""The bundled policies: present, small, lossless, casual after tuning, and free of this or that machine's paths."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpo.demo.cleaning import mend
from dpo.demo.evaluate import quality, repetition
from dpo.generation.sampler import Generation, generate
from dpo.generation.settings import Sampling
from dpo.policies.loading import load_policy
from dpo.policies.names import BUNDLED, BUNDLED_RUNS, resolve
from dpo.policies.text import is_lossless
from dpo.runs import find_runs, open_run

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


def test_mend_repairs_a_shuffled_block_and_leaves_the_rest() -> None:
    topics = [f"{a}{b}" for a in ("kite", "lamp", "moss", "pear", "rope", "silk") for b in "abcdefghijklmnopqrstuvwxyz"]
    rows = [
        {"prompt": f"Tell me of {topic} and {topic} again", "chosen": "x", "rejected": f"The {topic} is {topic}."}
        for topic in topics
    ]
    rows += [row | {"prompt": row["prompt"] + "?"} for row in rows]
    shuffled = [
        row | {"rejected": rows[(i * 17 + 5) % 60]["rejected"]} if i < 60 else row for i, row in enumerate(rows)
    ]
    mended = mend(shuffled)
    assert mended.repaired + mended.dropped > 30
    assert all(row["prompt"].split()[3] in row["rejected"] for row in mended.rows[: mended.repaired])
    assert mend(rows).kept == len(rows)


def test_quality_counts_by_hand() -> None:
    answers = [
        Generation("As an AI language model, I cannot.", 8, "eos", 0.1),
        Generation("Sure! 😄", 4, "eos", 0.1),
        Generation("a b c d a b c d", 9, "length", 0.1),
    ]
    measured = quality(answers)
    assert (measured.n, measured.emoji, measured.speaks_of_ai) == (3, 1 / 3, 1 / 3)
    assert measured.casual == 2 / 3 and measured.ended == 2 / 3
    assert repetition("a b c d a b c d") == pytest.approx(1 / 5)
    assert repetition("a b") == 0.0
