"""Findings as cards, the recognised layout, and the histogram of lengths."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from typing import Any

from dash import html

from dpo.counting import counted
from dpo.dashboard.ches_jobs import CODE as CHES
from dpo.dashboard.components import box, button, light
from dpo.dashboard.theme import CHOSEN, REJECTED, blank, layout, rgba
from dpo.preferences.audit import Audit, Finding
from dpo.preferences.audit.mispaired import CODES
from dpo.preferences.audit.remedies import STRIP, advised, clean_command

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
    "not-an-answer": "No answer at the end",
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
    "mispaired-rows": "Single rows fit other prompts",
    "unrelated-side": "One side fits none of its rows",
    "chat-markup": "Chat template tokens in texts",
    "unpaired": "Answers without a partner",
    CHES: "Chosen answers that may fall",
}
SHORTCUT = "shortcut-"
EVERYTHING = "everything"
"""The key of the button that does what all findings advise."""


# What a flag of `dpo data clean` does to rows, on its button.
FIXES = {
    "--drop-identical": "Drop these rows",
    "--drop-duplicates": "Drop the repeats",
    "--drop-mispaired": "Drop these rows",
    "--repair-mispaired": "Re-pair these rows",
    "--drop-leaking": "Drop from held out",
    "--drop-swapped": "Drop these rows",
    "--drop-private": "Drop these rows",
}


def finding_cards(result: Audit) -> list[html.Article]:
    """A card for each finding, the shortcuts together on one; what `dpo data clean` can mend has a button."""
    rules = [finding for finding in result.findings if finding.code.startswith(SHORTCUT)]
    cards = []
    for finding in result.findings:
        if finding not in rules:
            cards.append(finding_card(finding, result.rows))
        elif finding is rules[0]:
            cards.append(_shortcut_card(rules))
    return cards


def remedies(result: Audit, source: str, flags: str = "") -> str:
    """The command that applies what the findings advise; `flags` say how the source is read."""
    cleaning = clean_command(source, result.findings, flags)
    return cleaning or f"dpo data audit {shlex.quote(source)}{flags} --json audit.json"


def _shortcut_card(rules: Sequence[Finding]) -> html.Article:
    state = rules[0].severity
    bars = [minibar(rule.evidence["rule"], rule.evidence["accuracy"]) for rule in rules]
    reached = rules[0].evidence.get("reward_accuracy")
    if reached is not None:
        bars.append(minibar("the run", reached, "var(--ink)"))
    best = max(rules, key=lambda rule: float(rule.evidence["accuracy"]))
    head = [light(state), html.H3("A trivial rule separates the pairs")]
    head.append(html.B(f"{best.evidence['accuracy']:.2f}", className="num push"))
    return html.Article(
        [
            html.Div(head, className="row tight nowrap"),
            html.P(f"{best.sentence}. Chance is 50 %.", className="sub"),
            html.Div(bars),
            html.P("A run's reward accuracy says little while it is not above these.", className="sub"),
            fix_button(SHORTCUT, rules),
        ],
        className=f"audit card {state}",
        **{"data-code": "shortcuts"},
    )


def finding_card(finding: Finding, pairs: int) -> html.Article:
    """One finding: state, title, how much, sentence, evidence, remedy."""
    state = finding.severity
    head = [light(state), html.H3(TITLES.get(finding.code, finding.code))]
    if finding.count:
        head.append(html.B(counted(finding.count, "row"), className="num push"))
    return html.Article(
        [
            html.Div(head, className="row tight nowrap"),
            html.P(finding.with_rows(), className="sub"),
            _proof(finding, pairs),
            html.P([html.B("Remedy: "), finding.remedy], className="sub") if finding.remedy else None,
            fix_button(finding.code, [finding]),
        ],
        className=f"audit card {state}",
        **{"data-code": finding.code},
    )


def findings_of(result: Audit, key: str) -> list[Finding]:
    """What the button of a key mends: one finding, the shortcuts, or `EVERYTHING`."""
    if key == SHORTCUT:
        return [finding for finding in result.findings if finding.code.startswith(SHORTCUT)]
    return [finding for finding in result.findings if key in (EVERYTHING, finding.code)]


def fix_label(key: str, findings: Sequence[Finding]) -> str:
    """A button's words; empty where nothing can be mended."""
    if key == CHES:
        return "Drop these rows"
    flags = advised(findings)
    if not flags or key == EVERYTHING:
        return "Mend all of this" if flags else ""
    return FIXES.get(flags[0]) or f"Strip {flags[0].removeprefix(STRIP).replace(' ', ', ')}"


def fix_button(key: str, findings: Sequence[Finding], variant: str = "default") -> Any:
    """Opens the preview of a remedy (`cleaning`); None where nothing can be mended."""
    text = fix_label(key, findings)
    return button(text, None, variant, id={"type": "da-fix", "key": key}, size="xs", n_clicks=0) if text else None


def _proof(finding: Finding, pairs: int) -> Any:
    evidence = finding.evidence
    if finding.code == "unk":
        return box(
            minibar("chosen", evidence["chosen"], "var(--chosen)"),
            minibar("rejected", evidence["rejected"], "var(--rejected)"))  # fmt: skip
    if finding.code in CODES and finding.rows and pairs:
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
    if result is None:
        return blank()
    made = layout() | {"margin": {"l": 44, "r": 12, "t": 8, "b": 40}}
    made["xaxis"] = made["xaxis"] | {"title": {"text": "characters", "font": {"size": 12}}}
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
    text = f"; {rule['says']} wins {rule['accuracy']:.0%}" if rule else ""
    chosen, rejected = (result.measures["characters"][side]["p50"] for side in ("chosen", "rejected"))
    return f"Median {chosen:,} and {rejected:,}{text}"


def under_way(title: html.H2 | html.B, key: str, step: str, share: float) -> list[Any]:
    """How far a work on an audit is, and the way to end it; drawn anew at each poll, so its focus is kept by its id."""
    percent = round(100 * share)
    bar = html.Div(
        html.I(style={"width": f"{percent}%"}), className="progress", role="progressbar",
        **{"aria-label": title.children, "aria-valuenow": str(percent), "aria-valuemin": "0", "aria-valuemax": "100"},
    )  # fmt: skip
    state = html.P(f"{step[:1].upper()}{step[1:]} ({percent}%)", className="sub")
    cancel = button("Cancel", id={"type": "da-cancel", "key": key}, size="xs", n_clicks=0)
    return [box(box(title, state, cls="grow"), cancel, cls="row"), bar]
