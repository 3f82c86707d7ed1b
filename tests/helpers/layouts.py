"""Rows of every public layout that give one and the same pair."""

from __future__ import annotations

from typing import Any

Q, GOOD, BAD = "How do I boil an egg?", "Seven minutes in boiling water.", "Eggs are food."
USER, ASSISTANT = {"role": "user", "content": Q}, {"role": "assistant", "content": GOOD}
WORSE = {"role": "assistant", "content": BAD}
SYSTEM = "You cook."
TALK = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: " + Q
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}, USER]
PAIR = {"prompt": Q, "chosen": GOOD, "rejected": BAD}

# Rows of each layout that give PAIR.
LAYOUTS: list[list[dict[str, Any]]] = [
    [{"prompt": Q, "chosen": GOOD, "rejected": BAD}],
    [{"rejected": BAD, "id": 7, "chosen": GOOD, "meta": {"a": None}, "prompt": Q}],
    [{"chosen": f"\n\nHuman: {Q}\n\nAssistant: {GOOD}", "rejected": f"\n\nHuman: {Q}\n\nAssistant: {BAD}"}],
    [{"prompt": f"\n\nHuman: {Q}\n\nAssistant:", "chosen": f" {GOOD}", "rejected": f" {BAD}"}],
    [{"chosen": [USER, ASSISTANT], "rejected": [USER, WORSE]}],
    [{"prompt": Q, "chosen": [USER, ASSISTANT], "rejected": [USER, WORSE], "messages": [USER, ASSISTANT]}],
    [{"prompt": [USER], "chosen": [ASSISTANT], "rejected": [WORSE]}],
    [
        {
            "conversations": [{"from": "human", "value": Q}],
            "chosen": {"from": "gpt", "value": GOOD},
            "rejected": {"from": "gpt", "value": BAD},
        },
    ],
    [{"question": Q, "chosen": GOOD, "rejected": BAD, "system": ""}],
    [{"instruction": Q, "input": "", "output": GOOD, "rejected": BAD, "chosen": GOOD}],
    [{"input": {"messages": [USER]}, "preferred_output": [ASSISTANT], "non_preferred_output": [WORSE]}],
    [{"qid": 3, "question": Q, "response_j": GOOD, "response_k": BAD}],
    [
        {
            "Question": f"Human: {Q}",
            "Answer1": f"Assistant: {BAD}",
            "Answer2": f"Assistant: {GOOD}",
            "Preference": "Answer2",
        },
    ],
    [{"prompt": Q, "response_a": GOOD, "response_b": BAD, "winner": "model_a"}],
    [{"prompt": Q, "response_0": BAD, "response_1": GOOD, "better_response_id": 1}],
    [{"prompt": Q, "answer_1": BAD, "answer_2": GOOD, "preference": 2}],
    [{"prompt": Q, "response_a": BAD, "response_b": GOOD, "score_a": 1.5, "score_b": 4}],
    [{"conversation_a": [USER, WORSE], "conversation_b": [USER, ASSISTANT], "winner": "model_b"}],
    [{"context": [USER], "response1": GOOD, "response2": BAD, "overall_preference": -3}],
    [{"history": Q, "human_ref_A": BAD, "human_ref_B": GOOD, "labels": 0, "score_A": 1, "score_B": 9}],
    [{"prompt": Q, "completions": [{"response": BAD, "rating": 1}, {"response": GOOD, "rating": 5}]}],
    [{"prompt": Q, "answers": [{"answer": GOOD, "rank": 1.0}, {"answer": BAD, "rank": 7.0}]}],
    [{"prompt": Q, "response": BAD, "helpfulness": 1}, {"prompt": Q, "response": GOOD, "helpfulness": 4}],
    [{"messages": [USER, WORSE], "label": False}, {"messages": [USER, ASSISTANT], "label": True}],
]
