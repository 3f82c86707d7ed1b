"""Layout of the Compare page; `assets/compare.js` streams into it.

Answers are written by the browser as tokens arrive, without a round trip through a callback, so
the elements it writes into have no children of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from dpo.dashboard.compare import votes
from dpo.dashboard.compare.arms import EXAMPLES, pairs
from dpo.dashboard.components import action, button, card, glyph, icon, number
from dpo.dashboard.shell import Page
from dpo.dashboard.theme import FAMILY_LABEL
from dpo.generation.settings import Sampling

_DEFAULTS = Sampling()
_FAMILIES = ("t5", "gpt2")
_KIND = {"t5": "encoder–decoder", "gpt2": "decoder only"}
_SETTINGS = ("temperature", "top-p", "top-k", "max-new", "seed")


def page(roots: Sequence[Path]) -> Page:
    """The page as it is before anything was asked."""
    body = [
        html.H1("Compare", className="vh"),
        _composer(),
        _toolbar(),
        html.Div([_family(family, roots) for family in _FAMILIES], className="rows", id="cmp-rows"),
        _reproduce(),
        votes.results(),
        html.P(
            "The bundled policies are small (5 to 9 million parameters) and know casual chat only: the first sentences "
            "are good, longer answers drift, and facts are not to be trusted.",
            className="sub limits",
        ),
        dcc.Store(id="cmp-loaded"),
    ]
    return Page("/", "compare", "Compare", body)


def register(app: Dash, roots: Sequence[Path]) -> None:
    """Wire the buttons and keys to the browser's code."""
    values = [State("cmp-prompt", "value"), *(State(f"cmp-{name}", "value") for name in _SETTINGS)]
    chosen = [State(f"cmp-pair-{family}", "value") for family in _FAMILIES]
    app.clientside_callback(
        ClientsideFunction("compare", "generate"),
        Output("cmp-loaded", "data"),
        Input("cmp-generate", "n_clicks"),
        *values,
        *chosen,
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("compare", "restore"),
        Output("cmp-prompt", "value"),
        *(Output(f"cmp-{name}", "value") for name in _SETTINGS),
        *(Output(f"cmp-pair-{family}", "value") for family in _FAMILIES),
        Input("url", "search"),
        *values,
        *chosen,
    )
    app.clientside_callback(
        ClientsideFunction("compare", "dice"),
        Output("cmp-seed", "value", allow_duplicate=True),
        Input("cmp-dice", "n_clicks"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("votes", "blind"),
        Output("cmp-mode", "disabled"),
        Input("cmp-blind", "checked"),
    )
    for index, text in enumerate(EXAMPLES):
        app.clientside_callback(
            f"() => {text!r}",
            Output("cmp-prompt", "value", allow_duplicate=True),
            Input(f"cmp-example-{index}", "n_clicks"),
            prevent_initial_call=True,
        )
    app.clientside_callback(
        ClientsideFunction("compare", "view"),
        Output("cmp-view", "data-mode"),
        Input("cmp-mode", "value"),
    )

    @app.callback(
        *(Output(f"cmp-pair-{family}", "data") for family in _FAMILIES), Input("cmp-pairs-poll", "n_intervals")
    )
    def refresh_pairs(_: int) -> list[list[dict[str, str]]]:
        """Runs that have finished since the page was opened can be chosen at once."""
        return [_options(family, roots) for family in _FAMILIES]


def _composer() -> html.Section:
    left = html.Div(
        [
            dmc.Textarea(
                id="cmp-prompt", value=EXAMPLES[0], autosize=True, minRows=2, maxRows=8, className="prompt",
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
                    for family in _FAMILIES
                    for part in (
                        glyph(family),
                        html.Span(f"{FAMILY_LABEL[family]} sees", className="label"),
                        html.Code("shown with the first answer", id=f"cmp-seen-{family}", className="unseen"),
                        html.Span(id=f"cmp-seen-count-{family}", className="sub num"),
                    )
                ],
                className="sees",
            ),
        ],
        className="left",
    )  # fmt: skip
    fields = html.Div(
        [
            number("Temperature", _DEFAULTS.temperature, id="cmp-temperature", min=0, max=5, step=0.1, decimalScale=2),
            number("Top-p", _DEFAULTS.top_p, id="cmp-top-p", min=0.01, max=1, step=0.05, decimalScale=2),
            number("Top-k", _DEFAULTS.top_k, id="cmp-top-k", min=0, max=100000, allowDecimal=False),
            number(
                "Max new tokens", _DEFAULTS.max_new_tokens, id="cmp-max-new", min=1, max=2048, allowDecimal=False
            ),
            number(
                "Seed", _DEFAULTS.seed, id="cmp-seed", min=0, max=2**32 - 1, allowDecimal=False,
                rightSection=action("dice", "New seed", id="cmp-dice", n_clicks=0),
            ),
        ],
        className="five",
    )  # fmt: skip
    right = html.Div(
        [
            fields,
            html.P(
                "Base and DPO draw with the same luck for one seed: what differs comes from the weights.",
                className="sub grow",
            ),
            html.Div(
                [
                    html.Div(
                        button("Generate", "play", "filled", kbd="Ctrl ↵", id="cmp-generate", n_clicks=0),
                        id="cmp-generate-box",
                    ),
                    html.Div(
                        button("Stop", "square", "filled", kbd="Esc", id="cmp-stop", n_clicks=0),
                        id="cmp-stop-box",
                        hidden=True,
                    ),
                ],
                className="row end-row",
            ),
        ],
        className="right",
    )
    return card(left, right, cls="composer")


def _toolbar() -> html.Div:
    return html.Div(
        [
            dmc.SegmentedControl(
                id="cmp-mode", data=["Text", "Word diff"], value="Text", size="xs", **{"aria-label": "Show answers as"}
            ),
            votes.switch(),
            html.Span(id="cmp-progress", className="sub push num"),
            dcc.Interval(id="cmp-pairs-poll", interval=30_000),
        ],
        id="cmp-view",
        className="row toolbar",
        **{"data-mode": "Text"},
    )


def _family(family: str, roots: Sequence[Path]) -> html.Section:
    label = FAMILY_LABEL[family]
    head = html.Div(
        [
            html.H2(label, className="named"),
            html.H2("", className="hidden-name", id=f"cmp-row-name-{_FAMILIES.index(family)}"),
            html.Span(_KIND[family], className="sub hide-sm"),
            html.Span(id=f"cmp-differ-{family}", className="sub num push"),
            dmc.Select(
                id=f"cmp-pair-{family}", data=_options(family, roots), value="demo", size="xs", w=210,
                allowDeselect=False, **{"aria-label": f"Policies of {label}"},
            ),
        ],
        className="duo-head",
    )  # fmt: skip
    panes = [_pane(family, tuned) for tuned in (False, True)]
    row = _FAMILIES.index(family)
    return card(
        head, html.Div(panes, className="duo-body"), votes.bar(row), cls=f"duo {family}", **{"data-row": str(row)}
    )


def _pane(family: str, tuned: bool) -> html.Div:
    index = 2 * _FAMILIES.index(family) + tuned
    name = f"{FAMILY_LABEL[family]} {'DPO' if tuned else 'base'}"
    return html.Div(
        [
            html.Div(
                [
                    html.Span([glyph(family, tuned), "DPO" if tuned else "Base"], className="policy named"),
                    html.Span("", className="policy hidden-name", id=f"cmp-hidden-name-{index}"),
                    html.Span(className="pill", id=f"cmp-pill-{index}", hidden=True),
                    html.Div(
                        [
                            action("copy", f"Copy the answer of {name}", className="js-copy-answer"),
                            dmc.Kbd(str(index + 1), size="xs", className="hide-sm"),
                        ],
                        className="row tight push",
                    ),
                ],
                className="pane-head",
            ),
            html.Div(id=f"cmp-state-{index}", className="stateful", hidden=True),
            html.P(id=f"cmp-out-{index}", className="out empty-out"),
            html.Div(id=f"cmp-chips-{index}", className="chips"),
        ],
        className="pane",
        role="region",
        tabIndex=-1,
        id=f"cmp-pane-{index}",
        **{"aria-label": name, "data-arm": str(index), "data-family": family, "data-tuned": str(int(tuned))},
    )


def _reproduce() -> html.Section:
    return card(
        icon("terminal", 16),
        html.Code("", id="cmp-command"),
        html.Div(
            [
                button("Copy command", "copy", id="cmp-copy-command", size="xs", n_clicks=0),
                button("JSON", "download", id="cmp-json", size="xs", n_clicks=0),
            ],
            className="row tight nowrap push",
        ),
        cls="repro",
        id="cmp-repro",
        hidden=True,
    )


def _options(family: str, roots: Sequence[Path]) -> list[dict[str, Any]]:
    return [
        {"value": f"{pair.base}|{pair.tuned}" if pair.value != "demo" else "demo", "label": pair.label}
        for pair in pairs(family, roots)
    ]
