"""Layout of the Compare page; `assets/js/compare` streams into it.

Six panes in three rows stand ready; those without a policy are hidden.  Answers are written by the
browser as tokens arrive, without a round trip through a callback, so the elements it writes into
have no children of ours.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html

from dpo.dashboard.browser import also, in_browser
from dpo.dashboard.compare import example, history, many, story, votes
from dpo.dashboard.compare.policies import DEFAULT, EXAMPLES, answering, options, records
from dpo.dashboard.components import action, box, button, card, glyph, icon, number, tint_scale
from dpo.dashboard.workbench import Workbench
from dpo.families import FAMILIES, Facts
from dpo.generation.settings import LAMBDA_LIMITS, MAX_SAMPLES, Sampling

_DECIMALS = 2  # of what is no whole number
# The settings that have a field on the page; assets/ reads their names from the page.
_FIELDS = [spec for spec in dataclasses.fields(Sampling) if "label" in spec.metadata]
_PANES = 6


def page(workbench: Workbench) -> list[Any]:
    """The page as it is before anything was asked."""
    known = answering(workbench.roots, workbench.remotes)
    shown = example.stored()
    first = [] if shown is None else [story.story(workbench, shown), story.question(shown)]
    return [
        html.H1("Compare", className="vh"),
        *first,
        _composer(example.defaults(shown, EXAMPLES[0])),
        _toolbar(shown is not None),
        many.many(),
        html.P("", id="cmp-belong", className="sub belong", role="status", hidden=True),
        html.Div([_row(row, options(known)) for row in range(_PANES // 2)], className="rows", id="cmp-rows"),
        _follow(),
        _reproduce(),
        votes.results(),
        html.P(
            f"The bundled policies are small ({story.sizes()}) and know casual chat only: longer answers drift, and "
            "facts are not to be trusted.",
            className="sub limits",
        ),
        dcc.Store(id="cmp-known", data=records(known)),
        dcc.Store(id="cmp-fields", data=[spec.name for spec in _FIELDS]),
        dcc.Store(id="cmp-example", data=shown),
        dcc.Store(id="cmp-patterns", data=example.PATTERNS),
        dcc.Store(id="cmp-loaded"),
        dcc.Store(id="cmp-written"),
        dcc.Interval(id="cmp-pairs-poll", interval=30_000),
    ]


def register(app: Dash, workbench: Workbench) -> None:
    """The controls' way to the browser's code, the lists of policies, and the routes of votes."""
    votes.register(app.server, workbench)
    history.register(app.server, workbench)
    names = ["cmp-prompt", *map(_field_id, _FIELDS)]
    columns = [f"cmp-policy-{pane}" for pane in range(_PANES)]
    current = [State("cmp-fields", "data"), *(State(name, "value") for name in names)]
    in_browser(app, "compare.generate", Output("cmp-loaded", "data"), Input("cmp-generate", "n_clicks"), *current)
    outputs = [Output(name, "value") for name in names]
    in_browser(app, "compare.restore", *outputs, Input("url", "search"), *current, first=True)
    strengths = [Input(f"cmp-lambda-{facts.key}", "value") for facts in FAMILIES]
    for function, *inputs in (
        ("compare.example", Input("cmp-example", "data"), Input("cmp-patterns", "data")),
        ("compare.wanted", Input("cmp-fields", "data"), *(Input(name, "value") for name in names)),
        ("compare.policies", Input("cmp-known", "data"), *(Input(name, "value") for name in columns)),
        ("compare.more", Input("cmp-samples", "value"), Input("cmp-noise", "checked")),
        ("compare.view", Input("cmp-mode", "value")),
        ("votes.choose", Input("cmp-votes-model", "value"), Input("cmp-votes-steps", "value")),
        ("compare.strength", *strengths),
    ):
        in_browser(app, function, also("cmp-written", "data"), *inputs, first="duplicate")
    in_browser(app, "votes.blind", Output("cmp-mode", "disabled"), Input("cmp-blind", "checked"), first=True)
    in_browser(app, "compare.dice", also("cmp-seed", "value"), Input("cmp-dice", "n_clicks"))
    follow = (Input("cmp-continue", "n_clicks"), State("cmp-next", "value"))
    in_browser(app, "compare.next", Output("cmp-next", "value"), *follow)
    for index, text in enumerate(EXAMPLES):
        click = Input(f"cmp-example-{index}", "n_clicks")
        app.clientside_callback(f"() => {text!r}", also("cmp-prompt", "value"), click, prevent_initial_call=True)

    @app.callback(
        Output("cmp-known", "data"),
        Output("cmp-votes-model", "data"),
        *(Output(name, "data") for name in columns),
        Input("cmp-pairs-poll", "n_intervals"),
    )
    def refresh(_: int) -> list[Any]:
        """Runs that have finished since the page was opened can be chosen at once."""
        known = answering(workbench.roots, workbench.remotes)
        data = options(known)
        return [records(known), options([choice for choice in known if not choice.note]), *([data] * _PANES)]


def _composer(values: dict[str, Any]) -> html.Section:
    numbers = html.Div([_field(spec, values[spec.name]) for spec in _FIELDS], className="fields")
    greedy = html.P(
        "Temperature 0 takes the likeliest token each time: top-p, top-k, seed and noise change nothing.",
        className="sub", id="cmp-greedy", hidden=True, role="status",
    )  # fmt: skip
    right = html.Div([numbers, greedy, _strength(), _start()], className="right")
    return card(_prompt(values["prompt"]), right, cls="composer")


def _prompt(value: str) -> html.Div:
    return box(
        dmc.Textarea(
            id="cmp-prompt", value=value, autosize=True, minRows=2, maxRows=8, className="prompt",
            placeholder="Write a prompt", **{"aria-label": "Prompt"},
        ),
        html.P(id="cmp-error", className="error-line", role="alert", hidden=True),
        html.Div(
            [
                html.Button(text, className="ex", id=f"cmp-example-{index}", n_clicks=0, type="button")
                for index, text in enumerate(EXAMPLES)
            ],
            className="exrow",
            role="group",
            **{"aria-label": "Example prompts"},
        ),
        html.Div(
            [
                part
                for facts in FAMILIES
                for part in (
                    glyph(facts.key),
                    html.Span([_model(facts), " sees"], className="label"),
                    html.Code("shown with the first answer", id=f"cmp-seen-{facts.key}", className="unseen"),
                    html.Span(id=f"cmp-seen-count-{facts.key}", className="sub num"),
                )
            ],
            className="sees",
        ),
        cls="left",
    )  # fmt: skip


def _start() -> html.Div:
    return box(
        dmc.Switch(id="cmp-noise", label="Same noise for all", size="xs", checked=True),
        html.Label(
            [
                "Samples",
                dmc.NumberInput(
                    id="cmp-samples", value=1, min=1, max=MAX_SAMPLES, allowDecimal=False, size="xs", w=56,
                    **{"aria-label": "Samples of each policy"},
                ),
            ],
            className="row tight label",
        ),
        html.Div(
            button("Generate", "play", "filled", kbd="Ctrl ↵", id="cmp-generate", n_clicks=0),
            id="cmp-generate-box",
            className="push",
        ),
        html.Div(
            button("Stop", "square", "filled", kbd="Esc", id="cmp-stop", n_clicks=0),
            id="cmp-stop-box",
            className="push",
            hidden=True,
        ),
        cls="row end-row",
    )  # fmt: skip


def _model(facts: Facts) -> html.Span:
    """What the family's models in the columns are called (the browser keeps it so)."""
    return html.Span(facts.label, **{"data-family-name": facts.key})


def _field_id(spec: dataclasses.Field[Any]) -> str:
    return "cmp-" + spec.name.replace("_", "-")


def _field(spec: dataclasses.Field[Any], value: float) -> Any:
    """The field of a setting; its limits, step and label are those that `Sampling` gives it."""
    about, more = spec.metadata, dict[str, Any](value=value)
    if spec.name == "seed":
        more["rightSection"] = action("dice", "New seed", id="cmp-dice", n_clicks=0)
    if isinstance(spec.default, float):
        more |= {"step": about["step"], "decimalScale": _DECIMALS}
    else:
        more["allowDecimal"] = False
    least = about["low"] + (10**-_DECIMALS if about["above"] else 0)
    return number(about["label"], id=_field_id(spec), min=least, max=about["high"], **more)


def _strength() -> html.Div:
    """λ of each family: logits = base + λ (DPO - base); 0 is the base, 1 the tuned policy."""
    return html.Div(
        [
            box(
                html.Span([glyph(facts.key), _model(facts), " strength λ"], className="row tight label"),
                html.Span("1.00", id=f"cmp-lambda-value-{facts.key}", className="num strong"),
                dmc.Slider(
                    id=f"cmp-lambda-{facts.key}", value=1, min=LAMBDA_LIMITS[0], max=LAMBDA_LIMITS[1], step=0.05,
                    size=4, thumbSize=14, label=None,
                    thumbLabel=f"Alignment strength of {facts.kind.lower()} models, 0 is base and 1 is DPO",
                    marks=[{"value": n, "label": t} for n, t in ((0, "0 base"), (1, "1 DPO"), (2, "2 over"))],
                ),
            )
            for facts in FAMILIES
        ],
        className="strength",
    )  # fmt: skip


def _toolbar(stored: bool) -> html.Div:
    again = button("Show the example", id="cmp-story-again", size="xs", variant="subtle", n_clicks=0)
    return box(
        dmc.SegmentedControl(
            id="cmp-mode", data=["Text", "Word diff", "Reward tint"], value="Text", size="xs",
            **{"aria-label": "Show answers as"},
        ),
        votes.switch(),
        votes.loop(),
        html.Span(
            [
                html.Span("pushed down", className="sub"),
                tint_scale(),
                html.Span("pulled up ± 0.8 nat", className="sub num"),
            ],
            id="cmp-scale",
            className="row tight",
            hidden=True,
        ),
        html.Span(id="cmp-progress", className="sub push num"),
        again if stored else None,
        history.menu(),
        button("Add a pane", "plus", id="cmp-add", size="xs"),
        button("Many prompts", "table", id="cmp-many-open", size="xs", n_clicks=0),
        id="cmp-view",
        cls="row toolbar",
    )  # fmt: skip


def _row(row: int, data: list[dict[str, Any]]) -> html.Section:
    head = box(
        html.H2("", className="named", id=f"cmp-row-title-{row}"),
        html.H2("", className="hidden-name", id=f"cmp-row-name-{row}"),
        html.Span("", className="sub hide-sm", id=f"cmp-row-kind-{row}"),
        html.Span(id=f"cmp-differ-{row}", className="sub num push"),
        cls="duo-head",
    )
    panes = [_pane(2 * row + side, data) for side in (0, 1)]
    return card(
        head, html.Div(panes, className="duo-body"), votes.bar(row), cls="duo", id=f"cmp-row-{row}",
        hidden=2 * row >= len(DEFAULT), **{"data-row": str(row)},
    )  # fmt: skip


def _pane(index: int, data: list[dict[str, Any]]) -> html.Div:
    value = DEFAULT[index] if index < len(DEFAULT) else None
    head = [
        html.Span("", className="policy named", id=f"cmp-name-{index}"),
        html.Span("", className="policy hidden-name", id=f"cmp-hidden-name-{index}"),
        html.Span(className="pill", id=f"cmp-pill-{index}", hidden=True),
        html.Span("", className="sub named about", id=f"cmp-about-{index}"),
        box(
            html.Div(
                dmc.Select(
                    id=f"cmp-policy-{index}", data=data, value=value, size="xs", w=150, allowDeselect=False,
                    searchable=True, nothingFoundMessage="No such policy", comboboxProps={"width": 280},
                    **{"aria-label": f"Policy of pane {index + 1}"},
                ),
                className="named",
            ),
            action("dice", "Answer again with another seed", className="js-again"),
            action("lens", "Open in Lens", className="js-lens"),
            action("copy", "Copy the answer", className="js-copy-answer"),
            html.Div(action("close", f"Remove pane {index + 1}", className="js-remove"), className="named"),
            dmc.Kbd(str(index + 1), size="xs", className="hide-sm"),
            cls="row tight nowrap pane-acts",
        ),
    ]  # fmt: skip
    return box(
        html.Div(head, className="pane-head"),
        html.P(id=f"cmp-note-{index}", className="sub named", hidden=True),
        html.Div(id=f"cmp-tabs-{index}", className="row tight samples", hidden=True),
        html.Details(
            [html.Summary("", className="sub"), html.Div()],
            id=f"cmp-earlier-{index}",
            className="earlier",
            hidden=True,
        ),
        html.Div(id=f"cmp-state-{index}", className="stateful", hidden=True),
        html.P(id=f"cmp-out-{index}", className="out empty-out"),
        html.Div(id=f"cmp-chips-{index}", className="chips"),
        cls="pane",
        role="region",
        tabIndex=-1,
        id=f"cmp-pane-{index}",
        hidden=value is None,
        **{"data-pane": str(index)},
    )


def _follow() -> html.Section:
    """The next turn of every pane's own conversation."""
    return card(
        dmc.Textarea(
            id="cmp-next", value="", autosize=True, minRows=1, maxRows=6, placeholder="Say something more to each",
            className="next", **{"aria-label": "Next turn"},
        ),
        button("Continue", id="cmp-continue", n_clicks=0),
        html.Div(button("Start over", id="cmp-over", variant="subtle"), id="cmp-over-box", hidden=True),
        html.P("", className="sub", id="cmp-follow-note"),
        cls="follow",
        id="cmp-follow",
        hidden=True,
    )  # fmt: skip


def _reproduce() -> html.Section:
    kinds = (("command", "command"), ("text", "text"), ("python", "Python"))
    return card(
        icon("terminal", 16),
        html.Code("", id="cmp-command"),
        box(
            *(button(f"Copy {label}", "copy", id=f"cmp-copy-{kind}", size="xs") for kind, label in kinds),
            button("JSON", "download", id="cmp-json", size="xs"),
            cls="row tight push",
        ),
        cls="repro",
        id="cmp-repro",
        hidden=True,
    )
