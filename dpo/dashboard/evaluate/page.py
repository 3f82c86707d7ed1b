"""Layout of the Evaluate page; what is in it comes by the routes of `api`, and is put there by assets/js/evaluate."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, dcc, html

from dpo.dashboard.browser import in_browser
from dpo.dashboard.components import box, button, card, card_head, chart, command, icon, page_title
from dpo.dashboard.evaluate.setup import fields, running, setup
from dpo.dashboard.workbench import Workbench
from dpo.evaluation.formats.export import FORMATS

_FORMATS = {
    "html": "One HTML report", "csv": "CSV tables", "latex": "LaTeX tables", "alpaca-eval": "AlpacaEval",
    "arena-hard": "Arena-Hard", "battles": "Battles, as arenas keep them", "llm-comparator": "LLM Comparator",
    "lm-eval": "lm-eval samples", "every-eval-ever": "Every Eval Ever", "rewardbench": "RewardBench pairs",
}  # fmt: skip


def page(workbench: Workbench) -> list[Any]:
    """The page before an evaluation is chosen."""
    return [
        page_title(
            "Evaluate",
            html.Span("Is it better, by how much, how sure, and at what price?", id="ev-sub"),
            html.Select(id="ev-choose", className="ev-select", hidden=True, **{"aria-label": "Evaluation"}),
            _exports(),
            button("Vote on 40 prompts", "check", id="ev-vote"),
            button("New evaluation", "plus", "filled", id="ev-new"),
        ),
        html.Div(id="ev-problem", role="alert"),
        _none_yet(),
        setup(workbench),
        running(),
        _ballot(),
        box(
            _headline(),
            _who_wins(),
            box(
                _figure("temperature", "Win rate against temperature"),
                _figure("distance", "Reward against √KL"),
                _slices(),
                cls="grid ev-charts",
            ),
            _words(),
            _prompts(),
            _judges(),
            cls="main-col",
            id="ev-result",
            hidden=True,
        ),
        dcc.Store(id="ev-shown"),
        dcc.Store(id="ev-asked"),
    ]


def callbacks(app: Dash) -> None:
    """The address is read in the browser; everything else asks the routes."""
    place = (Input("url", "search"), Input("url", "pathname"))
    in_browser(app, "evaluate.restore", Output("ev-shown", "data"), *place, first=True)
    in_browser(app, "evaluate.plan", Output("ev-asked", "data"), *fields(), first=True)


def _exports() -> html.Details:
    items = [
        html.Button(_FORMATS.get(name, name), type="button", **{"data-format": name})
        for name in sorted(FORMATS, key=lambda name: list(_FORMATS).index(name) if name in _FORMATS else 99)
    ]
    opener = html.Summary([icon("download"), "Export", icon("chevron", 12)], className="ev-button")
    return html.Details([opener, box(*items, cls="menu")], className="menu-box ev-export", id="ev-export", hidden=True)


def _none_yet() -> html.Section:
    return card(
        html.H2("No evaluation yet"),
        html.P("An evaluation asks whether answers became better on prompts that training never saw.", className="sub"),
        command("dpo eval demo/gpt2-dpo --dataset sample --judge reward:demo/t5-dpo"),
        html.P("It appears here while it is made.", className="sub"),
        cls="pad ev-empty",
        id="ev-empty",
        hidden=True,
    )


def _ballot() -> html.Section:
    """Two answers without names; what is shown in it is put there by assets/js/evaluate/ballot.js."""
    verdicts = (("a", "A better"), ("tie", "Tie"), ("bad", "Both bad"), ("b", "B better"))
    head = card_head(
        html.H2("Which answer is better?"),
        html.P(id="ev-ballot-note", className="sub num", role="status"),
        box(button("Close", None, id="ev-ballot-close", size="xs"),
            button("Count the votes", "check", id="ev-ballot-count", size="xs"), cls="row tight"),
        cls="wrap",
    )  # fmt: skip
    answers = [
        box(html.H3(side), html.P(id=f"ev-ballot-{side.lower()}", className="out small"), cls="pane other")
        for side in ("A", "B")
    ]
    buttons = [
        html.Button(label, type="button", className="vote-button", **{"data-verdict": verdict})
        for verdict, label in verdicts
    ]
    ask = box(
        html.P(id="ev-ballot-prompt", className="pair-prompt"), box(*answers, cls="ev-pair"),
        box(*buttons, cls="row tight", role="group", **{"aria-label": "Verdict"}), cls="ev-ballot", id="ev-ballot-ask",
    )  # fmt: skip
    return card(head, ask, id="ev-ballot", hidden=True)


def _headline() -> html.Section:
    return card(
        box(
            box(html.H2(id="ev-headline", className="ev-headline"), role="status"),
            html.Div(id="ev-remarks"),
            cls="left",
        ),
        html.Div(id="ev-facts", className="right"),
        cls="ev-head",
    )


def _who_wins() -> html.Section:
    note = html.P(
        "Left is won, grey tied, right lost. 95% intervals over prompts; words are adjusted for all tests of a judge.",
        className="sub", id="ev-wins-note",
    )  # fmt: skip
    controls = box(
        html.Div(id="ev-temperatures", className="ev-choices", role="group", **{"aria-label": "Temperature"}),
        html.Div(id="ev-judges", className="ev-choices", role="group", **{"aria-label": "Judge"}),
        cls="row tight",
    )
    return card(
        card_head(html.H2("Who wins"), note, controls, cls="wrap"), html.Div(id="ev-wins", className="ev-scroll")
    )


def _figure(key: str, title: str) -> html.Section:
    """A chart that is there only where the evaluation has what it draws."""
    note = html.P(id=f"ev-{key}-note", className="sub wrap")
    head = card_head(html.H3(title, id=f"ev-{key}-name"), note)
    figure = chart(f"ev-{key}", 300, f"#ev-{key}-name #ev-{key}-note")
    return card(head, figure, cls="chart", id=f"ev-{key}-card", hidden=True)


def _slices() -> html.Section:
    head = card_head(html.H3("By slice"), html.P(id="ev-slices-note", className="sub wrap"))
    return card(head, html.Div(id="ev-slices", className="ev-slices"), cls="chart")


def _words() -> html.Section:
    note = html.P(
        "Weighted log-odds with an informative prior; sure over prompts, adjusted for all words.", className="sub"
    )
    choices = html.Div(id="ev-words-of", className="ev-choices", role="group", **{"aria-label": "Words of"})
    return card(card_head(html.H2("What changed, in words"), note, choices, cls="wrap"), html.Div(id="ev-words"))


def _prompts() -> html.Section:
    search = dmc.TextInput(
        id="ev-search", value="", placeholder="Search prompts and answers", size="xs", w=240,
        leftSection=icon("search", 14), **{"aria-label": "Search prompts and answers"},
    )  # fmt: skip
    pages = box(
        html.Span(id="ev-count", className="sub num", role="status"),
        html.Span("j and k move, Enter opens, c Compare, l Lens", className="sub hide-sm"),
        box(button("Previous", None, id="ev-previous", size="xs"), button("Next", None, id="ev-next", size="xs"),
            cls="row tight push"),
        cls="row ev-pages",
    )  # fmt: skip
    note = html.P(id="ev-prompts-note", className="sub")
    return card(
        card_head(html.H2("Prompts"), note, search, cls="wrap"),
        html.Div(id="ev-filters", className="ev-filters", role="group", **{"aria-label": "Show"}),
        html.Div(id="ev-rows", className="ev-scroll"),
        pages,
    )


def _judges() -> html.Section:
    note = html.P(id="ev-judge-note", className="sub ev-warn")
    return card(card_head(html.H2("Judge check"), note), html.Div(id="ev-judge-check", className="ev-scroll"))
