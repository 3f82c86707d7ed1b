"""Every layout against a small parser of its own, row by row, in every shape of file; codes, parts and refusals."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dpo.cli.main import main
from dpo.errors import DataError
from dpo.preferences.audit import audit
from dpo.preferences.codes import named, readings_of
from dpo.preferences.collect import Collector
from dpo.preferences.formats import AmbiguousError, recognise
from dpo.preferences.normalise import Columns, normalise
from dpo.preferences.preview import preview
from dpo.preferences.turns import Unusable

Row = dict[str, Any]
Found = list[tuple[int, str, str, str]]
Write = Callable[..., Path]
QUESTIONS = (
    "How long do I boil an egg?", "Why is the sky blue?", "Name a river in Peru.", "What rhymes with 'moon'?",
    "Is glass a liquid?", "How do bees find home?", "Fix: \"he go home\"", "¿Qué hora es?", "Sum 2 and 3.",
    "Write a haiku on rain ☔.",
)  # fmt: skip
TIE = "that are ties"


def good(n: int) -> str:
    return f'A careful answer to question {n}: "yes", because of reason {n * 7}.'


def bad(n: int) -> str:
    return f"No idea, {n}.\nAsk somebody else."


def answers(n: int) -> tuple[str, str, bool]:
    """First and second answer of row `n`, and whether the second is the better one."""
    second = random.Random(n).random() < 0.5
    return (bad(n), good(n), True) if second else (good(n), bad(n), False)


def turn(role: str, content: Any) -> Row:
    return {"role": role, "content": content}


def talk(*texts: str) -> str:
    """hh-rlhf's way of writing turns, up to the answer that is asked for."""
    names = ("Human", "Assistant")
    return "".join(f"\n\n{names[place % 2]}: {text}" for place, text in enumerate(texts)) + "\n\nAssistant:"


# For each layout: rows as published (invented texts), what a reader of its card makes of them, and which rows are ties.


def swift_response() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        before = [turn("user", "Hi"), turn("assistant", "Hello!")] if n % 3 == 0 else []
        row = {"messages": [*before, turn("user", question), turn("assistant", good(n))], "rejected_response": bad(n)}
        yield row, [(n, talk("Hi", "Hello!", question) if before else question, good(n), bad(n))]


def swift_messages() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        asked = turn("user", question)
        worse = [asked, turn("assistant", bad(n))] if n % 2 else [turn("assistant", bad(n))]
        yield (
            {"messages": [asked, turn("assistant", good(n))], "rejected_messages": worse},
            [(n, question, good(n), bad(n))],
        )


def swift_query() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        row = {"system": "", "query": question, "response": good(n), "rejected_response": bad(n),
               "history": [["Hi", "Hello!"]] if n % 4 == 0 else []}  # fmt: skip
        yield row, [(n, talk("Hi", "Hello!", question) if n % 4 == 0 else question, good(n), bad(n))]


def llama_factory_output() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        extra = "Be short." if n % 2 else ""
        prompt = f"{question}\n\n{extra}" if extra else question
        yield {"instruction": question, "input": extra, "output": [good(n), bad(n)]}, [(n, prompt, good(n), bad(n))]


def llama_factory_parts() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        parts = [{"type": "text", "value": question[:5]}, {"type": "text", "value": question[5:]}]
        sides = [
            [
                {"role": "user", "content": parts, "loss_weight": 0.0},
                {"role": "assistant", "content": [{"type": "text", "value": text}], "loss_weight": 1.0},
            ]
            for text in (good(n), bad(n))
        ]
        yield {"chosen_messages": sides[0], "rejected_messages": sides[1]}, [(n, question, good(n), bad(n))]


def webgpt() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        one, two, second = answers(n)
        score = 0.0 if n % 5 == 4 else (-1.0 if second else 0.5)
        row = {
            "question": {"dataset": "invented", "id": f"i{n}", "full_text": question},
            "quotes_0": {"title": ["t"], "extract": ["e"]}, "answer_0": one,
            "tokens_0": {"prefix": [1], "completion": [2]}, "score_0": score,
            "quotes_1": {"title": [], "extract": []}, "answer_1": two,
            "tokens_1": {"prefix": [1], "completion": [2]}, "score_1": -score,
        }  # fmt: skip
        yield row, [] if score == 0 else [(n, question, good(n), bad(n))]


def distilabel() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        ratings: list[int | None] = [3, 3, 3] if n % 5 == 4 else [2, 5, None]
        row = {"instruction": question, "generations": [bad(n), good(n), "unrated"], "ratings": ratings,
               "rationales": ["a", "b", None], "generation_models": ["x", "y", "z"]}  # fmt: skip
        yield row, [] if n % 5 == 4 else [(n, question, good(n), bad(n))]


def helpsteer2_preference() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        one, two, second = answers(n)
        strength = 0 if n % 5 == 4 else (1 + n % 3) * (1 if second else -1)
        several = n % 3 == 0
        prompt = f"Hi\n<extra_id_1>Assistant\nHello!\n<extra_id_1>User\n{question}" if several else question
        row = {"split": "train", "prompt": prompt, "response_1": one, "response_2": two,
               "preference_strength": strength, "preference_statement": None, "preference_elaboration": "so",
               "three_most_similar_preferences": [{"strength": strength, "statement": "s"}]}  # fmt: skip
        pair = (n, talk("Hi", "Hello!", question) if several else question, good(n), bad(n))
        yield row, [] if strength == 0 else [pair]


def oasst_trees() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        follow = {"message_id": f"{n}-f", "text": "And why?", "role": "prompter", "rank": 0, "replies": [
            {"message_id": f"{n}-f0", "text": "Worse.", "role": "assistant", "rank": 1, "replies": []},
            {"message_id": f"{n}-f1", "text": "Better.", "role": "assistant", "rank": 0, "replies": []},
        ]}  # fmt: skip
        replies = [
            {"message_id": f"{n}-a", "text": bad(n), "role": "assistant", "rank": 2, "replies": []},
            {"message_id": f"{n}-b", "text": good(n), "role": "assistant", "rank": 0, "replies": [follow]},
            {"message_id": f"{n}-c", "text": "Between.", "role": "assistant", "rank": 1, "replies": []},
            {"message_id": f"{n}-d", "text": "Unranked.", "role": "assistant", "rank": None, "replies": []},
        ]
        row = {"message_tree_id": str(n), "tree_state": "ready_for_export",
               "prompt": {"message_id": str(n), "text": question, "role": "prompter", "replies": replies}}  # fmt: skip
        yield row, [(n, question, good(n), bad(n)), (n, talk(question, good(n), "And why?"), "Better.", "Worse.")]


def oasst_messages() -> Iterator[tuple[Row, Found]]:
    number = 0
    for tree, _ in oasst_trees():
        waiting = [(tree["prompt"], None, [])]
        while waiting:
            message, parent, before = waiting.pop(0)
            row = {key: message.get(key) for key in ("message_id", "text", "role", "rank")}
            texts = [*before, message["text"]]
            ranked = sorted(
                (reply for reply in message["replies"] if reply["role"] == "assistant" and reply["rank"] is not None),
                key=lambda reply: reply["rank"],
            )
            found: Found = []
            if len(ranked) > 1:
                prompt = talk(*texts) if before else texts[0]
                found = [(-1, prompt, ranked[0]["text"], ranked[-1]["text"])]  # the row is that of its first answer
            yield {**row, "parent_id": parent, "message_tree_id": tree["message_tree_id"], "deleted": False}, found
            waiting += [(reply, message["message_id"], texts) for reply in message["replies"]]
            number += 1


def arena_55k() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        one, two, second = answers(n)
        won = (0, 0, 1) if n % 5 == 4 else (0, 1, 0) if second else (1, 0, 0)
        row = {"id": n, "model_a": "x-7b", "model_b": "y-7b", "prompt": json.dumps([question]),
               "response_a": json.dumps([one]), "response_b": json.dumps([two]),
               **dict(zip(("winner_model_a", "winner_model_b", "winner_tie"), won, strict=True))}  # fmt: skip
        yield row, [] if won[2] else [(n, question, good(n), bad(n))]


def gpt4_llm() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        scores = (5.0, 5.0, 5.0) if n % 5 == 4 else (3.0, 9.0, 6.5)
        parts = [
            {"response": text, "source": source, "score": score}
            for text, source, score in zip((bad(n), good(n), "Middling."), "abc", scores, strict=True)
        ]
        yield (
            {"user_input": question, "responses_and_scores": parts},
            ([] if n % 5 == 4 else [(n, question, good(n), bad(n))]),
        )


def turbo_alignment() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        row = {"id": n, "source": "invented", "context": [turn("user", question)],
               "answer_w": turn("bot", good(n)), "answer_l": turn("bot", bad(n))}  # fmt: skip
        yield row, [(n, question, good(n), bad(n))]


def answer_w_texts() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        yield {"question": question, "answer_w": good(n), "answer_l": bad(n)}, [(n, question, good(n), bad(n))]


def prometheus_preference() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        one, two, second = answers(n)
        row = {"instruction": f"###Task: judge. {question}", "output": "Feedback. [RESULT] A",
               "orig_criteria": "Clear?", "orig_instruction": question, "orig_response_A": one, "orig_response_B": two,
               "orig_score_A": "3", "orig_score_B": "4", "orig_preference": "B" if second else "A"}  # fmt: skip
        yield row, [(n, question, good(n), bad(n))]


def prometheus_feedback() -> Iterator[tuple[Row, Found]]:
    for n, question in enumerate(QUESTIONS):
        for score, text in ((2, bad(n)), (5, good(n))):
            row = {"instruction": f"###Task: judge. {question}", "output": f"So. [RESULT] {score}",
                   "orig_instruction": question, "orig_response": text, "orig_score": str(score)}  # fmt: skip
            yield row, [(2 * n, question, good(n), bad(n))] if score == 5 else []


def arena_models() -> Iterator[tuple[Row, Found]]:
    """A winner told by the model's name, one of which ends in "a"."""
    for n, question in enumerate(QUESTIONS):
        one, two, second = answers(n)
        won = "tie" if n % 5 == 4 else ("koala" if second else "gpt-4b")
        row = {"question": question, "model_a": "gpt-4b", "model_b": "koala", "response_a": one, "response_b": two,
               "winner": won}  # fmt: skip
        yield row, [] if won == "tie" else [(n, question, good(n), bad(n))]


class Case(NamedTuple):
    rows: Callable[[], Iterator[tuple[Row, Found]]]
    key: str
    confidence: float = 1.0


CASES = [
    Case(swift_response, "swift"),
    Case(swift_messages, "swift"),
    Case(swift_query, "query-response-rejectedresponse"),
    Case(llama_factory_output, "better-first", 0.8),
    Case(llama_factory_parts, "chosenmessages-rejectedmessages"),
    Case(webgpt, "answer0-answer1-score0-score1", 0.9),
    Case(distilabel, "ranked", 0.9),
    Case(helpsteer2_preference, "response1-response2-preferencestrength:below-0", 0.9),
    Case(oasst_trees, "oasst-trees"),
    Case(oasst_messages, "oasst-messages"),
    Case(arena_55k, "arena-55k"),
    Case(gpt4_llm, "ranked", 0.9),
    Case(turbo_alignment, "context-answerw-answerl"),
    Case(answer_w_texts, "question-answerw-answerl"),
    Case(prometheus_preference, "prometheus"),
    Case(prometheus_feedback, "prometheus-scores"),
    Case(arena_models, "responsea-responseb-winner:named", 0.9),
]


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
