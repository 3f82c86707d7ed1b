"""The drawer in which trainings are started, watched, stopped and resumed (filled by assets/js/training/drawer.js)."""

from __future__ import annotations

import dash_mantine_components as dmc
from dash import html

from dpo.dashboard.components import action, box, button, command


def drawer() -> html.Aside:
    """At the right of the page, closed; its form comes from `/api/jobs/form` when it is first opened."""
    tabs = box(
        html.Button("New run", type="button", role="tab", id="st-tab-form", className="st-tab"),
        html.Button("Queue", type="button", role="tab", id="st-tab-queue", className="st-tab"),
        role="tablist",
        cls="row tight",
        **{"aria-label": "New run or queue"},
    )
    form = box(
        html.Div(id="st-fields", className="st-fields"),
        box(
            html.P("", className="error-line", id="st-problem", role="alert", hidden=True),
            html.Ul(id="st-lines", className="st-lines", **{"aria-label": "Pre-flight"}),
            command("dpo train", "st-command"),
            box(
                button("Check", "check", id="st-check", size="sm"),
                button("Start training", "play", "filled", id="st-start", size="sm"),
                cls="row end-row",
            ),
            cls="st-foot",
        ),
        id="st-form",
        role="tabpanel",
        cls="st-pane",
    )
    queue = html.Div(
        [html.Div(id="st-jobs"), html.Div(id="st-resumable")], id="st-queue", role="tabpanel", className="st-pane",
        hidden=True,
    )  # fmt: skip
    head = box(
        html.H2("Train"),
        tabs,
        html.Span(dmc.Kbd("Esc"), className="hide-sm push"),
        action("close", "Close", id="st-close"),
        cls="row st-head",
    )
    return html.Aside(
        [head, html.P("", id="st-message", className="sub st-message", role="status"), form, queue],
        id="st-drawer",
        className="st-drawer",
        hidden=True,
        **{"aria-label": "Start, stop and resume trainings"},
    )
