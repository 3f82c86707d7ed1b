"""How a source is read: the layout found, its columns and three pairs, or the question which reading is meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from dpo.counting import counted
from dpo.dashboard.components import box, button, card, icon
from dpo.preferences.audit import Audit
from dpo.preferences.preview import Example, Preview, Reading

_ROLES = ("prompt", "chosen", "rejected")
_HEAD, _TAIL = 110, 50  # characters of a text that are shown


def recognised(preview: Preview, asked: bool, result: Audit | None = None) -> html.Section:
    """The one reading of a source; `asked` if the user chose it, `result` once it was audited."""
    [reading] = preview.readings
    sub = f"Recognised by the first {counted(preview.rows, 'row')} · confidence {preview.confidence:.0%}"
    if asked:
        sub = f"Read as you chose · {preview.confidence:.0%} of the first {counted(preview.rows, 'row')} fit"
    if result is not None:
        sub = f"{counted(result.rows, 'row')}, {result.scope()} · " + sub[0].lower() + sub[1:]
    again = button("Ask again", id={"type": "da-reading", "key": ""}, size="xs", n_clicks=0) if asked else None
    head = box(
        icon("check", 20), html.Div([html.H2(reading.name), html.P(sub, className="sub")], className="grow"),
        _columns(reading), again,
        cls="row",
    )  # fmt: skip
    return card(head, _table(reading.examples, reading.decides), cls="pad detect")


def question(preview: Preview) -> html.Section:
    """The readings of a source that differ, each with the rows that show it and a button."""
    count = len(preview.readings)
    head = box(
        icon("warn", 20),
        box(
            html.H2(f"These rows can be read in {count} ways"),
            html.P("They give different pairs, so nothing is guessed: choose the one that is meant.",
                   className="sub"), cls="grow"),
        cls="row nowrap",
    )  # fmt: skip
    parts = [
        box(
            box(
                html.H3(reading.name, className="grow"),
                button("Read them this way", id={"type": "da-reading", "key": reading.key}, size="xs",
                       n_clicks=0),
                cls="row",
            ),
            _columns(reading),
            _table(reading.examples[:2], reading.decides),
            cls="reading",
        )
        for reading in preview.readings
    ]  # fmt: skip
    return card(head, *parts, cls="pad detect asked")


def _columns(reading: Reading) -> html.Div:
    pairs = [
        html.Div([html.Span(role, className="sub"), html.Code(reading.takes[role] or "none")], className="from")
        for role in _ROLES
    ]
    return html.Div(pairs, className="takes")


def _table(examples: Sequence[Example], decides: str) -> Any:
    if not examples:
        return html.P("None of these rows gives a pair.", className="sub")
    single = examples[0].rejected is None
    heads = (
        "Row",
        *((decides,) if decides else ()),
        "Prompt",
        "Answer" if single else "Chosen",
        *(() if single else ("Rejected",)),
    )
    rows = [
        html.Tr(
            [
                html.Td(f"{example.row:,}", className="num"),
                *((html.Td(html.Code(_cut(example.decided))),) if decides else ()),
                *(
                    html.Td(_cut(text), dir="auto")
                    for text in (example.prompt, example.chosen, example.rejected)
                    if text is not None
                ),
            ]
        )
        for example in examples
    ]
    table = html.Table([html.Thead(html.Tr([html.Th(head) for head in heads])), html.Tbody(rows)], className="heads")
    return html.Div(table, className="heads-box", tabIndex=0, role="region", **{"aria-label": "The first pairs"})


def _cut(text: str) -> str:
    """Beginning and end of a text, cut between words where there are blanks to cut at."""
    if len(text) <= _HEAD + _TAIL + 3:
        return text
    head, tail = text[: _HEAD + 1], text[-_TAIL - 1 :]
    return f"{head.rpartition(' ')[0].rstrip() or head[:-1]} … {tail.partition(' ')[2].lstrip() or tail[1:]}"
