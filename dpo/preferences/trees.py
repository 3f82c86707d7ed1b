"""Trees of conversations (OpenAssistant): the best and the worst of the ranked replies to a message make a pair.

Source: the cards of OpenAssistant/oasst1 and oasst2: "the most preferred message has rank 0".  Files `*.trees.jsonl`
hold a tree a row, `*.messages.jsonl` and the hub's tables a message a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpo.preferences.codes import is_code, number
from dpo.preferences.layouts import Layout, Message, Pair, PlainRow, Row, pair_of
from dpo.preferences.turns import DropReason, OtherLayout, Turn, Unusable, as_turn

DEEPEST = 500
"""Messages of a conversation at most."""


def layouts(rows: Sequence[Row]) -> list[Layout]:
    """The layouts of this module; none depends on the columns of `rows`."""
    return [_tree(), _messages()]


def _tree() -> Layout:
    def fits(row: PlainRow) -> bool:
        prompt = row.get("prompt")
        return isinstance(prompt, Mapping) and isinstance(prompt.get("replies"), list) and "text" in prompt

    def read(row: PlainRow) -> list[Pair]:
        if not fits(row):
            raise OtherLayout
        found: list[Pair] = []
        waiting: list[tuple[Mapping[str, Any], list[Turn]]] = [(row["prompt"], [])]
        while waiting:
            message, before = waiting.pop(0)
            turns = [*before, _turn(message)]
            replies = [reply for reply in message.get("replies") or [] if not reply.get("deleted")]
            answers = [reply for reply in replies if _turn(reply)["role"] == "assistant" and is_code(reply.get("rank"))]
            if len(answers) >= 2:
                best, *_, worst = sorted(answers, key=lambda reply: number(reply["rank"]))
                found.append(pair_of(turns, best["text"], worst["text"]))
            if len(turns) < DEEPEST:
                waiting += [(reply, turns) for reply in replies]
        if not found:
            raise Unusable(DropReason.NO_RANKED_REPLIES)
        return found

    return Layout("oasst-trees", "trees of messages with ranked replies (OpenAssistant)", fits, read,
                  takes=("the messages of {prompt} up to a reply", "the reply of the lowest rank",
                         "the reply of the highest rank"))  # fmt: skip


def _turn(message: Mapping[str, Any]) -> Turn:
    turn = as_turn({"role": message["role"], "content": message["text"]})
    if turn is None:
        raise OtherLayout
    return turn


def _messages() -> Layout:
    def fits(row: PlainRow) -> bool:
        return {"messageid", "messagetreeid", "text", "role"} <= row.keys()

    def read(row: PlainRow) -> Message:
        if not fits(row):
            raise OtherLayout
        if row.get("deleted"):
            raise Unusable(DropReason.DELETED)
        parent = row.get("parentid") or None
        if not isinstance(parent, str | int | None):
            raise OtherLayout
        rank = number(row["rank"]) if is_code(row.get("rank")) else None
        return Message(str(row["messageid"]), None if parent is None else str(parent), _turn(row), rank)

    return Layout("oasst-messages", "single messages with parent_id and rank (OpenAssistant)", fits, read,
                  gives=Message, takes=("the {text} of the messages up to a reply", "the reply of the lowest {rank}",
                                        "the reply of the highest {rank}"))  # fmt: skip
