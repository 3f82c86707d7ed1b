"""The prompt that a request or a command line names: a text, or the turns of a conversation (no torch here)."""

from __future__ import annotations

from typing import Any

from dpo.errors import PromptError


def given_prompt(text: Any, messages: Any = None) -> str | list[dict[str, str]]:
    """`messages` where they are given (`role` and `content`, the last one the user's), else the text.

    Raises:
        PromptError: neither has anything to answer, or `messages` is something else.
    """
    if messages is None:
        if not isinstance(text, str) or not text.strip():
            raise PromptError("The prompt is blank: write a question or a sentence")
        return text
    turns = messages if isinstance(messages, list) else []
    read = [
        {"role": turn["role"], "content": turn["content"]}
        for turn in turns
        if isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
    ]
    if not read or len(read) != len(turns):
        raise PromptError('messages must be a JSON list of {"role": ..., "content": ...}')
    if not read[-1]["content"].strip():
        raise PromptError("The last message is blank: write a question or a sentence")
    return read
