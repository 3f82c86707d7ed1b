"""Recognise a public layout of preference data and bring it to prompt / chosen / rejected.

A layout is two functions in `LAYOUTS`: whether it fits the columns of a first row, and how it turns
a row into a pair.  Texts are passed on as they are; nothing is stripped or cleaned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dpo.errors import DataError

Row = Mapping[str, Any]
Pair = dict[str, str]
_ASSISTANT, _HUMAN = "\n\nAssistant:", "\n\nHuman:"


@dataclass(frozen=True)
class Layout:
    """A known way of writing preference pairs."""

    name: str
    fits: Callable[[Row], bool]
    pair: Callable[[Row], Pair]


def recognise(row: Row, columns: Mapping[str, str | None]) -> Layout:
    """The layout of rows like `row`; `columns` names prompt, chosen and rejected where given.

    Raises:
        DataError: not preference data, or a named column is missing.
    """
    named = {role: column for role, column in columns.items() if column}
    for role, column in named.items():
        if column not in row:
            raise DataError(f"there is no column {column!r} for --{role}-column: the columns are {', '.join(row)}")
    if named:
        source = {role: named.get(role, role) for role in ("prompt", "chosen", "rejected")}
        row = _renamed(row, source)
        layout = _first_fitting(row)
        if layout is not None:
            pair = layout.pair
            return Layout(layout.name, lambda _: True, lambda r: pair(_renamed(r, source)))
    layout = _first_fitting(row)
    if layout is not None:
        return layout
    raise DataError(_why_not(row))


def _first_fitting(row: Row) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.fits(row)), None)


def _renamed(row: Row, source: Mapping[str, str]) -> Row:
    return {**row, **{role: row[column] for role, column in source.items() if column in row}}


def _why_not(row: Row) -> str:
    found = f"the columns are {', '.join(map(str, row))}"
    if "label" in row and ("completion" in row or "messages" in row):
        return f"this is unpaired data with a label ({found}): pair a good and a bad answer for each prompt first"
    if "chosen" not in row and "rejected" not in row and ("output" in row or "messages" in row or "text" in row):
        return f"these are single answers, not preferences ({found}): DPO needs a chosen and a rejected answer"
    return (
        f"no preference pairs recognised ({found}): name them with "
        "--prompt-column, --chosen-column and --rejected-column"
    )


def _texts(row: Row, *names: str) -> bool:
    return all(isinstance(row.get(name), str) for name in names)


def _messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, Mapping) and "content" in m for m in value)


def _from_messages(row: Row) -> Pair:
    chosen, rejected = row["chosen"], row["rejected"]
    prompt = row.get("prompt")
    if isinstance(prompt, list) and _messages(prompt):
        context = list(prompt)
    elif isinstance(prompt, str) and len(chosen) <= 2:
        return {"prompt": prompt, "chosen": str(chosen[-1]["content"]), "rejected": str(rejected[-1]["content"])}
    else:
        context = list(chosen[:-1])
    if len(context) == 1:
        text = str(context[0]["content"])
    else:
        text = "\n".join(f"{message.get('role', 'user')}: {message['content']}" for message in context)
    return {"prompt": text, "chosen": str(chosen[-1]["content"]), "rejected": str(rejected[-1]["content"])}


def _is_transcript(row: Row) -> bool:
    return _texts(row, "chosen", "rejected") and all(_ASSISTANT in row[side] for side in ("chosen", "rejected"))


def _from_transcripts(row: Row) -> Pair:
    prompt, _, chosen = row["chosen"].rpartition(_ASSISTANT)
    _, _, rejected = row["rejected"].rpartition(_ASSISTANT)
    single = prompt.count(_HUMAN) == 1 and _ASSISTANT not in prompt and prompt.startswith(_HUMAN)
    # One question needs no speaker's name; a longer talk keeps them.
    text = prompt.removeprefix(_HUMAN).removeprefix(" ") if single else prompt + _ASSISTANT
    return {"prompt": text, "chosen": chosen.removeprefix(" "), "rejected": rejected.removeprefix(" ")}


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "prompt, chosen, rejected",
        lambda row: _texts(row, "prompt", "chosen", "rejected"),
        lambda row: {name: row[name] for name in ("prompt", "chosen", "rejected")},
    ),
    Layout(
        "messages",
        lambda row: _messages(row.get("chosen")) and _messages(row.get("rejected")),
        _from_messages,
    ),
    Layout("transcripts (hh-rlhf)", _is_transcript, _from_transcripts),
)
