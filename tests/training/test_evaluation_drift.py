"""How far a policy moved from its base and what it forgot, beside the trainer's and the scorer's own numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from evaluations import PROMPTS, config_of

from dpo.errors import DataError
from dpo.evaluation.comparison.plan import make_plan
from dpo.evaluation.comparison.rows import RowStore
from dpo.evaluation.comparison.work import evaluate
from dpo.policies.loading import load_policy
from dpo.policies.scoring import score


def test_how_far_a_policy_moved_and_what_it_forgot(tuned_home: Path, tmp_path: Path) -> None:
    """KL and perplexity against the trainer's and the scorer's own numbers; a file of plain text, and no KL."""
    text = tmp_path / "plain.txt"
    text.write_text("One two three four five six seven eight nine ten.\n\nToo short.\r\n\r\n" + "word " * 12, "utf-8")
    given = config_of(tuned_home, tmp_path / "e", judges=(), plain_text=str(text))
    made = evaluate(given)
    run, base = str(tuned_home / "run"), str(tuned_home / "base")
    # For each policy a chosen answer a prompt and two texts, and a KL a prompt of the one that was tuned.
    assert made.measured == 2 * (PROMPTS + 2) + PROMPTS and made.result["complete"]
    [kl] = made.result["divergence"]
    assert (kl["policy"], kl["against"], kl["prompts"], kl["left_out"]) == (run, base, PROMPTS, 0)
    assert 0 < kl["per_token"]["value"] < kl["kl"]["value"] and kl["kl"]["low"] >= 0 and kl["k3"]["value"] > 0
    rows = {(row["policy"], row["kind"]): row for row in made.result["perplexity"]}
    store, policies = RowStore(tmp_path / "e"), {name: load_policy(name, device="cpu") for name in (run, base)}
    asked = list(store.prompts.values())
    chosen = [(prompt["prompt"], prompt["pairs"][0]["chosen"]) for prompt in asked]
    plain = [("One two three four five", "six seven eight nine ten."), ("word " * 5 + "word", "word " * 5 + "word")]
    for kind, pairs in (("chosen", chosen), ("plain", plain)):
        bits = {}
        for name, policy in policies.items():
            found = [score(policy, [prompt], [text])[0] for prompt, text in pairs]
            nats = [-sum(logps) / len(logps) for logps in found]
            assert rows[name, kind]["perplexity"]["value"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-4)
            bits[name] = [-sum(logps) / math.log(2) / len(text) for logps, (_, text) in zip(found, pairs, strict=True)]
            assert rows[name, kind]["bits"]["value"] == pytest.approx(sum(bits[name]) / len(pairs), rel=1e-4)
        gap = sum(a - b for a, b in zip(bits[run], bits[base], strict=True)) / len(pairs)
        assert rows[run, kind]["difference"]["value"] == pytest.approx(gap, abs=1e-5)
        assert rows[base, kind]["difference"] is None and rows[run, kind]["texts"] == len(pairs)
    without = evaluate(replace(given, kl_prompts=0))
    assert without.measured == 0 and without.result["divergence"] == [] and without.result["complete"]
    text.write_text("Too short.", "utf-8")
    with pytest.raises(DataError, match="no paragraph has 10 words"):
        make_plan(given)
