"""Turns of a conversation: read every public way of writing them, and write them as one prompt text.

A prompt of one user turn is that turn's text.  A longer one is a transcript in the style of hh-rlhf
(Bai et al. 2022): `\\n\\nHuman: ...\\n\\nAssistant: ...\\n\\nHuman: ...\\n\\nAssistant:`, with a system
message in front of it.  The turns themselves travel beside the text, for models with a chat template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

Turn = dict[str, str]
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_MARKER = re.compile(r"\n<extra_id_1>(User|Assistant)\n")
_ROLES = {
    "user": "user", "human": "user", "prompter": "user", "assistant": "assistant", "gpt": "assistant",
    "model": "assistant", "bot": "assistant", "chatgpt": "assistant", "system": "system", "tool": "tool",
    "function": "tool", "observation": "tool", "functioncall": "assistant",
}  # fmt: skip
# `input_text` and `output_text` are those of OpenAI's Responses API.
_TEXT_PARTS = ("text", "input_text", "output_text", None)


class DropReason(StrEnum):
    """Why a row gives no pair, as it completes "dropped: 3 rows ..."; runs record these words."""

    OTHER_LAYOUT = "of another layout"
    TIE = "that are ties"
    NO_TEXT = "without text"
    NO_PREFERENCE = "without a preference"
    NO_LABEL = "without a label"
    NO_SCORE = "without a score"
    NOT_AN_ANSWER = "that do not end in an answer"
    PROMPTS_DIFFER = "whose two prompts differ"
    BLANK_PROMPT = "with a blank prompt"
    BLANK_CHOSEN = "with a blank chosen"
    BLANK_REJECTED = "with a blank rejected"
    BLANK_ANSWER = "with a blank answer"
    EQUAL_ANSWERS = "with equal answers"
    FEW_SCORES = "with fewer than two scored answers"
    NO_RANKED_REPLIES = "without two ranked replies to a message"
    DELETED = "that were deleted"
    NO_COMMON_BEGINNING = "whose two answers share no beginning"
    NO_QUESTION = "whose prompt does not end in a question"
    NO_THREAD = "without the messages before it"
    ALONE = "without a partner for its prompt"


class Unusable(ValueError):
    """A row that gives no pair, and why: a `DropReason`, or words of the same kind that name a value of the row."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OtherLayout(Unusable):
    """A row that a layout does not fit, while another may."""

    def __init__(self) -> None:
        super().__init__(DropReason.OTHER_LAYOUT)


class Tie(Unusable):
    """A row that prefers neither answer."""

    def __init__(self) -> None:
        super().__init__(DropReason.TIE)


class UnknownPart(Unusable):
    """A message of which a part is no text: a picture, a call of a tool."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(f"with a message part of type {kind!r}, where only text is read")


def as_turn(value: Any) -> Turn | None:
    """One message as `{role, content}`, whether it says role/content or from/value; None if it is none.

    Content in parts, OpenAI's `{"type": "text", "text": ...}` or LLaMA-Factory's `{"type": "text", "value": ...}`,
    is joined.

    Raises:
        UnknownPart: a part, or the message, holds something else than text.
        Unusable: a message without text.
    """
    if not isinstance(value, Mapping) or not _is_message(value):
        return None
    role = _first(value, "role", "from")
    if not isinstance(role, str):
        return None
    if call := next((name for name in ("tool_calls", "function_call") if value.get(name)), None):
        raise UnknownPart(call)
    content = _first(value, "content", "value")
    if isinstance(content, Mapping):
        content = [content]
    if isinstance(content, list):
        content = "".join(map(_text_of, content)) if content else None
    if not isinstance(content, str):
        raise Unusable(DropReason.NO_TEXT)
    return {"role": _ROLES.get(role.lower(), role.lower()), "content": content}


def _text_of(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    text = _first(part, "text", "value") if isinstance(part, Mapping) else None
    if kind not in _TEXT_PARTS:
        raise UnknownPart(str(kind))
    if not isinstance(text, str):
        raise Unusable(DropReason.NO_TEXT)
    return text


def _first(value: Mapping[str, Any], *names: str) -> Any:
    """The first of these entries that holds something: Parquet files have all, most of them empty."""
    return next((value[name] for name in names if value.get(name) is not None), None)


def _is_message(value: Mapping[str, Any]) -> bool:
    return ("role" in value or "from" in value) and ("content" in value or "value" in value)


def is_turns(value: Any) -> bool:
    """Whether `value` is a list of messages."""
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(turn, Mapping) and _is_message(turn) for turn in value)


def as_turns(value: Any) -> list[Turn]:
    """The messages of a list, or of a single message.

    Raises:
        OtherLayout: something else.
        UnknownPart: a message holds something else than text.
        Unusable: a message without text.
    """
    turns = [as_turn(turn) for turn in (value if isinstance(value, list) else [value])]
    if not turns or any(turn is None for turn in turns):
        raise OtherLayout
    return [turn for turn in turns if turn is not None]


def prompt_of(turns: Sequence[Turn]) -> tuple[str, list[Turn] | None]:
    """The prompt's text, and the turns where they say more than the text (None for one user turn).

    Raises:
        Unusable: the turns do not end in something to answer.
    """
    if not turns:
        raise Unusable(DropReason.BLANK_PROMPT)
    if turns[-1]["role"] in ("assistant", "system"):
        raise Unusable(DropReason.NO_QUESTION)
    if len(turns) == 1:
        return turns[0]["content"], None
    system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system" and turn["content"].strip())
    talk = [turn for turn in turns if turn["role"] != "system"]
    if len(talk) == 1:
        text = f"{system}\n\n{talk[0]['content']}" if system else talk[0]["content"]
        return text, [dict(turn) for turn in turns] if system else None
    names = {"user": "Human", "assistant": "Assistant"}
    transcript = "".join(f"\n\n{names.get(turn['role'], turn['role'].title())}: {turn['content']}" for turn in talk)
    return system + transcript + ASSISTANT, [dict(turn) for turn in turns]


def from_markers(text: str) -> list[Turn]:
    """The turns of a prompt in which lines `<extra_id_1>Assistant` and `<extra_id_1>User` begin the later turns.

    HelpSteer's prompts are written so (its card: "user turn 1, <extra_id_1>Assistant, assistant turn 1, ...").
    """
    pieces = _MARKER.split(text)
    turns = [{"role": "user", "content": pieces[0]}]
    for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
        turns.append({"role": name.lower(), "content": text})
    return turns


def is_transcript(text: Any) -> bool:
    """Whether a text is a whole talk between "Human:" and "Assistant:"."""
    return isinstance(text, str) and ASSISTANT in text and text.lstrip().startswith(("Human:", "Assistant:"))


def from_transcript(context: str) -> tuple[str, list[Turn] | None]:
    """Prompt and turns of a transcript up to, and without, its last `\\n\\nAssistant:`.

    One question loses its speaker's name; a longer talk keeps all names, as the text stood.
    """
    if context.startswith(HUMAN) and not _SPEAKER.search(context, len(HUMAN)):
        return context.removeprefix(HUMAN).removeprefix(" "), None
    turns = turns_of_transcript(context)
    return context + ASSISTANT, turns if len(turns) > 1 or turns[0]["role"] != "user" else None


def turns_of_transcript(context: str) -> list[Turn]:
    """The turns of `\\n\\nHuman: ...\\n\\nAssistant: ...`; text before the first speaker is a system message."""
    pieces = _SPEAKER.split(context)
    turns = [{"role": "system", "content": pieces[0].strip()}] if pieces[0].strip() else []
    for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
        turns.append({"role": "user" if name == "Human" else "assistant", "content": text.strip()})
    return turns or [{"role": "user", "content": context}]
