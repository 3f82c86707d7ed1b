"""The pairs of an audited source: found, ordered, shown as text, word diff or tokens, and exported."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

import numpy as np
from dash import html
from numpy.typing import NDArray

from dpo.dashboard.data.desk import Job

SIDES = ("prompt", "chosen", "rejected")
ORDERS = (
    "File order", "Chosen longer by", "Rejected longer by", "Longest pair", "Shortest pair", "Worst fit to the prompt",
    "Most emoji in chosen",
)  # fmt: skip
MOST_LISTED = 200
MOST_EXPORTED = 20_000
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


def select(job: Job, text: str, finding: str, order: str) -> NDArray[np.int64]:
    """Places of the pairs that hold `text` and belong to a finding ("" is all), in the order asked for."""
    assert job.data is not None
    key = (text, finding, order)
    if key in job.orders:
        found: NDArray[np.int64] = job.orders[key]
        return found
    places = np.arange(len(job.data.pairs))
    if finding:
        places = places[_of_finding(job, finding)]
    if text.strip():
        places = places[_holding(job, text.strip())[places]]
    values = _order(job, order)
    if values is not None:
        places = places[np.argsort(-values[places], kind="stable")]
    if len(job.orders) > 20:
        job.orders.clear()
    job.orders[key] = places
    return places


def listed(job: Job, places: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Rows for the table: the first `MOST_LISTED` places."""
    assert job.data is not None and job.signals is not None
    some = places[:MOST_LISTED]
    batch = job.data.pairs[some.tolist()] if len(some) else {side: [] for side in SIDES}
    surface = job.signals.surface
    return [
        {
            "place": int(place),
            "row": int(job.signals.row[place]),
            "prompt": batch["prompt"][i][:300],
            "chosen": int(surface["chosen"][place, 0]),
            "rejected": int(surface["rejected"][place, 0]),
            "difference": int(surface["chosen"][place, 0] - surface["rejected"][place, 0]),
            "emoji": int(surface["chosen"][place, 1] - surface["rejected"][place, 1]),
        }
        for i, place in enumerate(some)
    ]


def exported(job: Job, places: NDArray[np.int64]) -> str:
    """The selection as JSON lines (at most `MOST_EXPORTED` pairs)."""
    assert job.data is not None
    names = [name for name in job.data.pairs.column_names if name != "row"]
    lines = []
    for start in range(0, min(len(places), MOST_EXPORTED), 1024):
        batch = job.data.pairs[places[start : start + 1024][: MOST_EXPORTED - start].tolist()]
        for values in zip(*(batch[name] for name in names), strict=True):
            row = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return "".join(lines)


def shown(job: Job, place: int, view: str) -> list[Any]:
    """One pair, as text, with the words that differ marked, or as tokens with those that the loss sees marked."""
    assert job.data is not None
    pair = job.data.pairs[int(place)]
    bodies: list[Any] = [pair["chosen"], pair["rejected"]]
    prompt: Any = pair["prompt"]
    if view == "Word diff":
        bodies = _diff(pair["chosen"], pair["rejected"])
    elif view == "Tokens" and job.vocabulary is not None:
        tokenizer = job.vocabulary.lossless
        prompt = _tokens(tokenizer, pair["prompt"], "free", None)
        bodies = [_tokens(tokenizer, pair[side], "learned", "end") for side in ("chosen", "rejected")]
    sides = []
    for side, text, body in zip(("chosen", "rejected"), (pair["chosen"], pair["rejected"]), bodies, strict=True):
        facts = f"{len(text):,} characters · {len(text.split()):,} words"
        if job.vocabulary is not None:
            encoding = job.vocabulary.lossless.encode(text, add_special_tokens=False)
            facts += f" · {len(encoding.ids) + 1:,} tokens"
        head = html.Div(
            [html.Span(side, className=f"pill {side}"), html.Span(facts, className="sub num")], className="row"
        )
        sides.append(html.Div([head, html.P(body, className="pair-text", dir="auto")], className=f"side {side[0]}"))
    number = html.Span(f"Row {pair['row']:,}", className="sub num")
    return [number, html.P(prompt, className="pair-prompt", dir="auto"), html.Div(sides, className="pair")]


def _of_finding(job: Job, code: str) -> NDArray[np.bool_]:
    """Which places a finding names (by row number, as far as it lists them)."""
    assert job.signals is not None and job.audit is not None
    rows = job.signals.row
    hit = np.zeros(len(rows), bool)
    for finding in job.audit.findings:
        if finding.code == code:
            for first, last in finding.rows:
                hit |= (rows >= first) & (rows <= last)
    return hit


def _holding(job: Job, text: str) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    assert job.data is not None
    hit = np.zeros(len(job.data.pairs), bool)
    arrow = job.data.pairs.with_format("arrow")
    for start in range(0, len(hit), 8192):
        batch = arrow[start : start + 8192]
        for side in SIDES:
            found = pc.match_substring(batch[side], text, ignore_case=True).to_numpy()
            hit[start : start + len(found)] |= found.astype(bool)
    return hit


def _order(job: Job, order: str) -> NDArray[np.float64] | None:
    assert job.signals is not None
    chosen, rejected = (job.signals.surface[side].astype(float) for side in ("chosen", "rejected"))
    if order == "Worst fit to the prompt":
        columns = job.signals.columns
        return -np.array([_overlap(columns["prompt"].row(i), columns["rejected"].row(i)) for i in range(len(chosen))])
    return {
        "Chosen longer by": chosen[:, 0] - rejected[:, 0],
        "Rejected longer by": rejected[:, 0] - chosen[:, 0],
        "Longest pair": chosen[:, 0] + rejected[:, 0],
        "Shortest pair": -(chosen[:, 0] + rejected[:, 0]),
        "Most emoji in chosen": chosen[:, 1] - rejected[:, 1],
    }.get(order)


def _overlap(prompt: NDArray[np.int32], answer: NDArray[np.int32]) -> float:
    """Share of a prompt's different words that the answer takes up."""
    words = set(prompt.tolist())
    return len(words & set(answer.tolist())) / max(len(words), 1)


def _diff(chosen: str, rejected: str) -> list[Any]:
    """Both texts with the words marked that the other does not have there."""
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
    for place, (token, (first, last)) in enumerate(zip(encoding.tokens, encoding.offsets, strict=True)):
        said = text[first:last] or token
        spans.append(html.Span(said, className=f"token {mark} {'odd' if place % 2 else ''}".strip(), title=token))
    if end:
        spans.append(html.Span("⏎ end", className="token learned end", title="EOS: the loss sees it too"))
    return spans
