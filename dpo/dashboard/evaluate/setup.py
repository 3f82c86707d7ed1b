"""The set-up of a new evaluation, and the card that follows one: their layout."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import Input, html

from dpo.dashboard.choices import by_family, references, tuned
from dpo.dashboard.components import box, button, card, chart, command, number
from dpo.dashboard.web.access import Access, Right
from dpo.dashboard.workbench import Workbench
from dpo.families import FAMILIES
from dpo.generation.settings import PLAIN

_FIELDS = (
    "policies",
    "against",
    "dataset",
    "prompts",
    "samples",
    "temps",
    "max-new-tokens",
    "seed",
    "judging",
    "other-judge",
)


def fields() -> list[Input]:
    """What a set-up is made of, in the order in which the browser is handed it (assets/js/evaluate/setup.js)."""
    return [*(Input(f"ev-{name}", "value") for name in _FIELDS), Input("ev-until-clear", "checked")]


def setup(workbench: Workbench) -> html.Section:
    """What, on which prompts, judged by whom; at the right what this size can see, and the command."""
    return card(
        box(*_what(workbench), *_prompts(workbench), *_judges(workbench), cls="left"),
        _size(workbench.access),
        cls="ev-setup",
        id="ev-setup",
        hidden=True,
    )


def _what(workbench: Workbench) -> list[Any]:
    return [
        box(html.H2("What"), html.P("Each policy meets the one that it was tuned from.", className="sub")),
        dmc.MultiSelect(
            id="ev-policies", label="Policies", data=by_family(tuned(workbench.roots)),
            value=[facts.tuned for facts in FAMILIES], searchable=True, size="sm", maxValues=8,
        ),
        dmc.Select(
            id="ev-against", label="Against", data=by_family(references(workbench.roots)), value=None, clearable=True,
            searchable=True, size="sm", placeholder="what each was tuned from",
        ),
    ]  # fmt: skip


def _prompts(workbench: Workbench) -> list[Any]:
    offered = [group for group in workbench.audits.offered() if group["group"] != "Uploads"]
    fields = [
        dmc.Select(
            id="ev-dataset", label="Held-out prompts of", data=offered, value="sample", clearable=True,
            searchable=True, size="sm", placeholder="the first policy's own data",
        ),
        number("How many", id="ev-prompts", value=200, min=1, max=100_000, allowDecimal=False),
        number("Samples of each", id="ev-samples", value=1, min=1, max=16, allowDecimal=False),
        dmc.TextInput(id="ev-temps", label="Temperatures", value=f"{PLAIN.temperature:g}", size="sm"),
        number("New tokens, at most", id="ev-max-new-tokens", value=200, min=1, max=4096, allowDecimal=False),
        number("Seed", id="ev-seed", value=0, min=0, allowDecimal=False),
    ]  # fmt: skip
    return [html.H2("On which prompts"), box(*fields, cls="ev-fields")]


def _judges(workbench: Workbench) -> list[Any]:
    rewards = [
        {"value": f"reward:{choice.value}", "label": f"Training preference of {choice.label}"}
        for choice in tuned(workbench.roots)
    ]
    remotes = [
        {"value": f"endpoint:{one.policy}", "label": f"{one.name}, {one.url}"} for one in workbench.remotes if one.model
    ]
    offered = [
        {"group": "Trained policies", "items": rewards},
        {"group": "People", "items": [{"value": "votes", "label": "Votes cast on Compare"}]},
        *([{"group": "Endpoints, asked in both orders", "items": remotes}] if remotes else []),
    ]
    return [
        box(
            html.H2("Judged by"),
            html.P("The first one makes the headline. The rules longer and emoji always judge beside.",
                   className="sub"),
        ),
        dmc.MultiSelect(
            id="ev-judging", label="Judges", data=offered, value=[f"reward:{FAMILIES[0].tuned}"], searchable=True,
            size="sm", maxValues=8,
        ),
        dmc.TextInput(
            id="ev-other-judge", label="Another judge", value="", size="sm", debounce=400,
            placeholder="reward-model:NAME, endpoint:URL#MODEL, battles:FILE",
        ),
    ]  # fmt: skip


def _size(access: Access) -> html.Div:
    may = access.grants(Right.TRAIN)
    return box(
        html.P("What this size can see", className="sub"),
        html.H2(id="ev-size", className="ev-size", role="status"),
        html.P(id="ev-size-note", className="sub"),
        chart("ev-size-figure", 210, "#ev-size #ev-size-note"),
        html.Div(id="ev-sizes", className="ev-choices", role="group", **{"aria-label": "Sizes"}),
        dmc.Checkbox(id="ev-until-clear", label="Stop as soon as the first judge can tell", size="xs", checked=False),
        html.P(id="ev-work", className="sub num"),
        html.P(id="ev-setup-problem", className="error-line", role="alert"),
        box(
            button("Close", None, id="ev-close"),
            button("Start", "play", "filled", id="ev-start", disabled=not may),
            cls="row end-row",
        ),
        html.P("" if may else access.refusal(Right.TRAIN), className="sub", id="ev-may"),
        command("dpo eval", "ev-command"),
        cls="right",
    )


def running() -> html.Section:
    """How far an evaluation is."""
    return card(
        box(
            box(html.H2(id="ev-run-title"), html.P(id="ev-run-note", className="sub num")),
            box(
                button("Stop and show what there is", "square", "filled", id="ev-stop"),
                button("Resume", "play", "filled", id="ev-resume"),
                cls="row tight",
            ),
            cls="card-head",
        ),
        html.Progress(id="ev-run-bar", max="1", value="0", className="ev-bar-all", **{"aria-label": "Evaluated"}),
        box(html.Div(id="ev-run-parts"), html.Div(id="ev-run-live", role="status"), cls="ev-run"),
        id="ev-running",
        hidden=True,
    )
