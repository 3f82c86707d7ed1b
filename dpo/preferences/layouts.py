"""The public layouts of preference data: which rows each fits, and how it turns a row into a pair.

Columns are compared without case, blanks, `-` and `_` ("Answer1", "answer_1").  Texts are passed on
as they are.  `SIDE_LAYOUTS` here and `COMPARISONS` beside it are the registry; `formats`
chooses from them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dpo.preferences.turns import (
    ASSISTANT,
    HUMAN,
    Turn,
    Unusable,
    as_turns,
    from_transcript,
    is_transcript,
    is_turns,
    prompt_of,
)

Row = Mapping[str, Any]


class Pair(NamedTuple):
    """One preference: a prompt, the better answer, the worse one; `messages` where the prompt has several turns."""

    prompt: str
    chosen: str
    rejected: str
    messages: list[Turn] | None = None


class Rated(NamedTuple):
    """One answer with a score: pairs are made of the answers to one prompt."""

    prompt: str
    answer: str
    score: float
    messages: list[Turn] | None = None


@dataclass(frozen=True)
class Layout:
    """A known way of writing preference data.

    `read` raises `Unusable` for a row that fits and gives no pair.  `certainty` is how sure the
    column names alone make us; a layout `on_request` is used only where `--layout` names it.
    `takes` says for prompt, chosen and rejected where the text is found, with canonical column names
    in braces; an empty prompt is the first column of `PROMPTS` that there is.
    """

    key: str
    name: str
    fits: Callable[[Row], bool]
    read: Callable[[Row], Pair | Rated]
    certainty: float = 1.0
    on_request: bool = False
    rated: bool = False
    takes: tuple[str, str, str] = ("", "{chosen}", "{rejected}")


@functools.lru_cache(maxsize=4096)
def canonical(column: str) -> str:
    """A column's name without case, blanks, `-`, `_` and `.`."""
    return "".join(character for character in column.lower() if character.isalnum())


def plain(row: Row) -> dict[str, Any]:
    """`row` with canonical column names; columns without a value are left out."""
    return {canonical(str(name)): value for name, value in row.items() if value is not None}


PROMPTS = ("prompt", "question", "instruction", "query", "history", "post", "context", "messages", "conversation",
           "conversations", "dialogue", "dialog")  # fmt: skip
SIDES = (
    ("chosen", "rejected"),
    ("responsej", "responsek"),
    ("preferredoutput", "nonpreferredoutput"),
    ("preferred", "dispreferred"),
    ("chosenresponse", "rejectedresponse"),
    ("accepted", "rejected"),
    ("better", "worse"),
    ("winner", "loser"),
)
_NAMES = {
    ("question", "chosen"): "system, question, chosen, rejected (Orca)",
    ("instruction", "chosen"): "instruction, input, chosen, rejected",
    ("question", "responsej"): "question, response_j, response_k (stack-exchange)",
    ("conversations", "chosen"): "ShareGPT conversations",
}


def sources_of(layout: Layout, rows: Sequence[Row]) -> dict[str, str]:
    """Where prompt, chosen and rejected are found, in the columns' own names ("chosen, the last answer")."""
    actual = {canonical(str(name)): str(name) for row in rows for name in row}
    asked = layout.takes[0] or next((f"{{{name}}}" for name in PROMPTS if name in actual), "")
    if layout.takes[0].endswith(" with {input}") and "input" not in actual:
        asked = asked.removesuffix(" with {input}")
    if "system" in actual and asked and "before" not in asked:
        asked = f"{{system}}, {asked}"
    said = (asked, *layout.takes[1:])
    return {
        role: re.sub(r"{(\w+)}", lambda match: actual.get(match[1], match[1]), text)
        for role, text in zip(("prompt", "chosen", "rejected"), said, strict=True)
    }


def answerable(value: Any) -> bool:
    """Whether a cell can hold an answer: a text, a message or messages."""
    return isinstance(value, str) or is_turns(value) or is_turns([value])


def context_of(row: dict[str, Any], column: str) -> list[Turn]:
    """The turns before the answers, from a text or messages in `column` (with `system` and `input` columns)."""
    value = row[column]
    if isinstance(value, str):
        extra = row.get("input")
        if column == "instruction" and isinstance(extra, str) and extra.strip():
            value = f"{value}\n\n{extra}"
        turns = [{"role": "user", "content": value}]
    else:
        turns = as_turns(value)
    system = row.get("system", row.get("systemprompt"))
    if isinstance(system, str) and system.strip() and turns and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": system}, *turns]
    return turns


def pair_of(context: list[Turn] | None, chosen: Any, rejected: Any) -> Pair:
    """A pair from answers in any form; where they are whole conversations these bring the context."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        if context is None:
            return _from_transcripts(chosen, rejected)
        named = _without_names(context[-1]["content"], chosen, rejected) if len(context) == 1 else None
        if named is not None:
            prompt, messages, good, bad = named
            return Pair(prompt, good, bad, messages)
        return Pair(*_texts(context, chosen, rejected))
    sides = [as_turns([{"role": "assistant", "content": s}] if isinstance(s, str) else s) for s in (chosen, rejected)]
    before = [_before(context, side) for side in sides]
    for side in sides:
        if side[-1]["role"] != "assistant":
            raise Unusable("that do not end in an answer")
    if before[0] != before[1]:
        raise Unusable("whose two prompts differ")
    return Pair(*_texts(before[0], sides[0][-1]["content"], sides[1][-1]["content"]))


def _texts(context: list[Turn], good: str, bad: str) -> tuple[str, str, str, list[Turn] | None]:
    prompt, messages = prompt_of(context)
    return prompt, good, bad, messages


def _before(context: list[Turn] | None, side: list[Turn]) -> list[Turn]:
    """What stands before the last turn of `side`, once."""
    if context is None or side[0]["role"] in ("user", "system"):
        turns = side[:-1]
        if context and context[0]["role"] == "system" and turns and turns[0]["role"] != "system":
            turns = [context[0], *turns]
        if not turns and context is None:
            raise Unusable("with a blank prompt")
        return turns or list(context or [])
    return [*context, *side[:-1]]


def _without_names(question: str, chosen: str, rejected: str) -> tuple[str, list[Turn] | None, str, str] | None:
    """Prompt, turns and answers of texts that carry the speakers' names, in hh-rlhf's way or in front; else None."""
    if question.startswith(HUMAN):
        stem = question if question.rstrip().endswith(ASSISTANT) else question + ASSISTANT
        if chosen.startswith(stem) and rejected.startswith(stem):  # the prompt repeated in the answers
            chosen, rejected = chosen[len(stem) :], rejected[len(stem) :]
        prompt, messages = from_transcript(stem.rstrip().removesuffix(ASSISTANT))
        return prompt, messages, chosen.removeprefix(" "), rejected.removeprefix(" ")
    name = "Assistant: "
    if question.startswith("Human: ") and chosen.startswith(name) and rejected.startswith(name):
        return question.removeprefix("Human: "), None, chosen.removeprefix(name), rejected.removeprefix(name)
    return None


def _from_transcripts(chosen: str, rejected: str) -> Pair:
    (before, mark, good), (before_bad, mark_bad, bad) = chosen.rpartition(ASSISTANT), rejected.rpartition(ASSISTANT)
    if not mark or not mark_bad:
        raise Unusable("of another layout")
    if HUMAN in good or HUMAN in bad:
        raise Unusable("that do not end in an answer")
    if before != before_bad:
        raise Unusable("whose two prompts differ")
    prompt, messages = from_transcript(before)
    return Pair(prompt, good.removeprefix(" "), bad.removeprefix(" "), messages)


def _promptless(row: dict[str, Any]) -> bool:
    return not any(name in row for name in PROMPTS if name not in ("messages",))


def _sides_layout(prompt: str | None, good: str, bad: str) -> Layout:
    """Columns `good` and `bad`, with a prompt column or, where the answers are whole talks, without."""

    def fits(raw: Row) -> bool:
        row = plain(raw)
        if good not in row or bad not in row or not (answerable(row[good]) and answerable(row[bad])):
            return False
        if prompt is None:
            whole = is_turns(row[good]) and len(row[good]) > 1
            return (whole or is_transcript(row[good])) and _promptless(row)
        if prompt == "messages" and not isinstance(row[good], str) and is_turns(row[good]):
            return False  # a copy of the better conversation (UltraFeedback binarized)
        value = row.get(prompt)
        return isinstance(value, str) or is_turns(value)

    def read(raw: Row) -> Pair:
        row = plain(raw)
        if good not in row or bad not in row:
            raise Unusable("without text")
        if prompt is not None and prompt not in row:
            raise Unusable("without text")
        if prompt is None and isinstance(row[good], str) != isinstance(row[bad], str):
            raise Unusable("of another layout")
        return pair_of(None if prompt is None else context_of(row, prompt), row[good], row[bad])

    key = "-".join(filter(None, (prompt, good, bad)))
    name = _NAMES.get((prompt or "", good), ", ".join(filter(None, (prompt, good, bad))))
    asked = f"{{{prompt}}}" if prompt else f"{{{good}}}, before its last answer"
    if prompt == "instruction":
        asked += " with {input}"
    takes = (asked, f"{{{good}}}", f"{{{bad}}}")
    return Layout(key, name, fits, read, 1.0 if (good, bad) in SIDES[:3] else 0.9, takes=takes)


_WHOLE = ("{chosen}, before its last answer", "{chosen}, the last answer", "{rejected}, the last answer")


def _transcripts() -> Layout:
    def fits(raw: Row) -> bool:
        row = plain(raw)
        return _promptless(row) and is_transcript(row.get("chosen")) and is_transcript(row.get("rejected"))

    return Layout("transcripts", "transcripts (hh-rlhf)", fits, _promptless_pair, takes=_WHOLE)


def _messages() -> Layout:
    def fits(raw: Row) -> bool:
        row = plain(raw)
        return _promptless(row) and is_turns(row.get("chosen")) and is_turns(row.get("rejected"))

    return Layout("messages", "messages", fits, _promptless_pair, takes=_WHOLE)


def _promptless_pair(raw: Row) -> Pair:
    return pair_of(None, _cell(raw, "chosen"), _cell(raw, "rejected"))


def _cell(raw: Row, name: str) -> Any:
    value = plain(raw).get(name)
    if value is None:
        raise Unusable("without text")
    return value


_OPENAI = ("{input}.messages", "{preferredoutput}", "{nonpreferredoutput}")


def _openai() -> Layout:
    def turns(row: dict[str, Any]) -> Any:
        return row["input"].get("messages") if isinstance(row.get("input"), Mapping) else None

    def fits(raw: Row) -> bool:
        row = plain(raw)
        return is_turns(turns(row)) and "preferredoutput" in row and "nonpreferredoutput" in row

    def read(raw: Row) -> Pair:
        row = plain(raw)
        context = turns(row)
        if context is None or "preferredoutput" not in row or "nonpreferredoutput" not in row:
            raise Unusable("without text")
        return pair_of(as_turns(context), row["preferredoutput"], row["nonpreferredoutput"])

    name = "input.messages, preferred_output, non_preferred_output (OpenAI)"
    return Layout("openai", name, fits, read, takes=_OPENAI)


_SHARED = ("what {chosen} and {rejected} both begin with", "the rest of {chosen}", "the rest of {rejected}")


def _common_prefix() -> Layout:
    def fits(raw: Row) -> bool:
        row = plain(raw)
        sides = (row.get("chosen"), row.get("rejected"))
        return all(isinstance(side, str) and not is_transcript(side) for side in sides) and _promptless(row)

    def read(raw: Row) -> Pair:
        chosen, rejected = _cell(raw, "chosen"), _cell(raw, "rejected")
        end = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
        end = min(len(chosen), len(rejected)) if end is None else end
        end = max(chosen.rfind(" ", 0, end), chosen.rfind("\n", 0, end))
        if end <= 0:
            raise Unusable("whose two answers share no beginning")
        return Pair(chosen[:end], chosen[end + 1 :], rejected[end + 1 :])

    name = "chosen, rejected; what both begin with is the prompt"
    return Layout("common-prefix", name, fits, read, 0.5, True, takes=_SHARED)


SIDE_LAYOUTS: tuple[Layout, ...] = (
    _openai(),
    _transcripts(),
    _messages(),
    *(_sides_layout(prompt, good, bad) for good, bad in SIDES for prompt in PROMPTS),
    *(_sides_layout(None, good, bad) for good, bad in SIDES[2:]),
    _common_prefix(),
)
