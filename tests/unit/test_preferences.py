"""Rows in, pairs out: layouts, files, the split, and one line for every mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo.errors import DataError
from dpo.preferences import is_held_out, load_preferences
from dpo.preferences.audit import audit
from dpo.preferences.load import fingerprint
from dpo.preferences.split import position

Write = Callable[..., Path]
ROWS = [{"prompt": f"q{i} 😀", "chosen": f"yes {i}\n ", "rejected": f" no {i}"} for i in range(60)]


def test_sample_is_large_and_clean() -> None:
    pairs = load_preferences("sample")
    assert pairs.info["pairs"] >= 300
    assert pairs.info["dropped"] == {}
    assert pairs.info["prompts"] == pairs.info["pairs"]
    assert len(pairs.train) + len(pairs.held_out) == pairs.info["pairs"]


def test_text_is_kept_as_it_is(write_pairs: Write) -> None:
    pairs = load_preferences(str(write_pairs(ROWS)), eval_fraction=0.2)
    kept = [dict(row) for side in (pairs.train, pairs.held_out) for row in side]
    assert sorted(kept, key=str) == sorted(ROWS, key=str)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet"])
def test_other_files_give_the_same_pairs(suffix: str, write_pairs: Write, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    frame = pd.DataFrame(ROWS)
    if suffix == ".json":
        path.write_text(json.dumps(ROWS, indent=2))
    elif suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    expected = load_preferences(str(write_pairs(ROWS)), eval_fraction=0.2)
    assert load_preferences(str(path), eval_fraction=0.2).info["fingerprint"] == expected.info["fingerprint"]


@pytest.mark.parametrize(
    ("row", "pair"),
    [
        (
            {"chosen": "\n\nHuman: Hi?\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi?\n\nAssistant: Go"},
            {"prompt": "Hi?", "chosen": "Hello", "rejected": "Go"},
        ),
        (
            {
                "chosen": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello"}],
                "rejected": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Go"}],
            },
            {"prompt": "Hi?", "chosen": "Hello", "rejected": "Go"},
        ),
        (
            {
                "prompt": [{"role": "user", "content": "Hi?"}],
                "chosen": [{"role": "assistant", "content": "Hello"}],
                "rejected": [{"role": "assistant", "content": "Go"}],
            },
            {"prompt": "Hi?", "chosen": "Hello", "rejected": "Go"},
        ),
    ],
)
def test_layouts(row: dict[str, Any], pair: dict[str, str], write_pairs: Write) -> None:
    pairs = load_preferences(str(write_pairs([row] * 2)), eval_fraction=0)
    assert pairs.train[0] == pair


def test_named_columns(write_pairs: Write) -> None:
    rows = [{"q": row["prompt"], "good": row["chosen"], "bad": row["rejected"]} for row in ROWS]
    path = str(write_pairs(rows))
    pairs = load_preferences(path, prompt_column="q", chosen_column="good", rejected_column="bad", eval_fraction=0)
    assert [dict(row) for row in pairs.train] == ROWS
    with pytest.raises(DataError, match="no column 'nope' for --prompt-column: the columns are q, good, bad"):
        load_preferences(path, prompt_column="nope")


def test_unusable_rows_are_dropped_and_counted(write_pairs: Write) -> None:
    bad = [
        {"prompt": " ", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "same", "rejected": "same "},
        {"prompt": "p", "chosen": None, "rejected": "b"},
    ]
    pairs = load_preferences(str(write_pairs(ROWS + bad)), eval_fraction=0)
    assert pairs.info["dropped"] == {"with a blank prompt": 1, "with equal answers": 1, "without text": 1}
    assert len(pairs.train) == len(ROWS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ('{"instruction": "a", "output": "b"}\n', "single answers, not preferences"),
        ('{"prompt": "a", "completion": "b", "label": true}\n', "unpaired data with a label"),
        ('{"a": 1}\n', "no preference pairs recognised .the columns are a."),
        ('{"prompt": "a"\n{"prompt"', "line 1 is not JSON"),
        ('{"prompt": "a", "chosen": "x", "rejected": "x"}\n', "has no usable pair .1 with equal answers."),
        ("[1, 2]", "row 1 is int, not an object"),
    ],
)
def test_bad_files_are_named_with_what_to_do(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        load_preferences(str(path))
    assert "\n" not in str(caught.value)


def test_missing_file_and_unreachable_hub() -> None:
    with pytest.raises(DataError, match="There is no file /nowhere/x.jsonl"):
        load_preferences("/nowhere/x.jsonl")
    with pytest.raises(DataError, match="human-like .HumanLLMs/Human-Like-DPO-Dataset. .*local .jsonl file"):
        load_preferences("human-like")


@given(st.text(min_size=1), st.floats(0.01, 0.5))
def test_split_depends_on_the_prompt_alone(prompt: str, fraction: float) -> None:
    side = is_held_out(prompt, fraction)
    assert side == is_held_out(prompt, fraction)
    if side:  # a larger fraction only adds prompts
        assert is_held_out(prompt, min(1.0, fraction * 2))


def test_split_keeps_a_prompt_together_and_has_about_the_right_size(write_pairs: Write) -> None:
    rows = [{"prompt": f"prompt {i % 500}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(1500)]
    pairs = load_preferences(str(write_pairs(rows)), eval_fraction=0.2)
    train, held_out = set(pairs.train["prompt"]), set(pairs.held_out["prompt"])
    assert not train & held_out
    assert 0.13 < len(held_out) / 500 < 0.27


def test_samples_are_drawn_before_the_split(write_pairs: Write) -> None:
    path = str(write_pairs(ROWS))
    whole, part = (load_preferences(path, num_samples=n, eval_fraction=0.3) for n in (None, 40))
    assert part.info["pairs"] == 40
    assert set(part.held_out["prompt"]) <= set(whole.held_out["prompt"])
    assert part.info["fingerprint"] == load_preferences(path, num_samples=40, eval_fraction=0.3).info["fingerprint"]


def test_fingerprint_sees_every_side() -> None:
    pair = {"prompt": "a", "chosen": "b", "rejected": "c"}
    prints = {fingerprint([pair | {name: "x"}]) for name in pair} | {fingerprint([pair])}
    assert len(prints) == 4


def test_real_rows_load(shared: Path) -> None:
    pairs = load_preferences(str(shared / "data" / "human-like" / "human_like_dpo.jsonl"))
    assert pairs.info["rows"] == 6432
    assert pairs.info["pairs"] + sum(pairs.info["dropped"].values()) == 6432


def test_a_sample_for_the_audit_knows_its_rows(write_pairs: Write) -> None:
    equal = {"prompt": "q", "chosen": "same", "rejected": "same"}
    one, two = write_pairs([equal, *ROWS], "one.jsonl"), write_pairs([*ROWS[:30], equal], "two.jsonl")
    pairs = load_preferences(f"{one},{two}", eval_fraction=0.2, num_samples=50)
    every = pairs.sample(1000)
    assert (every.rows, every.total, len(every.pairs)) == (92, 50, 50)
    # The rows of the second file go on where the first one's end.
    assert every.dropped == {"with equal answers": [0, 91]}
    for pair in every.pairs:
        place = pair["row"] - 1 if pair["row"] < 61 else pair["row"] - 61
        assert pair["chosen"] == ROWS[place]["chosen"]
    both = sorted([*pairs.train["prompt"], *pairs.held_out["prompt"]])
    assert sorted(every.pairs["prompt"]) == both
    some = pairs.sample(20)
    assert len(some.pairs) == 20 and some.total == 50
    assert some.pairs.to_list() == pairs.sample(20).pairs.to_list()
    assert some.pairs["row"] == sorted(some.pairs["row"])


def test_few_prompts_still_give_both_sides(write_pairs: Write) -> None:
    rows = [{"prompt": f"prompt {i % 8}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(16)]
    assert not any(is_held_out(row["prompt"], 0.05) for row in rows)
    first, last = (pick({row["prompt"] for row in rows}, key=position) for pick in (min, max))
    path = str(write_pairs(rows))
    few = load_preferences(path, eval_fraction=0.05)
    assert set(few.held_out["prompt"]) == {first} and len(few.held_out) == 2 and len(few.train) == 14
    assert set(load_preferences(path, eval_fraction=0.999).train["prompt"]) == {last}
    assert len(load_preferences(path, eval_fraction=0).held_out) == 0
    # The order of the rows and the machine do not matter; the audit splits as training does.
    turned = load_preferences(str(write_pairs(rows[::-1], "turned.jsonl")), eval_fraction=0.05)
    assert set(turned.held_out["prompt"]) == {first}
    assert audit(few.sample(100), eval_fraction=0.05).measures["held_out"] == 2
    with pytest.raises(DataError, match="none of its 1 different prompts falls on the held out side"):
        load_preferences(str(write_pairs(rows[:1], "one.jsonl")), eval_fraction=0.05)


def test_two_halves_share_no_prompt_and_hold_out_the_same(write_pairs: Write) -> None:
    path = str(write_pairs([{"prompt": f"P {n // 2}?", "chosen": f"Yes {n}.", "rejected": "No."} for n in range(200)]))
    whole = load_preferences(path, eval_fraction=0.2)
    halves = [load_preferences(path, eval_fraction=0.2, half=half) for half in (1, 2)]
    prompts = [set(half.train["prompt"]) for half in halves]
    assert prompts[0] | prompts[1] == set(whole.train["prompt"]) and not prompts[0] & prompts[1]
    assert 20 < len(prompts[0]) < 60 and len(halves[0].train) == 2 * len(prompts[0])
    assert all(half.held_out["prompt"] == whole.held_out["prompt"] for half in halves)
    assert halves[1].info["half"] == 2 and "half" not in whole.info
    one = str(write_pairs([{"prompt": "P?", "chosen": "Yes.", "rejected": "No."}]))
    with pytest.raises(DataError, match="is in half"):
        [load_preferences(one, eval_fraction=0, half=half) for half in (1, 2)]
