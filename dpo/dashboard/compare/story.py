"""What a first visit is shown above the stored answers: what DPO changed in them, how it is made, and where to go.

The sentence is written by the browser from the answers on screen (assets/js/compare/summary.js), as the line above
each row is; sizes come from the records of the bundled runs.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from dash import html

from dpo.dashboard.choices import bundled_run, is_bundled, size_text
from dpo.dashboard.components import box, button, card, glyph
from dpo.dashboard.workbench import Workbench
from dpo.families import FAMILIES


def story(workbench: Workbench, example: dict[str, Any]) -> html.Section:
    """One sentence and one line of pictures."""
    around = html.Button("Show me around", type="button", className="around js-walk")
    says = html.P(id="cmp-story-says", className="story-says")
    acts = box(
        button("Try yours", variant="filled", id="cmp-story-try", n_clicks=0),
        _way("Why?", "token by token", _lens(example), "cmp-story-why"),
        _way("How?", "the training", _training(workbench), "cmp-story-how"),
        html.Span([_origin(example["tried"]), around], className="sub origin"),
        cls="row",
    )
    return card(box(says, acts, cls="story-left"), _picture(), cls="story", id="cmp-story")


def question(example: dict[str, Any]) -> html.Section:
    """The question of the stored answers and the settings that made them, in a line."""
    settings = example["settings"]
    parts = (
        f"temperature {settings['temperature']:g}",
        f"top-p {settings['top_p']:g}",
        f"repetition penalty {settings['repetition_penalty']:g}",
        f"{settings['max_new_tokens']} tokens",
        f"seed {settings['seed']}",
    )
    return card(
        html.P(example["prompt"], className="question-text"),
        html.Span(" · ".join(parts), className="sub num push hide-sm"),
        button("Change", id="cmp-story-change", size="xs", n_clicks=0),
        button("Many prompts", id="cmp-many-first", size="xs", n_clicks=0),
        cls="question",
    )


def sizes() -> str:
    """How large the bundled policies are, in words."""
    found = [bundled_run(name).info["policy"]["parameters"] for facts in FAMILIES for name in (facts.base, facts.tuned)]
    return f"{size_text(min(found))} to {size_text(max(found))} parameters"


def _origin(tried: int) -> str:
    picked = f", picked from {tried} for what it shows" if tried > 1 else ""
    return f"A stored example{picked}; nothing is loaded yet. "


def _way(word: str, where: str, address: str, ident: str) -> html.A:
    return html.A([html.B(word), html.Span(where)], href=address, id=ident, className="way js-nav")


def _lens(example: dict[str, Any]) -> str:
    """The Lens with both answers of the first family: the tuned policy's, and its base's beside it."""
    texts = {answer["policy"]: answer["text"] for answer in example["answers"]}
    facts = FAMILIES[0]
    query = {"policy": facts.tuned, "prompt": example["prompt"], "a": texts[facts.tuned], "b": texts[facts.base]}
    return f"/lens?{urlencode(query)}"


def _training(workbench: Workbench) -> str:
    """The curves of the bundled DPO runs, where this server shows them."""
    runs = [str(run.path) for run in workbench.runs.find() if run.kind == "dpo" and is_bundled(run)]
    return "/training" + (f"?{urlencode([('run', path) for path in runs])}" if runs else "")


def _picture() -> html.Div:
    pairs = sorted({bundled_run(facts.tuned).info["dataset"]["train"] for facts in FAMILIES})
    many = "–".join(f"{count:,}" for count in pairs) + " pairs"
    parts = [
        _step([glyph(facts.key, False) for facts in FAMILIES], "Base", "taught to answer"),
        html.Span("+", className="plus"),
        _step(
            [html.I(className="bar preferred"), "preferred", html.I(className="bar rejected"), "rejected"],
            many,
            "two answers to each",
            "bars",
        ),
        html.Span([html.Span("DPO"), html.I()], className="arrow"),
        _step([glyph(facts.key) for facts in FAMILIES], "DPO", "nearer to the preferred"),
    ]
    label = f"A base policy and {many}, each a preferred and a rejected answer, make by DPO the tuned policy."
    return html.Div(parts, className="story-picture", role="img", **{"aria-label": label})


def _step(drawn: list[Any], name: str, text: str, kind: str = "") -> html.Div:
    return box(html.Div(drawn, className=f"drawn {kind}"), html.B(name), html.Span(text, className="sub"), cls="step")
