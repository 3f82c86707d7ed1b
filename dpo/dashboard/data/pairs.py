"""One pair of an audited source, as text, word diff or tokens."""

from __future__ import annotations

import difflib
import re
from typing import Any

from dash import html

from dpo.counting import counted
from dpo.dashboard.audit_jobs import AuditJob

_WORD = re.compile(r"\s+|\w+|[^\w\s]")


def shown(job: AuditJob, place: int, view: str | None) -> list[Any]:
    """One pair, as text, with the words that differ marked, or as tokens with those that the loss sees marked."""
    assert job.data is not None
    pair = job.data.pairs[int(place)]
    bodies: list[Any] = [pair["chosen"], pair["rejected"]]
    prompt: Any = pair["prompt"]
    if view == "Word diff":
        bodies = word_diff(pair["chosen"], pair["rejected"])
    elif view == "Tokens" and job.vocabulary is not None:
        tokenizer = job.vocabulary.lossless
        prompt = _tokens(tokenizer, pair["prompt"], "free", None)
        bodies = [_tokens(tokenizer, pair[side], "learned", "end") for side in ("chosen", "rejected")]
    sides = []
    for side, text, body in zip(("chosen", "rejected"), (pair["chosen"], pair["rejected"]), bodies, strict=True):
        facts = f"{counted(len(text), 'character')} · {counted(len(text.split()), 'word')}"
        if job.vocabulary is not None:
            encoding = job.vocabulary.lossless.encode(text, add_special_tokens=False)
            facts += f" · {counted(len(encoding.ids) + 1, 'token')}"
        head = html.Div(
            [html.Span(side, className=f"pill {side}"), html.Span(facts, className="sub num")], className="row"
        )
        sides.append(html.Div([head, html.P(body, className="pair-text", dir="auto")], className=f"side {side[0]}"))
    return [html.P(prompt, className="pair-prompt", dir="auto"), html.Div(sides, className="pair")]


def word_diff(chosen: str, rejected: str) -> list[Any]:
    """Both texts, each with the words marked that the other does not have there."""
    one, other = _WORD.findall(chosen[:20_000]), _WORD.findall(rejected[:20_000])
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=False)
    bodies: list[list[Any]] = [[], []]
    for kind, a, b, c, d in matcher.get_opcodes():
        for body, words in zip(bodies, ("".join(one[a:b]), "".join(other[c:d])), strict=True):
            if words:
                body.append(words if kind == "equal" or not words.strip() else html.Mark(words, className="own"))
    return bodies


def _tokens(tokenizer: Any, text: str, mark: str, end: str | None) -> list[Any]:
    encoding = tokenizer.encode(text[:20_000], add_special_tokens=False)
    spans = []
    done = 0
    for place, (token, (_, last)) in enumerate(zip(encoding.tokens, encoding.offsets, strict=True)):
        # The later bytes of one character are tokens without text of their own.
        spans.append(html.Span(text[done:last], className=f"token {mark} {'odd' if place % 2 else ''}", title=token))
        done = max(done, last)
    if end:
        spans.append(html.Span("⏎ end", className="token learned end", title="EOS: the loss sees it too"))
    return spans
