"""Which chosen answers training may push down: CHES of all pairs, under a policy that is chosen here."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from dpo.counting import counted
from dpo.dashboard.browser import also, in_browser
from dpo.dashboard.ches_jobs import ChesJob
from dpo.dashboard.choices import by_family, references
from dpo.dashboard.components import box, button, card, card_head
from dpo.dashboard.data.cards import finding_cards, under_way
from dpo.dashboard.data.cleaning import verdict
from dpo.dashboard.data.table import with_rows
from dpo.dashboard.workbench import Workbench
from dpo.errors import DpoError
from dpo.families import CAUSAL

POLL_MS = 400


def ches_card(workbench: Workbench) -> html.Section:
    """The choice of a policy, and what its measuring has found."""
    head = card_head(
        html.H3("Will chosen answers fall?"),
        html.P(
            "CHES of each pair: the more alike its two answers are to the policy that is to be trained, the more "
            "training pushes the chosen one down.",
            className="sub",
        ),
    )
    choose = box(
        dmc.Select(
            id="da-ches-policy", data=by_family(references(workbench.roots)), value=CAUSAL.base, searchable=True,
            allowDeselect=False, size="sm", className="grow", nothingFoundMessage="No such run",
            **{"aria-label": "Policy that is to be trained"},
        ),
        button("Measure", id="da-ches-go", n_clicks=0),
        cls="row",
    )  # fmt: skip
    return card(
        head,
        box(choose, html.Div(id="da-ches-state", role="status"), cls="ches"),
        dcc.Store(id="da-ches-shown"),
        dcc.Store(id="da-ches-marked"),
        dcc.Interval(id="da-ches-poll", interval=POLL_MS, disabled=True),
    )


def register(app: Dash, workbench: Workbench) -> None:
    """The measuring, how far it is, and the table's column."""
    audits, allowed = workbench.audits, workbench.allowed
    in_browser(app, "data.ches", Output("da-ches-marked", "data"), Input("da-ches-shown", "data"))

    @app.callback(
        Output("da-ches-state", "children"), Output("da-ches-poll", "disabled"), Output("da-ches-shown", "data"),
        Input("da-ches-go", "n_clicks"), Input("da-audited", "data"), State("da-ches-policy", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    def start(_: int | None, ident: str | None, policy: str | None) -> tuple[Any, Any, Any]:
        if ctx.triggered_id == "da-audited":  # other pairs: what is known of the last ones is void
            return None, True, None
        try:
            asked = audits.measure_ches(ident, allowed.policy(policy or ""))
        except DpoError as error:
            return _problem(str(error)), True, no_update
        return _under_way(asked, ident), False, no_update

    @app.callback(
        also("da-ches-state", "children"), also("da-ches-poll", "disabled"), also("da-ches-shown", "data"),
        also("da-cards", "children"), also("da-finding", "data"),
        Input("da-ches-poll", "n_intervals"), State("da-audited", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def poll(_: int, ident: str | None) -> tuple[Any, ...]:
        job = audits.job(ident)
        if job is None or job.ches is None or job.audit is None:
            return _problem("This audit is no longer kept: start it again") if ident else None, True, *[no_update] * 3
        asked = job.ches
        if asked.problem:
            return _problem(asked.problem), True, *[no_update] * 3
        if not asked.over:
            return _under_way(asked, ident), False, *[no_update] * 3
        cards = [verdict(job, job.audit), *finding_cards(job.audit)]
        return found(asked), True, asked.policy, cards, with_rows(job.audit)


def found(asked: ChesJob) -> html.P:
    """What a measuring has found, in words."""
    assert asked.scores is not None
    scores = asked.scores[~np.isnan(asked.scores)]
    middle, high = np.quantile(scores, (0.5, 0.95))
    unread = len(asked.scores) - len(scores)
    lost = f"; {counted(unread, 'pair')} could not be read" if unread else ""
    spread = f"are above {middle:.3g}, one in twenty above {high:.3g}".replace("-", "\N{MINUS SIGN}")
    text = f"Under {asked.policy} half of {counted(len(scores), 'pair')} {spread}{lost}. "
    return html.P(text + "The table has them all, the highest first.", className="sub")


def _under_way(asked: ChesJob, ident: str | None) -> list[Any]:
    return under_way(html.B(f"CHES under {asked.policy}", className="strong"), ident or "", asked.step, asked.share)


def _problem(text: str) -> html.P:
    return html.P(text, className="error-line", role="alert")
