"""Many prompts at once: a table of prompt by policy, which the browser fills (assets/js/many/many.js).

Each prompt is asked as a single one is, by `/api/generate` and one after the other, so queue and limits are the same.
"""

from __future__ import annotations

import dash_mantine_components as dmc
from dash import html

from dpo.dashboard.compare.policies import EXAMPLES
from dpo.dashboard.components import box, button, card

MOST_PROMPTS = 200
"""Rows that a browser draws without effort; more are asked by `dpo eval`."""


def many() -> html.Section:
    """The prompts, what is done with them, and the place of the table."""
    write = box(
        dmc.Textarea(
            id="cmp-many-prompts", value="\n".join(EXAMPLES), autosize=True, minRows=3, maxRows=8,
            placeholder="One prompt a line", label="Prompts, one a line",
        ),
        html.P("", id="cmp-many-error", className="error-line", role="alert", hidden=True),
        box(
            button("Ask all", "play", "filled", id="cmp-many-start", n_clicks=0),
            html.Div(button("Stop", "square", id="cmp-many-stop", n_clicks=0), id="cmp-many-stop-box", hidden=True),
            html.Span("", id="cmp-many-progress", className="sub num", role="status"),
            html.Div([_modes(), *_exports()], className="row tight push"),
            button("One prompt", id="cmp-many-close", n_clicks=0, size="xs"),
            cls="row",
        ),
        cls="many-head",
    )  # fmt: skip
    table = html.Div(id="cmp-many-table", className="many-table")
    return card(
        write, table, cls="many", id="cmp-many", hidden=True,
        **{"data-most": str(MOST_PROMPTS), "aria-label": "Many prompts"},
    )  # fmt: skip


def _modes() -> html.Span:
    names = (("diff", "Word diff"), ("text", "Text"))
    return html.Span(
        [
            html.Button(text, type="button", className="ex", **{"data-many-mode": mode, "aria-pressed": pressed})
            for (mode, text), pressed in zip(names, ("true", "false"), strict=True)
        ],
        className="row tight",
    )


def _exports() -> list[html.Button]:
    return [
        html.Button(kind.upper(), type="button", className="ex", title=f"Export the table as {kind.upper()}",
                    **{"data-many-export": kind})
        for kind in ("csv", "jsonl")
    ]  # fmt: skip
