"""Findings as cards, the recognised layout, and the histogram of lengths."""

from __future__ import annotations

import itertools
from typing import Any

from dash import html

from dpo.dashboard.components import card, icon, light
from dpo.dashboard.theme import layout, rgba
from dpo.preferences.audit import Audit, Finding
from dpo.preferences.audit.findings import line

CHOSEN, REJECTED = "#2f9a4a", "#9a66d0"
TITLES = {
    "mispaired": "Answers belong to other prompts",
    "unk": "The vocabulary lacks symbols",
    "leakage": "Train and held out overlap",
    "duplicate-pairs": "Pairs repeat",
    "near-duplicate-pairs": "Pairs nearly repeat",
    "repeated-prompts": "Prompts repeat",
    "truncated": "Texts would be cut",
    "round-trip": "Texts do not come back",
    "identical-sides": "Both answers are equal",
    "blank": "Blank sides",
    "missing": "Missing text",
    "prompts-differ": "Two prompts in one row",
    "ties": "Ties",
    "prompt-in-answer": "Answers repeat the prompt",
    "swapped-block": "A block looks swapped",
    "secret": "Secrets",
    "swapped-labels": "Labels look swapped",
    "personal-data": "Personal data",
    "languages": "Languages",
    "other-language": "Answers in another language",
    "licence": "Licence",
    "unreadable": "Rows of another kind",
    "pairing-unknown": "Pairing cannot be told",
}
_STATES = {"high": "bad", "warning": "warn", "note": "ok"}


def detect_strip(result: Audit) -> html.Section:
    """What layout was recognised, and how surely."""
    text = f"{result.rows:,} rows, {result.pairs:,} pairs · confidence {result.confidence:.0%}"
    return card(
        html.Div(
            [icon("check", 20), html.Div([html.H2(result.layout), html.P(text, className="sub")], className="grow")],
            className="row",
        ),
        cls="pad detect",
    )


def finding_card(finding: Finding, pairs: int) -> html.Article:
    """One finding: state, title, how much, sentence, evidence, remedy."""
    state = _STATES[finding.severity]
    shortcut = finding.code.startswith("shortcut-")
    title = "A trivial rule separates the pairs" if shortcut else TITLES.get(finding.code, finding.code)
    head = [light(state), html.H3(title)]
    if shortcut:
        head.append(html.B(f"{finding.evidence['accuracy']:.2f}", className="num push"))
    elif finding.count:
        head.append(html.B(f"{finding.count:,} rows", className="num push"))
    return html.Article(
        [
            html.Div(head, className="row tight nowrap"),
            html.P(line(finding), className="sub"),
            _proof(finding, pairs),
            html.P([html.B("Remedy: "), finding.remedy], className="sub") if finding.remedy else None,
        ],
        className=f"audit card {state}",
        **{"data-code": finding.code},
    )


def _proof(finding: Finding, pairs: int) -> Any:
    evidence = finding.evidence
    if finding.code.startswith("shortcut-"):
        bars = [minibar("this rule", evidence["accuracy"]), minibar("chance", 0.5)]
        if "reward_accuracy" in evidence:
            bars.append(minibar("the run", evidence["reward_accuracy"]))
        return html.Div(bars)
    if finding.code == "unk":
        return html.Div([
            minibar("chosen", evidence["chosen"], "var(--chosen)"),
            minibar("rejected", evidence["rejected"], "var(--rejected)"),
        ])  # fmt: skip
    if finding.code == "mispaired" and pairs:
        cells, last = 47, max(pairs, finding.rows[-1][1] + 1)
        hit = [any(a * cells // last <= cell <= b * cells // last for a, b in finding.rows) for cell in range(cells)]
        return html.Div([html.I(className="x" if x else "") for x in hit], className="mini", title="File order")
    return None


def minibar(label: str, share: float, color: str = "var(--ink-3)") -> html.Div:
    """A labelled bar of a share."""
    bar = html.Div(html.I(style={"width": f"{100 * share:.1f}%", "--c": color}))
    return html.Div([html.Span(label), bar, html.B(f"{share:.1%}", className="num")], className="minibar")


def lengths(result: Audit | None) -> dict[str, Any]:
    """Histogram of the answers' lengths in characters, chosen beside rejected."""
    made = layout() | {"margin": {"l": 44, "r": 12, "t": 8, "b": 40}}
    made["xaxis"] = made["xaxis"] | {"title": {"text": "characters", "font": {"size": 12}}}
    if result is None:
        return {"data": [], "layout": made}
    characters = result.measures["characters"]
    edges = characters["edges"]
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    traces = []
    for side, color, dash in (("chosen", CHOSEN, "solid"), ("rejected", REJECTED, "5px,3px")):
        traces.append({
            "type": "scatter", "mode": "lines", "name": side, "x": middles, "y": characters[side]["histogram"],
            "line": {"color": color, "width": 2, "dash": dash, "shape": "hvh"},
            "fill": "tozeroy", "fillcolor": rgba(color, 0.12), "hovertemplate": "%{y:,} pairs",
        })  # fmt: skip
    made["annotations"] = [
        {
            "x": 1, "xref": "paper", "y": y, "yref": "paper", "xanchor": "right", "showarrow": False,
            "text": f"{side}, median {characters[side]['p50']:,}", "font": {"size": 12, "color": color, "weight": 600},
        }
        for side, color, y in (("chosen", CHOSEN, 0.98), ("rejected", REJECTED, 0.88))
    ]  # fmt: skip
    return {"data": traces, "layout": made}


def length_line(result: Audit) -> str:
    """What the histogram says."""
    rule = result.measures["shortcuts"].get("length")
    said = f"; {rule['says']} is chosen in {rule['accuracy']:.0%} of held-out pairs" if rule else ""
    chosen, rejected = (result.measures["characters"][side]["p50"] for side in ("chosen", "rejected"))
    return f"Median {chosen:,} and {rejected:,} characters{said}"
