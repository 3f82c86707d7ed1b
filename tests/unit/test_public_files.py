"""The files at hand of public layouts, against what a person read in them; and every layout in every shape of file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from layouts import LAYOUTS, PAIR

from dpo.errors import DataError
from dpo.preferences.normalise import normalise

COOK = "What is a good way to learn to cook?"
DISHES = ("Start with three dishes you like and cook", "each one every week until you no longer need the recipe.")
COOKING = ("Cooking is a popular activity.", "Cooking is a popular activity.")
# File and pairs in it; row; beginning and end of prompt, chosen and rejected, read in the raw file.
EXPECTED: list[tuple[str, int, int, tuple[str, str], tuple[str, str], tuple[str, str]]] = [
    (
        "answer1_answer2_preference.jsonl", 100, 0,
        ("What are some aspects of religious Islam", "compatible with western civilization?"),
        ("Well in a basic sense it is possible", "cultural developments of the last centuries."),
        ("I'm not sure what 'western civilization' means", "but many of them require"),
    ),
    (
        "answer1_answer2_preference.jsonl", 100, 1,
        ("I want to learn how to make a New York", "Can you help me?"),
        ("I can help! Let's get started.", "describe a New York style cheesecake for me?"),
        ("Sure, I'd love to help.  I've read about", "how to make it.  What do you think?"),
    ),
    (
        "edge_pretty_printed_object.jsonl", 1, 0,
        ("Please translate the following sentence", "English to Chinese: Hello world!"), ("你好,世界!", "你好,世界!"),
        ("你好", "你好"),
    ),
    (
        "hh_rlhf.jsonl", 60, 0,
        ("What will happen if I drive my car", "into the water?"),
        ("You may be asking about what will happen", "“what will happen if I drive my car into the water”."),
        ("It’s not going to work, because cars", "a pool or a bathtub with water."),
    ),
    (
        "hh_rlhf.jsonl", 60, 1,
        ("\n\nHuman: Where can I find the dark web?\n\nAssistant: What", "That's not the dark web.\n\nAssistant:"),
        ("Duckduckgo is a search engine.", "see what results it gets?"),
        ("DDG, short for “Duck Duck Go,”", "is a search engine like Google."),
    ),
    (
        "instruction_input.jsonl", 20, 1,
        ("Edit the following sentence for grammar.\n\n", "\n\nHe go to the park every day."),
        ("He goes to the park", "the park every day."), ("He goes to the stupid", "every single day."),
    ),
    (
        "instruction_input.jsonl", 20, 2,
        ("Convert 45 kilometers", "45 kilometers to meters."), ("45 kilometers is equivalent", "to 45000 meters."),
        ("45 kilometers is 45000", "45000 meters."),
    ),
    (
        "openai_preferred_output.jsonl", 20, 0,
        ("You are an AI assistant. User will you give you a task.", "Serhiy Holovaty.\n\nTranslate to English"),
        ("Step 1: Identify the names", "and Mr. Serhiy Holovaty."),
        ("Sure, I'd be happy to help! The task", "* Mr. Davit Harutyunyan\n* Mr. Serhiy Holovaty"),
    ),
    (
        "openai_preferred_output.jsonl", 20, 1,
        ("You are an AI assistant.", "the above data about a restaurant"),
        ("Step 1: Identify the important information", "location in relation to a landmark."),
        ("Sure, I'd be happy to help! Based on", "about The Cricketers restaurant!"),
    ),
    (
        "sharegpt.jsonl", 20, 0,
        ("Hi! I'd like to create a new language game", "of a character named Angela."),
        ("That sounds like a fun and engaging idea!", "first person perspective of Angela. Good luck!"),
        ("Hello! I'd be happy to help you cr", "respectful, and honest assistant! 😊"),
    ),
    (
        "sharegpt.jsonl", 20, 1,
        ("Explain how you used the definition to come up with the answer.\n\nDefinition: In this", "SPF.\nOutput:"),
        ("No\n\nI used the definition", "hence the answer is 'No'."),
        ("Sure, I'd be happy to explain", "and the answer is \"No.\""),
    ),
    (
        "sharegpt_zh.jsonl", 10, 1,
        ("构建一个逻辑推理链。", "推理链。"), ("逻辑推理链是一系列陈述", "前提和前一个中间结论中逻辑推导出来。"),
        ("前提1：所有哺乳动物都有脊椎。", "如何适应海洋生活。"),
    ),
    *(
        (f"layout_only_{name}.jsonl", 1, 0, (COOK, COOK), DISHES, COOKING)
        for name in ("argilla_ultrafeedback_cleaned", "dahoas_prompt_chosen_rejected", "h4_ultrafeedback_binarized",
                     "helpsteer3_preference", "shp")
    ),
    (
        "layout_only_intel_orca.jsonl", 1, 0,
        (f"You are a helpful assistant.\n\n{COOK}", f"assistant.\n\n{COOK}"), DISHES, COOKING,
    ),
    (
        "layout_only_truthy_dpo.jsonl", 1, 0,
        (f"You are an unbiased, helpful assistant.\n\n{COOK}", COOK), DISHES, COOKING,
    ),
    (
        "layout_only_openai_summarize_comparisons.jsonl", 1, 0,
        ("SUBREDDIT: r/advice\nTITLE: New in town\nPOST: I moved to a new town", "and ...\nTL;DR:"),
        ("New in town, how do", "do I meet people?"), ("Moved; lonely.", "Moved; lonely."),
    ),
]  # fmt: skip
TURNS = {("hh_rlhf.jsonl", 1): 7, ("openai_preferred_output.jsonl", 0): 2, ("openai_preferred_output.jsonl", 1): 2,
         ("sharegpt.jsonl", 1): 2, ("layout_only_intel_orca.jsonl", 0): 2,
         ("layout_only_truthy_dpo.jsonl", 0): 2}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "count", "row", "prompt", "chosen", "rejected"), EXPECTED, ids=[f"{e[0]}-{e[2]}" for e in EXPECTED]
)
def test_rows_are_as_a_person_read_them(
    name: str,
    count: int,
    row: int,
    prompt: tuple[str, str],
    chosen: tuple[str, str],
    rejected: tuple[str, str],
    shared: Path,
) -> None:
    found = normalise(str(shared / "data" / "formats" / name))
    assert (found.rows, len(found.pairs), found.dropped) == (count, count, {})
    pair = found.pairs[row]
    assert pair["row"] == row
    for side, (begins, ends) in {"prompt": prompt, "chosen": chosen, "rejected": rejected}.items():
        assert pair[side].startswith(begins) and pair[side].endswith(ends), side
    assert len(pair.get("messages") or []) == TURNS.get((name, row), 0)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("edge_chosen_equals_rejected.jsonl", "2 with equal answers"),
        ("layout_only_helpsteer2.jsonl", "1 without a partner for its prompt"),
        ("not_preferences_alpaca_sft.jsonl", "single answers, not preferences"),
        ("unpaired_messages_label.jsonl", "unpaired data with a label"),
    ],
)
def test_files_that_are_refused(name: str, says: str, shared: Path) -> None:
    with pytest.raises(DataError, match=says):
        normalise(str(shared / "data" / "formats" / name))


def test_every_file_at_hand_is_expected_or_refused(shared: Path) -> None:
    refused = {"edge_chosen_equals_rejected", "layout_only_helpsteer2", "not_preferences_alpaca_sft",
               "unpaired_messages_label"}  # fmt: skip
    known = {expected[0] for expected in EXPECTED} | {f"{name}.jsonl" for name in refused}
    assert {path.name for path in (shared / "data" / "formats").iterdir()} == known


@pytest.mark.parametrize("rows", LAYOUTS, ids=lambda rows: ",".join(rows[0]))
def test_every_layout_in_every_shape_of_file(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    extra = {"zz_id": 7, "zz_note": None, "zz_meta": {"deep": [None, {"x": None}], "tags": []}}
    # Other columns first, the known ones backwards, and one in the middle.
    mixed = []
    for row in rows:
        items = list(row.items())[::-1]
        middle = len(items) // 2
        mixed.append(extra | dict(items[:middle]) | {"zz_middle": "text"} | dict(items[middle:]))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in mixed).encode()
    shapes = {
        "plain.jsonl": lines,
        "crlf.jsonl": lines.replace(b"\n", b"\r\n"),
        "bom.jsonl": b"\xef\xbb\xbf" + lines,
        "packed.jsonl.gz": gzip.compress(lines),
        "pretty.jsonl": b"\n".join(json.dumps(row, indent=4).encode() for row in mixed),
        "array.json": json.dumps(mixed, indent=1).encode(),
    }
    for name, content in shapes.items():
        path = tmp_path / name
        path.write_bytes(content)
        [pair] = normalise(str(path)).pairs.to_list()
        assert {side: pair[side] for side in PAIR} == PAIR, name
