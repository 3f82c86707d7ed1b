"""What a layout of preference data is, and what all of them share: columns, prompts, pairs.

Columns are compared without case, blanks, `-` and `_` ("Answer1", "answer_1").  Texts are passed on
as they are.  The layouts themselves are in `sides`, `comparisons`, `ratings` and `trees`; `formats`
chooses among them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from dpo.preferences.turns import (
    ASSISTANT,
    HUMAN,
    DropReason,
    OtherLayout,
    Turn,
    UnknownPart,
    Unusable,
    as_turns,
    from_markers,
    from_transcript,
    is_turns,
    prompt_of,
)

Row = Mapping[str, Any]
PlainRow = Mapping[str, Any]
"""A row with canonical column names and without empty cells, as `plain` makes it."""


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


class Message(NamedTuple):
    """One message of a tree of conversations: pairs are made of the ranked replies to one message."""

    key: str
    parent: str | None
    turn: Turn
    rank: float | None
    """0 is the best of the replies to `parent`; None where they were not ranked."""


# ms-swift and LLaMA-Factory write "<image>" in the text where a picture of the column `images` belongs.
_MEDIA = {"images": "<image>", "videos": "<video>", "audios": "<audio>"}


@dataclass(frozen=True)
class Layout:
    """A known way of writing preference data.

    `reader` gives the pairs of a row, mostly one, or the `Rated` or `Message` that `gives` names; it raises
    `Unusable` for a row that fits and gives none.  `certainty` is how sure the column names alone make us.
    A layout `on_request` is used only where `--layout` names it, and a `secondary` one only where no columns
    are named after the better and the worse answer.  `takes` says for prompt, chosen and rejected where the
    text is found, with canonical column names in braces; an empty prompt is the one `prompt_column` finds.
    `decides` is the column that says which answer is better, where its values are worth a look; `accepts` and
    `reader` get the row as `plain` makes it, of a `verbatim` layout as it is.
    """

    key: str
    name: str
    accepts: Callable[[PlainRow], bool]
    reader: Callable[[PlainRow], Pair | Rated | Message | list[Pair]]
    certainty: float = 1.0
    on_request: bool = False
    secondary: bool = False
    gives: type[Pair] | type[Rated] | type[Message] = Pair
    takes: tuple[str, str, str] = ("", "{chosen}", "{rejected}")
    decides: str = ""
    verbatim: bool = False

    def fits(self, row: Row) -> bool:
        """Whether the columns and kinds of values are the layout's."""
        return self.accepts(self._named(row))

    def _named(self, row: Row) -> PlainRow:
        return row if self.verbatim else plain(row)

    def read(self, row: Row) -> list[Pair | Rated | Message]:
        """What the row gives, at least one.

        Raises:
            OtherLayout: the row does not fit.
            UnknownPart: it fits, and its prompt shows a picture, film or sound of another column.
            Unusable: it fits and gives no pair.
        """
        try:
            found = self.reader(self._named(row))
        except (KeyError, IndexError, TypeError, AttributeError):
            raise OtherLayout from None
        items: list[Pair | Rated | Message] = [*found] if isinstance(found, list) else [found]
        for column, tag in _MEDIA.items():
            if row.get(column) and any(tag in item.prompt for item in items if not isinstance(item, Message)):
                raise UnknownPart(column)
        return items

    def joins(self) -> str:
        """How pairs come of rows that are none themselves; "" where every row is a pair."""
        return {
            Rated: "the best and the worst answer to a prompt; rows are single answers",
            Message: "the best and the worst reply to a message; rows are single messages",
        }.get(self.gives, "")


@functools.lru_cache(maxsize=4096)
def canonical(column: str) -> str:
    """A column's name without case, blanks, `-`, `_` and `.`."""
    return "".join(character for character in column.lower() if character.isalnum())


def plain(row: Row) -> dict[str, Any]:
    """`row` with canonical column names; columns without a value are left out."""
    return {canonical(str(name)): value for name, value in row.items() if value is not None}


def actual_names(rows: Sequence[Row]) -> dict[str, str]:
    """The columns of `rows` by their canonical names."""
    return {canonical(str(name)): str(name) for row in rows for name in row}


def cells(row: Mapping[str, Any], *names: str) -> list[Any]:
    """The values of these columns of a `plain` row.

    Raises:
        Unusable: one is empty or missing.
    """
    if not all(name in row for name in names):
        raise Unusable(DropReason.NO_TEXT)
    return [row[name] for name in names]


PROMPTS = (
    "prompt", "question", "instruction", "query", "userinput", "history", "post", "context", "promptmessages",
    "messages", "conversation", "conversations", "dialogue", "dialog",
)  # fmt: skip
"""Columns of prompts, the likeliest first.  `input` is one too, where none of these is there."""


def prompts_of(row: Mapping[str, Any]) -> list[str]:
    """The canonical names of the columns of a `plain` row that can be its prompt, the likeliest first."""
    return [name for name in PROMPTS if is_prompt(row.get(name))] or ["input"] * is_prompt(row.get("input"))


def prompt_column(row: Mapping[str, Any], *skip: str) -> str | None:
    """The first of `prompts_of`, without the columns to `skip`; None where there is none."""
    found = next((name for name in PROMPTS if name in row and name not in skip and is_prompt(row[name])), None)
    return found or ("input" if is_prompt(row.get("input")) and "input" not in skip else None)


def needed_prompt(row: PlainRow) -> str:
    """The column that `prompt_column` finds.

    Raises:
        Unusable: there is none.
    """
    column = prompt_column(row)
    if column is None:
        raise Unusable(DropReason.NO_TEXT)
    return column


def by_prompt(found: Sequence[Layout], rows: Sequence[Row]) -> list[Layout]:
    """The layouts that take the likeliest column for the prompt, once for each column of `rows` that can be it."""
    names = list(dict.fromkeys(name for row in rows for name in prompts_of(plain(row))))
    if len(names) < 2:
        return []
    actual = actual_names(rows)
    return [
        _with_prompt(layout, name, names, actual[name]) for layout in found if not layout.takes[0] for name in names
    ]


def _with_prompt(layout: Layout, prompt: str, prompts: Sequence[str], shown: str) -> Layout:
    def only(row: PlainRow) -> PlainRow:
        return {name: value for name, value in row.items() if name not in prompts or name == prompt}

    return replace(
        layout,
        key=f"{prompt}-{layout.key}",
        name=f"{layout.name}; prompt from {shown}",
        accepts=lambda row: layout.accepts(only(row)),
        reader=lambda row: layout.reader(only(row)),
        takes=(f"{{{prompt}}}", *layout.takes[1:]),
    )


def is_prompt(value: Any) -> bool:
    """Whether a cell can hold a prompt: a text, messages, or WebGPT's object with a `full_text`."""
    return isinstance(value, str) or is_turns(value) or (isinstance(value, Mapping) and "full_text" in value)


def answerable(value: Any) -> bool:
    """Whether a cell can hold an answer: a text, a message or messages."""
    return isinstance(value, str) or is_turns(value) or is_turns([value])


def sources_of(layout: Layout, rows: Sequence[Row]) -> dict[str, str]:
    """Where prompt, chosen and rejected are found, in the columns' own names ("chosen, the last answer")."""
    actual = actual_names(rows)
    found = next(filter(None, (prompt_column(plain(row)) for row in rows)), "")
    asked = layout.takes[0] or (found and f"{{{found}}}")
    if asked == "{instruction}" and "input" in actual:
        asked += " with {input}"
    if "system" in actual and asked and "before" not in asked:
        asked = f"{{system}}, {asked}"
    texts = (asked, *layout.takes[1:])
    return {
        role: re.sub(r"{(\w+)}", lambda match: actual.get(match[1], match[1]), text)
        for role, text in zip(("prompt", "chosen", "rejected"), texts, strict=True)
    }


def context_of(row: Mapping[str, Any], column: str) -> list[Turn]:
    """The turns before the answers, from the text or messages in `column` of a `plain` row.

    An `input` is added to an `instruction`; a `history` of questions and answers (LLaMA-Factory, ms-swift) goes
    before, a `system` message first.

    Raises:
        Unusable: no text or messages.
    """
    value = row[column]
    if isinstance(value, Mapping) and "full_text" in value:
        value = value["full_text"]
    if isinstance(value, str):
        addition = row.get("input")
        if column == "instruction" and isinstance(addition, str) and addition.strip():
            value = f"{value}\n\n{addition}"
        turns = [*_history(row.get("history")), *from_markers(value)]
    else:
        turns = as_turns(value)
    return with_system(turns, row.get("system", row.get("systemprompt")))


def with_system(turns: list[Turn], system: Any) -> list[Turn]:
    """`turns` with a system message in front, where there is one and they have none."""
    if isinstance(system, str) and system.strip() and turns and turns[0]["role"] != "system":
        return [{"role": "system", "content": system}, *turns]
    return turns


def _history(value: Any) -> list[Turn]:
    """Earlier turns from `[[question, answer], ...]`."""
    if not isinstance(value, list) or not all(isinstance(turn, list) and len(turn) == 2 for turn in value):
        return []
    texts = [text for turn in value for text in turn]
    if not all(isinstance(text, str) for text in texts):
        raise Unusable(DropReason.NO_TEXT)
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def pair_of(context: list[Turn] | None, chosen: Any, rejected: Any) -> Pair:
    """A pair from answers in any form; where they are whole conversations these bring the context.

    Raises:
        Unusable: the answers do not fit to one another, or to the context.
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        if context is None:
            return _from_transcripts(chosen, rejected)
        named = _without_names(context[-1]["content"], chosen, rejected) if len(context) == 1 else None
        if named is not None:
            prompt, messages, good, bad = named
            return Pair(prompt, good, bad, messages)
        return _pair(context, chosen, rejected)
    sides = [as_turns([{"role": "assistant", "content": s}] if isinstance(s, str) else s) for s in (chosen, rejected)]
    before = [_before(context, side) for side in sides]
    for side in sides:
        if side[-1]["role"] != "assistant":
            raise Unusable(DropReason.NOT_AN_ANSWER)
    if before[0] != before[1]:
        raise Unusable(DropReason.PROMPTS_DIFFER)
    return _pair(before[0], sides[0][-1]["content"], sides[1][-1]["content"])


def _pair(context: list[Turn], good: str, bad: str) -> Pair:
    prompt, messages = prompt_of(context)
    return Pair(prompt, good, bad, messages)


def _before(context: list[Turn] | None, side: list[Turn]) -> list[Turn]:
    """What stands before the last turn of `side`, once."""
    if context is None or side[0]["role"] in ("user", "system"):
        turns = side[:-1]
        if context and context[0]["role"] == "system" and turns and turns[0]["role"] != "system":
            turns = [context[0], *turns]
        if not turns and context is None:
            raise Unusable(DropReason.BLANK_PROMPT)
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
        raise OtherLayout
    if HUMAN in good or HUMAN in bad:
        raise Unusable(DropReason.NOT_AN_ANSWER)
    if before != before_bad:
        raise Unusable(DropReason.PROMPTS_DIFFER)
    prompt, messages = from_transcript(before)
    return Pair(prompt, good.removeprefix(" "), bad.removeprefix(" "), messages)
