"""Public layouts: normalised as written by hand, refused with the reason, or asked about."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from layouts import ASSISTANT, BAD, GOOD, LAYOUTS, PAIR, SYSTEM, TALK, TURNS, USER, WORSE, Q

from dpo.errors import ConfigError, DataError
from dpo.preferences import load_preferences
from dpo.preferences import reading as files
from dpo.preferences.normalise import Columns, detect, normalise
from dpo.preferences.sources import read_rows

Write = Callable[..., Path]


def only(path: Path, **columns: Any) -> dict[str, Any]:
    """The one pair of a file, without the row's number."""
    [pair] = normalise(str(path), columns=Columns(**columns)).pairs.to_list()
    del pair["row"]
    return pair


@pytest.mark.parametrize("rows", LAYOUTS, ids=lambda rows: ",".join(rows[0]))
def test_every_layout_gives_the_same_pair(rows: list[dict[str, Any]], write_pairs: Write) -> None:
    assert only(write_pairs(rows)) == PAIR


@pytest.mark.parametrize(
    ("row", "prompt", "messages"),
    [
        ({"chosen": f"{TALK}\n\nAssistant: {GOOD}", "rejected": f"{TALK}\n\nAssistant: {BAD}"}, None, TURNS),
        ({"chosen": [*TURNS, ASSISTANT], "rejected": [*TURNS, WORSE]}, None, TURNS),
        ({"messages": TURNS, "chosen": GOOD, "rejected": BAD}, None, TURNS),
        (
            {"system": SYSTEM, "question": Q, "chosen": GOOD, "rejected": BAD},
            f"{SYSTEM}\n\n{Q}",
            [{"role": "system", "content": SYSTEM}, USER],
        ),
        (
            {"input": {"messages": [{"role": "system", "content": SYSTEM}, *TURNS]},
             "preferred_output": [ASSISTANT], "non_preferred_output": [WORSE]},
            f"{SYSTEM}{TALK}\n\nAssistant:",
            [{"role": "system", "content": SYSTEM}, *TURNS],
        ),
    ],
)  # fmt: skip
def test_several_turns_become_one_text_and_stay_messages(
    row: dict[str, Any], prompt: str | None, messages: list[dict[str, str]], write_pairs: Write
) -> None:
    pair = only(write_pairs([row]))
    assert pair["prompt"] == (prompt or f"{TALK}\n\nAssistant:")
    assert pair["messages"] == messages
    assert (pair["chosen"], pair["rejected"]) == (GOOD, BAD)


def test_instruction_with_input(write_pairs: Write) -> None:
    row = {"instruction": "Translate.", "input": "Hallo", "chosen": "Hello", "rejected": "Bye"}
    assert only(write_pairs([row]))["prompt"] == "Translate.\n\nHallo"


def test_summaries(write_pairs: Write) -> None:
    row = {
        "info": {"post": "I moved.", "title": "New", "subreddit": "advice"},
        "summaries": [{"text": " Lonely."}, {"text": " How to meet people?"}],
        "choice": 1,
    }
    assert only(write_pairs([row])) == {
        "prompt": "SUBREDDIT: r/advice\nTITLE: New\nPOST: I moved.\nTL;DR:",
        "chosen": "How to meet people?",
        "rejected": "Lonely.",
    }


def test_single_answers_are_paired_by_prompt(write_pairs: Write) -> None:
    helpsteer = [
        {"prompt": Q, "response": BAD, "helpfulness": 1},
        {"prompt": "alone", "response": "x", "helpfulness": 3},
        {"prompt": Q, "response": GOOD, "helpfulness": 4},
        {"prompt": "tie", "response": "x", "helpfulness": 2},
        {"prompt": "tie", "response": "y", "helpfulness": 2},
    ]
    found = normalise(str(write_pairs(helpsteer)))
    assert found.pairs.to_list() == [PAIR | {"row": 0}]
    assert found.dropped == {"without a partner for its prompt": [1, 3, 4]}
    labelled = [
        {"messages": [USER, WORSE], "label": False},
        {"messages": [USER, ASSISTANT], "label": True},
        {"messages": [USER, {"role": "assistant", "content": "Also good."}], "label": True},
    ]
    assert only(write_pairs(labelled)) == PAIR


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"messages": [USER, ASSISTANT], "label": True}], "unpaired data with a label.*pair a good and a bad answer"),
        ([{"instruction": Q, "input": "", "output": GOOD}], "single answers, not preferences"),
        ([{"messages": [USER, ASSISTANT]}], "single answers, not preferences"),
        ([{"chosen": GOOD, "rejected": BAD}], "two answers but no prompt.*--prompt-column.*--layout common-prefix"),
        ([{"prompt": Q, "response": GOOD, "helpfulness": 4}], "no usable pair .1 without a partner"),
        ([{"prompt": Q, "question": "Other?", "chosen": GOOD, "rejected": BAD}], "2 ways.*--layout prompt-chosen-rej"),
        ([{"prompt": Q, "response_a": GOOD, "response_b": BAD, "preference": 1}], "ways that give different pairs"),
        (
            [{"prompt": Q, "answer_1": GOOD, "answer_2": BAD, "preference": n % 2} for n in range(4)],
            "2 ways.*:from-0.*0 .false. means the first answer is better.*:first-if-1",
        ),
    ],
)
def test_refused_or_asked(rows: list[dict[str, Any]], says: str, write_pairs: Write) -> None:
    with pytest.raises(DataError, match=says):
        normalise(str(write_pairs(rows)))


def test_an_answer_to_the_question_is_taken(write_pairs: Write) -> None:
    rows = [{"prompt": Q, "answer_1": GOOD, "answer_2": BAD, "preference": n} for n in (0, 1)]
    path = str(write_pairs(rows))
    counted = normalise(path, columns=Columns(layout="answer1-answer2-preference:from-0")).pairs.to_list()
    flagged = normalise(path, columns=Columns(layout="answer1-answer2-preference:first-if-1")).pairs.to_list()
    assert [pair["chosen"] for pair in counted] == [GOOD, BAD]
    assert [pair["chosen"] for pair in flagged] == [BAD, GOOD]
    with pytest.raises(DataError, match="--layout nonsense does not fit: .*from-0"):
        normalise(path, columns=Columns(layout="nonsense"))
    pair = only(
        write_pairs([{"chosen": "The sky is blue.", "rejected": "The sky is green."}], "b.jsonl"),
        layout="common-prefix",
    )
    assert pair == {"prompt": "The sky is", "chosen": "blue.", "rejected": "green."}


def test_confidence_and_its_ground(write_pairs: Write) -> None:
    rows: list[dict[str, Any]] = [dict(PAIR) for _ in range(9)] + [{"text": "x"}]
    recognised, sample = detect(str(write_pairs(rows)))
    assert recognised.confidence == pytest.approx(0.9)
    assert len(sample) == 10


def test_swap_and_named_columns(write_pairs: Write) -> None:
    path = write_pairs([{"q": Q, "good": GOOD, "bad": BAD}])
    named = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    assert only(path, **named) == PAIR
    assert only(path, **named, swap=True) == {"prompt": Q, "chosen": BAD, "rejected": GOOD}
    with pytest.raises(DataError, match="no column 'rejected': name it with --rejected-column"):
        normalise(str(path), columns=Columns(prompt="q", chosen="good"))


def test_ties_empty_sides_and_other_prefixes_are_counted(write_pairs: Write) -> None:
    def talk(question: str, answer: str) -> str:
        return f"\n\nHuman: {question}\n\nAssistant:{answer}"

    rows = [
        {"chosen": talk("a", " x"), "rejected": talk("b", " y")},
        {"chosen": talk("a", ""), "rejected": talk("a", " y")},
        {"chosen": talk("a", " x"), "rejected": talk("a", " x ")},
        {"chosen": talk("a", " x") + "\n\nHuman: bye", "rejected": talk("a", " y")},
        {"chosen": talk("a", " x"), "rejected": None},
        {"chosen": talk("a", " x"), "rejected": talk("a", " y")},
    ]
    found = normalise(str(write_pairs(rows)))
    assert found.pairs.to_list() == [{"prompt": "a", "chosen": "x", "rejected": "y", "row": 5}]
    assert found.dropped == {
        "whose two prompts differ": [0],
        "with a blank chosen": [1],
        "with equal answers": [2],
        "that do not end in an answer": [3],
        "without text": [4],
    }
    ties = [{"prompt": Q, "answer_1": GOOD, "answer_2": BAD, "preference": p} for p in ("tie", "1", "2")]
    assert normalise(str(write_pairs(ties, "ties.jsonl"))).counts() == {"that are ties": 1}


@pytest.mark.parametrize(
    "shape", ["crlf", "bom", "gzip", "array", "pretty", "pretty objects", "one-line array", "csv.gz"]
)
def test_shapes_of_files(shape: str, tmp_path: Path) -> None:
    rows = [PAIR | {"extra": {"deep": [None, {"x": None}]}}, PAIR | {"prompt": "Ünï “code” 😀\n?"}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path = tmp_path / {"gzip": "rows.jsonl.gz", "csv.gz": "rows.csv.gz"}.get(shape, "rows.jsonl")
    quoted = "\ufeffprompt,chosen,rejected\r\n" + "".join(
        ",".join('"' + row[name] + '"' for name in PAIR) + "\r\n"
        for row in [PAIR, PAIR | {"prompt": "Ünï “code” 😀\n?"}]
    )
    content = {
        "crlf": lines.replace(b"\n", b"\r\n") + b"\r\n",
        "bom": b"\xef\xbb\xbf" + lines,
        "gzip": gzip.compress(lines),
        "array": json.dumps(rows, indent=1).encode(),
        "pretty": b"\n" + json.dumps(rows[0], indent=4).encode() + b"\n",
        "pretty objects": b"\n\n".join(json.dumps(row, indent=4).encode() for row in rows),
        "one-line array": json.dumps(rows).encode(),
        "csv.gz": gzip.compress(quoted.encode()),
    }[shape]
    path.write_bytes(content)
    expected = [PAIR] if shape == "pretty" else [PAIR, PAIR | {"prompt": "Ünï “code” 😀\n?"}]
    assert [{name: pair[name] for name in PAIR} for pair in normalise(str(path)).pairs] == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps(PAIR).encode() + b'\n{"prompt": "caf\xe9"}\n', "line 2 is not UTF-8 .byte 0xe9 at column 16"),
        (json.dumps(PAIR).encode("utf-16"), "is UTF-16"),
        (json.dumps([PAIR]).encode()[:-1], "ends within its array"),
        (json.dumps([PAIR]).encode() + b"x", "goes on after the end of its array"),
        (json.dumps(PAIR).encode() + b'\n{"prompt": \n', "line 2 is not JSON"),
        (b'[\n {"prompt": "a"},\n {oops}]', "line 3 is not JSON"),
        (gzip.compress(json.dumps(PAIR).encode() * 50)[:-9], "cannot be read"),
        (b'[{"prompt": "\xff"}]', "line 1 is not UTF-8"),
    ],
)
def test_broken_files_are_told_with_the_line(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        normalise(str(path))
    assert "\n" not in str(caught.value)


def test_a_long_row_is_read_and_an_endless_one_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(PAIR | {"rejected": "x " * 5_000_000}) + "\n" + json.dumps(PAIR) + "\n")
    assert len(normalise(str(path)).pairs) == 2
    monkeypatch.setattr(files, "MAX_ROW", 1_000_000)
    with pytest.raises(DataError, match="line 1 begins a row of more than"):
        normalise(str(path))
    path.write_text("[" + json.dumps(PAIR) + "," + json.dumps(PAIR | {"rejected": "x " * 2_000_000}) + "]")
    with pytest.raises(DataError, match="begins a row of more than"):
        normalise(str(path))


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(PAIR) + "\n") * 100)
    batches = read_rows(str(path), batch=10)
    next(batches)
    with path.open("a") as file:
        file.write(json.dumps(PAIR) + "\n")
    with pytest.raises(DataError, match="changed while it was being read"):
        list(batches)
    # Who stops reading early asks for nothing more, and is told nothing.
    batches = files.read_file(path, 10)
    next(batches)
    path.write_text("")
    batches.close()


def test_large_tables_are_mapped_and_equal_small_ones(write_pairs: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [PAIR | {"prompt": f"{Q} {n}"} for n in range(3000)]
    path = str(write_pairs(rows))
    small = normalise(path).pairs
    monkeypatch.setattr("dpo.preferences.table.IN_MEMORY", 1000)
    large = normalise(path).pairs
    assert large.to_list() == small.to_list()


def test_mixes_with_weights(write_pairs: Write) -> None:
    one = write_pairs([PAIR | {"prompt": f"one {n}"} for n in range(300)], "one.jsonl")
    asked = [[*TURNS[:2], {"role": "user", "content": f"two {n}"}] for n in range(200)]
    turns = [{"chosen": [*talk, ASSISTANT], "rejected": [*talk, WORSE]} for talk in asked]
    two = write_pairs(turns, "two.jsonl")
    mixed = load_preferences(f"{one}=3,{two}=1", eval_fraction=0.1)
    texts = [*mixed.train["prompt"], *mixed.held_out["prompt"]]
    assert (sum("one" in text for text in texts), sum("two" in text for text in texts)) == (300, 100)
    assert mixed.info["mix"][0] == {"source": str(one), "weight": 3.0, "pairs": 300, "available": 300}
    assert mixed.info["mix"][1]["pairs"] == 100
    same = load_preferences(f"{one}=3,{two}=1", eval_fraction=0.1)
    assert same.info["fingerprint"] == mixed.info["fingerprint"]
    by_prompt = {row["prompt"]: row["messages"] for row in mixed.train}
    assert all((messages is None) == ("one" in prompt) for prompt, messages in by_prompt.items())
    assert load_preferences(f"{one},{two}", eval_fraction=0.1).info["pairs"] == 500
    assert load_preferences(f"{one}=3,{two}=1", num_samples=100, eval_fraction=0.1).info["pairs"] == 100


@pytest.mark.parametrize("source", ["sample=0", "sample=x", "sample=1,orca", "sample,sample"])
def test_weights_that_are_none(source: str) -> None:
    with pytest.raises(ConfigError, match="weight"):
        load_preferences(source)
