"""Turns of a conversation: read every public way of writing them, and write them as one prompt text.

A prompt of one user turn is that turn's text.  A longer one is a transcript in the style of hh-rlhf
(Bai et al. 2022): `\\n\\nHuman: ...\\n\\nAssistant: ...\\n\\nHuman: ...\\n\\nAssistant:`, with a system
message in front of it.  The turns themselves travel beside the text, for models with a chat template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Turn = dict[str, str]
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {
    "user": "user", "human": "user", "prompter": "user", "assistant": "assistant", "gpt": "assistant",
    "model": "assistant", "bot": "assistant", "chatgpt": "assistant", "system": "system", "tool": "tool",
    "function": "tool", "observation": "tool", "functioncall": "assistant",
}  # fmt: skip


class Unusable(ValueError):
    """A row that gives no pair; the message completes "dropped: 3 rows ..."."""


def as_turn(value: Any) -> Turn | None:
    """One message as `{role, content}`, whether it says role/content or from/value; None if it is none."""
    if not isinstance(value, Mapping):
        return None
    role, content = value.get("role", value.get("from")), value.get("content", value.get("value"))
    if not isinstance(role, str) or ("content" not in value and "value" not in value):
        return None
    if isinstance(content, Sequence) and not isinstance(content, str):
        # OpenAI's parts: [{"type": "text", "text": ...}]
        texts = [part.get("text") for part in content if isinstance(part, Mapping)]
        content = "".join(text for text in texts if isinstance(text, str)) if len(texts) == len(content) else None
    if not isinstance(content, str):
        raise Unusable("without text")
    return {"role": _ROLES.get(role.lower(), role.lower()), "content": content}


def is_turns(value: Any) -> bool:
    """Whether `value` is a list of messages."""
    if not isinstance(value, list) or not value:
        return False
    return all(
        isinstance(turn, Mapping) and ("role" in turn or "from" in turn) and ("content" in turn or "value" in turn)
        for turn in value
    )


def as_turns(value: Any) -> list[Turn]:
    """The messages of a list, or of a single message.

    Raises:
        Unusable: something else, or a message without text.
    """
    turns = [as_turn(turn) for turn in (value if isinstance(value, list) else [value])]
    if not turns or any(turn is None for turn in turns):
        raise Unusable("of another layout")
    return [turn for turn in turns if turn is not None]


def prompt_of(turns: Sequence[Turn]) -> tuple[str, list[Turn] | None]:
    """The prompt's text, and the turns where they say more than the text (None for one user turn).

    Raises:
        Unusable: the turns do not end in something to answer.
    """
    if not turns:
        raise Unusable("with a blank prompt")
    if turns[-1]["role"] in ("assistant", "system"):
        raise Unusable("whose prompt does not end in a question")
    if len(turns) == 1:
        return turns[0]["content"], None
    system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system" and turn["content"].strip())
    talk = [turn for turn in turns if turn["role"] != "system"]
    if len(talk) == 1:
        text = f"{system}\n\n{talk[0]['content']}" if system else talk[0]["content"]
        return text, [dict(turn) for turn in turns] if system else None
    names = {"user": "Human", "assistant": "Assistant"}
    said = "".join(f"\n\n{names.get(turn['role'], turn['role'].title())}: {turn['content']}" for turn in talk)
    return system + said + ASSISTANT, [dict(turn) for turn in turns]


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
    for name, said in zip(pieces[1::2], pieces[2::2], strict=True):
        turns.append({"role": "user" if name == "Human" else "assistant", "content": said.strip()})
    return turns or [{"role": "user", "content": context}]
