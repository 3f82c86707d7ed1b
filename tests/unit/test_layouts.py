"""Every layout against a small parser of its own, row by row, in every shape of file; codes, parts and refusals."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from layout_rows import (
    CASES,
    QUESTIONS,
    TIE,
    Case,
    Row,
    arena_55k,
    bad,
    good,
    oasst_messages,
    prometheus_feedback,
    turn,
    webgpt,
)

from dpo.cli.main import main
from dpo.errors import DataError
from dpo.preferences.audit import audit
from dpo.preferences.codes import named, readings_of
from dpo.preferences.collect import Collector
from dpo.preferences.formats import AmbiguousError, recognise
from dpo.preferences.normalise import Columns, normalise
from dpo.preferences.preview import preview
from dpo.preferences.turns import Unusable

Write = Callable[..., Path]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rows.__name__)
def test_a_parser_of_its_own_reads_the_same(case: Case, tmp_path: Path) -> None:
    made = list(case.rows())
    rows, expected = [row for row, _ in made], [pair for _, found in made for pair in found]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    shapes = {
        "plain.jsonl": lines,
        "crlf.jsonl": lines.replace(b"\n", b"\r\n"),
        "bom.jsonl": b"\xef\xbb\xbf" + lines,
        "packed.jsonl.gz": gzip.compress(lines),
        "pretty.jsonl": b"\n".join(json.dumps(row, indent=4).encode() for row in rows),
        "array.json": json.dumps([dict(reversed(row.items())) for row in rows], indent=1).encode(),
    }
    for name, content in shapes.items():
        path = tmp_path / name
        path.write_bytes(content)
        found = normalise(str(path))
        assert found.recognised.layout.key == case.key
        assert found.recognised.confidence == pytest.approx(case.confidence)
        pairs = [(pair["row"], pair["prompt"], pair["chosen"], pair["rejected"]) for pair in found.pairs]
        if case.rows is oasst_messages:  # in the order of answers, not of messages
            pairs, wanted = sorted((-1, *pair[1:]) for pair in pairs), sorted(expected)
        else:
            wanted = expected
        assert pairs == wanted, name
    ties = found.counts().get(TIE, 0)
    singles = case.rows in (oasst_messages, prometheus_feedback)
    assert ties == (0 if singles else sum(not pairs for _, pairs in made))
    shown = preview(str(path))
    assert not shown.problem and shown.readings[0].examples, "the Data page shows pairs"
    assert shown.confidence == pytest.approx(case.confidence)
    prompts = {prompt for _, prompt, *_ in expected}
    assert {example.prompt for example in shown.readings[0].examples} <= prompts
    report = audit(found, [])
    assert report.measures["dropped"] == found.counts()
    assert not [finding for finding in report.findings if finding.code in ("unreadable", "missing", "blank")]
    assert all(finding.severity == "note" for finding in report.findings if finding.code == "unpaired")


JUNK: tuple[Any, ...] = (
    None, "", 0, -1.5, float("nan"), float("inf"), 10**400, True, [], {}, [None], ["x"], "[", "\ud83d", {"role": 3},
    {"role": "user", "content": {"a": 1}}, [{"role": "user", "content": [{"type": "image"}]}], "x\n<extra_id_1>User\n",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rows.__name__)
def test_a_damaged_row_costs_its_own_pair_only(case: Case) -> None:
    for seed, junk in enumerate(JUNK):
        made = list(case.rows())
        rows = [json.loads(json.dumps(row)) for row, _ in made]
        damaged = len(rows) // 2 + seed % 3
        rows[damaged][random.Random(seed).choice(list(rows[damaged]))] = junk
        try:
            recognised = recognise(rows)
            pairs = [pair for batch in Collector("", recognised.layout).records([(0, rows)]) for pair in batch]
        except DataError as error:
            assert "\n" not in str(error) and (isinstance(error, AmbiguousError) or f"row {damaged} " in str(error))
            continue
        assert recognised.layout.key == case.key
        if case.rows in (oasst_messages, prometheus_feedback):
            continue  # their pairs are made of several rows
        kept = {(row, *pair[:3]) for row, pair in pairs if row != damaged}
        assert kept == {pair for _, found in made for pair in found if pair[0] != damaged}


def test_arena_as_a_table_of_texts(tmp_path: Path) -> None:
    """Kaggle's train.csv: every cell is a text, and the flags are "0" and "1"."""
    made = list(arena_55k())
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, list(made[0][0]))
    writer.writeheader()
    writer.writerows(row for row, _ in made)
    path = tmp_path / "train.csv"
    path.write_text(sink.getvalue(), encoding="utf-8", newline="")
    found = normalise(str(path))
    pairs = [(pair["row"], pair["prompt"], pair["chosen"], pair["rejected"]) for pair in found.pairs]
    assert pairs == [pair for _, found in made for pair in found]
    assert found.counts() == {TIE: 2}


def test_arena_rows_that_give_no_pair(write_pairs: Write) -> None:
    def row(prompt: Any, one: Any, two: Any, won: tuple[int, int, int] = (1, 0, 0)) -> Row:
        flags = dict(zip(("winner_model_a", "winner_model_b", "winner_tie"), won, strict=True))
        return {"prompt": json.dumps(prompt), "response_a": json.dumps(one), "response_b": json.dumps(two), **flags}

    rows = [
        row(["q"], ["x"], ["y"]),
        row(["q", "and?"], ["x", "x2"], ["y", "y2"]),
        row(["q"], ["x"], [None]),
        row(["q"], ["x"], ["y"], (0, 0, 0)),
        row(["q", "and?"], ["x", "x2"], ["y"]),
    ]
    found = normalise(str(write_pairs(rows)))
    assert [pair["row"] for pair in found.pairs] == [0]
    assert found.dropped == {"whose two prompts differ": [1], "without text": [2], "without a preference": [3],
                             "that do not end in an answer": [4]}  # fmt: skip


def test_messages_of_trees_out_of_order_or_missing(write_pairs: Write) -> None:
    def message(key: str, parent: str | None, role: str, rank: int | None = None, **more: Any) -> Row:
        return {"message_id": key, "parent_id": parent, "message_tree_id": "t", "role": role, "text": f"text {key}",
                "rank": rank, **more}  # fmt: skip

    rows = [
        message("a0", "q", "assistant", 1), message("a1", "q", "assistant", 0), message("q", None, "prompter"),
        message("l0", "lost", "assistant", 0), message("l1", "lost", "assistant", 1),
        message("a2", "q", "assistant", 2, deleted=True), message("u", "q", "assistant"),
        message("c0", "c1", "assistant", 0), message("c1", "c0", "assistant", 1), message("c2", "c1", "assistant", 1),
    ]  # fmt: skip
    found = normalise(str(write_pairs(rows)))
    assert [tuple(pair.values()) for pair in found.pairs] == [("text q", "text a1", "text a0", 0)]
    assert found.dropped == {"that were deleted": [5], "without a partner for its prompt": [6, 8],
                             "without the messages before it": [3, 7]}  # fmt: skip


# What a preference column says, beside answers "_1" and "_2", "_0" and "_1", "_a" and "_b".
READ = [
    (["answer1", "Answer2", "tie"], ("1", "2")), ([1, 2], ("1", "2")), ([2], ("1", "2")), (["1", "2"], ("1", "2")),
    ([0, 1], ("0", "1")), (["model_a", "model_b", "tie (bothbad)"], ("a", "b")), (["A", "B", "tie"], ("a", "b")),
    (["A", "B"], ("1", "2")), (["first", "Second response"], ("a", "b")), (["1", "2", "tie"], ("1", "2")),
]  # fmt: skip
ASKED = [
    ([0, 1, 2], ("1", "2"), ["from-0-tie-2", "first-if-1-tie-2", "from-1-tie-0"]),
    (["0", "1", "2", ""], ("1", "2"), ["from-0-tie-2", "first-if-1-tie-2", "from-1-tie-0"]),
    ([0, 1, 2], ("0", "1"), ["from-0-tie-2", "first-if-1-tie-2", "from-1-tie-0"]),
    ([0, 2], ("a", "b"), ["from-0-tie-2", "first-if-1-tie-2", "from-1-tie-0"]),
    ([0, 1], ("1", "2"), ["from-0", "first-if-1"]),
    ([0, 1, "tie"], ("a", "b"), ["from-0", "first-if-1"]),
    ([1], ("1", "2"), ["from-0", "first-if-1"]),
    ([1, 2], ("a", "b"), ["from-1", "from-0-tie-2"]),
    ([1, 2, 3], ("1", "2"), ["from-1-tie-3", "first-if-1-tie-2-second-if-3", "first-if-3-tie-2-second-if-1"]),
    ([-1, 0, 1], ("1", "2"), ["below-0", "above-0"]),
    ([-1, 1], ("a", "b"), ["below-0", "above-0"]),
    ([True, False], ("0", "1"), ["first-if-1", "from-0"]),
    (["True", "False"], ("1", "2"), ["first-if-1", "from-0"]),
    ([0, 0.5, 1], ("a", "b"), ["from-0-tie-half", "first-if-1-tie-half"]),
    ([0, 1, float("nan")], ("a", "b"), ["from-0", "first-if-1"]),
    ([1, 4, 7], ("a", "b"), []),
]


def test_names_are_read_and_codes_are_asked_about() -> None:
    for values, suffixes in READ:
        assert readings_of(values, suffixes) == ["named"], values
    for values, suffixes, keys in ASKED:
        assert readings_of(values, suffixes) == keys, values
    for value in ("nan", "inf", "", "vicuna", "llama", "gpt4b", True, 0):
        with pytest.raises(Unusable):
            named(value, ("a", "b"))


def coded(codes: list[Any]) -> list[Row]:
    return [
        {
            "scenario": "planning",
            "label": code,
            "prompt": QUESTIONS[n],
            "response 1": f"one {n}",
            "response 2": f"two {n}",
        }
        for n, code in enumerate(codes)
    ]


def test_0_1_2_is_asked_about_and_every_answer_is_taken(write_pairs: Write) -> None:
    """Auto-J's file: 0 is the first, 1 the second, 2 a tie; the other meanings read the same rows otherwise."""
    codes = [0, 1, 2, 0, 1, 2, 0, 0]
    path = str(write_pairs(coded(codes)))
    with pytest.raises(AmbiguousError) as caught:
        normalise(path)
    text = str(caught.value)
    assert "can be read in 3 ways" in text and "\n" not in text
    meanings: dict[str, dict[int, int]] = {
        "from-0-tie-2": {0: 0, 1: 1}, "first-if-1-tie-2": {1: 0, 0: 1}, "from-1-tie-0": {1: 0, 2: 1},
    }  # fmt: skip
    assert "0 means the first answer is better, 1 the second, 2 a tie" in text
    assert "1 means the first answer is better, 0 the second, 2 a tie" in text
    assert "1 means the first answer is better, 2 the second, 0 a tie" in text
    for reading, better in meanings.items():
        key = f"response1-response2-label:{reading}"
        assert f"--layout {key} " in text
        found = normalise(path, columns=Columns(layout=key))
        expected = [
            (n, (f"one {n}", f"two {n}")[better[code]], (f"one {n}", f"two {n}")[1 - better[code]])
            for n, code in enumerate(codes) if code in better
        ]  # fmt: skip
        assert [(pair["row"], pair["chosen"], pair["rejected"]) for pair in found.pairs] == expected
        assert found.counts() == {TIE: sum(code not in better for code in codes)}
    page = preview(path)
    assert [reading.key.partition(":")[2] for reading in page.readings] == list(meanings)
    first = [reading.examples[0] for reading in page.readings]
    assert [(example.row, example.chosen, example.decided) for example in first] == [
        (0, "one 0", "0"), (0, "two 0", "0"), (1, "one 1", "1"),
    ]  # fmt: skip
    assert {reading.decides for reading in page.readings} == {"label"}


def test_a_code_that_comes_later_is_asked_about_too(write_pairs: Write) -> None:
    """The first 200 rows hold 1 and 2 alone, which are names of the answers; a 0 after them says they are not."""
    rows = [
        {"prompt": f"q{n}", "response_1": "x", "response_2": "y", "label": 1 + n % 2 if n < 250 else 0}
        for n in range(300)
    ]
    path = str(write_pairs(rows))
    with pytest.raises(DataError, match="row 250 has the preference '0'.*choose --layout .*from-0-tie-2 or") as caught:
        normalise(path)
    assert str(caught.value).startswith(path)
    chosen = normalise(path, columns=Columns(layout="response1-response2-label:from-0-tie-2"))
    assert [pair["chosen"] for pair in chosen.pairs] == ["y"] * 125 + ["x"] * 50
    named_ones = normalise(path, columns=Columns(layout="response1-response2-label:named"))
    assert named_ones.counts() == {"with a preference of '0', which the layout has no meaning for": 50}


def test_labels_of_single_answers(write_pairs: Write) -> None:
    def rows(labels: tuple[Any, Any]) -> list[Row]:
        return [
            {"prompt": question, "completion": text, "label": label}
            for n, question in enumerate(QUESTIONS) for text, label in zip((good(n), bad(n)), labels, strict=True)
        ]  # fmt: skip

    for labels in ((True, False), ("good", "bad"), ("True", "False")):
        found = normalise(str(write_pairs(rows(labels))))
        assert [pair["chosen"] for pair in found.pairs] == [good(n) for n in range(len(QUESTIONS))]
    path = str(write_pairs(rows((0, 1))))
    with pytest.raises(AmbiguousError, match="labelled:good-if-1 .*labelled:good-if-0 "):
        normalise(path)
    harmless = normalise(path, columns=Columns(layout="labelled:good-if-0"))
    assert [pair["chosen"] for pair in harmless.pairs] == [good(n) for n in range(len(QUESTIONS))]


def parts(*content: Any) -> Row:
    return {"chosen": [turn("user", list(content)), turn("assistant", "Yes.")],
            "rejected": [turn("user", list(content)), turn("assistant", "No.")]}  # fmt: skip


def test_text_in_parts_is_read_and_other_parts_are_refused(write_pairs: Write) -> None:
    text, value, image = ({"type": "text", "text": "Is "}, {"type": "text", "value": "it?"},
                          {"type": "image_url", "image_url": {"url": "x.png"}})  # fmt: skip
    both = [parts(text, value), parts({"type": "input_text", "text": "Is it?"}), parts({"text": "Is it?"})]
    assert [pair["prompt"] for pair in normalise(str(write_pairs(both))).pairs] == ["Is it?"] * 3
    call = [turn("user", "q"), {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}, turn("tool", "7")]
    some = [*both, parts(image, text), {side: [*call, turn("assistant", side)] for side in ("chosen", "rejected")}]
    found = normalise(str(write_pairs(some)))
    assert len(found.pairs) == 3
    assert found.recognised.confidence == pytest.approx(0.6)
    assert found.dropped == {
        "with a message part of type 'image_url', where only text is read": [3],
        "with a message part of type 'tool_calls', where only text is read": [4],
    }
    pictures = [
        {"prompt": f"{tag}Is it?", "chosen": "Yes.", "rejected": "No.", "images": images}
        for tag, images in (("<image>", ["x.png"]), ("<image>", []), ("", ["x.png"]))
    ]
    found = normalise(str(write_pairs(pictures)))
    assert found.dropped == {"with a message part of type 'images', where only text is read": [0]}
    path = str(write_pairs([parts(text, {"type": "audio"}), parts(image)]))
    with pytest.raises(DataError, match="row 0 holds a message part of type 'audio' .*only text is read"):
        normalise(path)
    for columns in (Columns(chosen="chosen", rejected="rejected"), Columns(layout="messages")):
        with pytest.raises(DataError, match="message part of type 'audio'"):
            normalise(path, columns=columns)
    assert "row 0 holds a message part of type 'audio'" in preview(path).problem


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [turn("user", "q")], "response_1": "a", "response_2": "b"},
        {"query": "q", "response": "a", "worse_response": "b"},
        {"instruction": "q", "output": ["a", "b", "c"]},
        {"instruction": "q", "generations": ["a", "b"]},
        {"prompt": "q", "response_a": "a", "response_b": "b", "winner": "somebody"},
        {"prompt": "q", "response_a": "a", "response_b": "b", "rating": 4},
        {"user_input": "q", "responses": [{"response": "a", "source": "x"}, {"response": "b", "source": "y"}]},
    ],
)
def test_rows_with_two_answers_are_not_called_single_answers(row: Row, write_pairs: Write) -> None:
    path = str(write_pairs([row] * 3))
    with pytest.raises(DataError, match="may hold several answers, but nothing that we know says which") as caught:
        normalise(path)
    assert "single" not in str(caught.value) and all(name in str(caught.value) for name in row)


def test_single_answers_beside_a_list_are_single_answers(write_pairs: Write) -> None:
    with pytest.raises(DataError, match="single answers, not preferences"):
        normalise(str(write_pairs([{"instruction": "q", "output": "a", "tags": ["b", "c"]}])))


def test_which_column_is_the_prompt_is_asked_about(write_pairs: Write) -> None:
    rows = [
        {
            "context": f"Passage {n}.",
            "Question": question,
            "answer_1": good(n),
            "answer_2": bad(n),
            "winner": "answer_1",
        }
        for n, question in enumerate(QUESTIONS)
    ]
    path = str(write_pairs(rows))
    with pytest.raises(AmbiguousError, match="--layout question-answer1-.*prompt from Question.*--layout context-ans"):
        normalise(path)
    found = normalise(path, columns=Columns(layout="context-answer1-answer2-winner:named"))
    assert found.pairs[3]["prompt"] == "Passage 3."
    same = [row | {"context": row["Question"]} for row in rows]
    assert normalise(str(write_pairs(same))).pairs["prompt"] == list(QUESTIONS)


def test_names_that_say_it_come_before_a_list_of_scores(write_pairs: Write) -> None:
    rows = [
        {
            "prompt": question,
            "chosen": good(n),
            "rejected": "named",
            "generations": [bad(n), good(n)],
            "ratings": [1, 5],
        }
        for n, question in enumerate(QUESTIONS)
    ]
    assert {pair["rejected"] for pair in normalise(str(write_pairs(rows))).pairs} == {"named"}


def test_show_prints_what_training_would_see(write_pairs: Write, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for row, _ in webgpt()] + [{"question": {"full_text": ""}, "answer_0": "x", "answer_1": "y",
                                            "score_0": 1, "score_1": -1}]  # fmt: skip
    assert main(["data", "show", str(write_pairs(rows))]) == 0
    out = capsys.readouterr().out
    assert "answer_0, answer_1, score_0, score_1  (--layout answer0-answer1-score0-score1)" in out
    assert "Confidence  90%, by the first 11 rows" in out
    assert f"Left out    2 {TIE}, the first is row 4" in out
    assert "Left out    1 with a blank prompt, the first is row 10" in out
    assert out.count("\nRow ") == 3 and QUESTIONS[0] in out
    assert main(["data", "show", str(write_pairs(coded([0, 1, 2])))]) == 2
    assert "from-1-tie-0" in capsys.readouterr().err
    assert main(["data", "show", str(write_pairs([row for row, _ in oasst_messages()]))]) == 0
    out = capsys.readouterr().out
    assert "the best and the worst reply to a message" in out and "careful answer to question 0" in out
