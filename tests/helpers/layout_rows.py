"""Rows of every layout as its publisher writes them, each beside the pairs that a small parser of its own finds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Row = dict[str, Any]
Found = list[tuple[int, str, str, str]]
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
