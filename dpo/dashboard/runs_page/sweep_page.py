"""The page of a sweep: how far it is, its best trial so far, all trials, and which settings mattered among them."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import parse_qs

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update
from pydantic import AfterValidator

from dpo.counting import counted, duration
from dpo.dashboard.browser import in_browser
from dpo.dashboard.choices import compare_link, run_link, training_link
from dpo.dashboard.components import box, button, card, card_head, chart, glyph, icon, problem_card
from dpo.dashboard.runs_page import figures
from dpo.dashboard.runs_page.table import MEASURES, Row, RunTable
from dpo.dashboard.runs_page.trials import outcomes, searched
from dpo.dashboard.runs_page.weights import weights
from dpo.dashboard.sweeps import Progress, SweepRuns, asked_for, job_of, progress
from dpo.dashboard.web.access import Right
from dpo.dashboard.workbench import Workbench
from dpo.errors import RunError
from dpo.training.config import BEST_BY
from dpo.training.job import TrainingJob

_POLL_MS = 2000
_USUAL = "plan"  # the measure that the sweep itself is judged by
_CHOICES = ("accuracy", "margin", "loss")
_TITLES = {field: title for field, title, _ in MEASURES} | {"win_rate": "Win rate"}
_DIGITS = {field: digits for field, _, digits in MEASURES} | {"win_rate": ".1%"}
_BAD = ("failed", "killed", "damaged")


def _measure(name: str) -> str:
    if name not in (_USUAL, *_CHOICES):
        raise ValueError("no sweep is judged by that")
    return name


JudgedBy = Annotated[str, AfterValidator(_measure)]


def page(workbench: Workbench) -> list[Any]:
    """The page; which sweep it shows is in the address."""
    choice = [{"value": _USUAL, "label": "As planned"}, *({"value": name, "label": _TITLES[name]} for name in _CHOICES)]
    control = dmc.SegmentedControl(
        id="sw-measure", data=choice, value=_USUAL, size="xs", **{"aria-label": "What the trials are judged by"}
    )
    return [
        html.Nav(
            [html.A("Runs", href="/runs", className="js-nav"), html.Span(id="sw-crumb")],
            className="crumbs sub", **{"aria-label": "Where this page is"},
        ),
        html.Div(id="sw-problem", role="alert"),
        box(
            card(html.Div(id="sw-head", className="sweep-head")),
            card(
                card_head(html.H2("Trials"), html.P(id="sw-trials-note", className="sub"), control, cls="wrap"),
                html.Div(id="sw-trials", className="sweep-trials", tabIndex=0, role="region",
                         **{"aria-label": "Trials"}),
                cls="chart",
            ),
            box(
                _card("history", "Best so far"), _card("frontier", "Reward and KL frontier"),
                _card("parallel", "Settings and outcome"), _mattered(), cls="grid sweep-grid",
            ),
            cls="main-col", id="sw-full", hidden=True,
        ),
        dcc.Store(id="sw-known"),
        dcc.Interval(id="sw-poll", interval=_POLL_MS, disabled=True),
    ]  # fmt: skip


def _card(key: str, title: str) -> html.Section:
    note = html.P(id=f"sw-{key}-note", className="sub wrap")
    head = card_head(html.H2(title, id=f"sw-{key}-name"), note)
    return card(head, chart(f"sw-{key}", 280, f"#sw-{key}-name #sw-{key}-note"), cls="chart")


def _mattered() -> html.Section:
    head = card_head(html.H2("What mattered"), html.P(id="sw-weights-note", className="sub wrap"))
    return card(head, html.Div(id="sw-weights", className="weights"), cls="chart")


def register(app: Dash, workbench: Workbench, table: RunTable) -> None:
    """All callbacks of the page; `table` is that of the Runs page."""
    in_browser(app, "runs.polls", Output("sw-poll", "disabled"), Input("page-sweep", "hidden"), first=True)

    @app.callback(
        Output("sw-known", "data"), Output("sw-problem", "children"), Output("sw-full", "hidden"),
        Output("sw-crumb", "children"), Output("sw-head", "children"), Output("sw-trials", "children"),
        Output("sw-trials-note", "children"), Output("sw-history", "figure"), Output("sw-history-note", "children"),
        Output("sw-frontier", "figure"), Output("sw-frontier-note", "children"), Output("sw-parallel", "figure"),
        Output("sw-parallel-note", "children"), Output("sw-weights", "children"), Output("sw-weights-note", "children"),
        Input("url", "search"), Input("sw-poll", "n_intervals"), Input("sw-measure", "value"),
        State("url", "pathname"), State("sw-known", "data"),
    )  # fmt: skip
    def show(
        search: str | None, _: int | None, judged: JudgedBy, path: str | None, known: str | None
    ) -> tuple[Any, ...]:
        if path != "/sweep":
            return (no_update,) * 15
        try:
            sweep = asked_for((parse_qs((search or "").lstrip("?")).get("name") or [""])[0], workbench.runs.find())
        except RunError as error:
            return None, problem_card(str(error)), True, "", *(no_update,) * 11
        measure = sweep.measure if judged == _USUAL else judged
        jobs = workbench.jobs.all() if workbench.access.grants(Right.TRAIN) else []
        far = progress(sweep, jobs, time.time())
        signature = table.signature()
        now = f"{zlib.crc32(f'{signature} {sweep.key} {measure} {far.counts} {far.live}'.encode())}"
        rows = table.named([str(run.path) for run in sweep.runs])
        ranked = outcomes(rows, sweep, measure)
        head = _head(sweep, far, ranked, measure, job_of(sweep, jobs))
        if now == known:  # but the time goes on
            return (*(no_update,) * 4, head if far.live else no_update, *(no_update,) * 10)
        return (
            now, None, False, f" › {sweep.name}", head, _trials(ranked, sweep, measure),
            f"By {_TITLES[measure].lower()}, {'most' if BEST_BY[measure][1] else 'least'} first. "
            "Held out, of the policy that was kept.",
            *history(rows, ranked, measure), *figures.frontier(rows), *figures.parallel(rows),
            *_shares(ranked, measure),
        )  # fmt: skip


def _shares(ranked: Sequence[Row], measure: str) -> tuple[list[Any], str]:
    """Of the trials of this sweep alone: runs that differ in other ways would be laid to the settings."""
    ended = [row | {measure: row["value"]} for row in ranked if row["state"] == "done"]
    shares, note = figures.importance(ended, measure)
    return weights(shares), note


def _head(sweep: SweepRuns, far: Progress, ranked: Sequence[Row], measure: str, job: TrainingJob | None) -> list[Any]:
    state = "running" if far.live else "finished" if far.ended == far.trials else "stopped"
    best = next((row for row in ranked if row["best"]), None)
    bar = html.Progress(value=str(far.ended), max=str(far.trials), **{"aria-label": "Trials that have ended"})
    return [
        box(
            box(html.H1(sweep.name), html.Span(state, className="pill"), cls="row tight run-name-row"),
            box(*_actions(ranked, job), html.Span(id="sw-message", className="sub", role="status"),
                cls="row tight run-acts"),
            cls="row run-head",
        ),
        html.P(_line(far), className="sub num"),
        None if far.ended == far.trials else bar,
        box(_best(best, sweep, ranked, measure), _space(searched(ranked, sweep), sweep), cls="sweep-facts"),
    ]  # fmt: skip


def _line(far: Progress) -> str:
    """How far it is, how fast it goes, and how long it will take."""
    states = ", ".join(f"{count} {state}" for state, count in far.counts.items())
    took = f" in {duration(far.seconds)}" if far.seconds is not None else ""
    parts = [f"{far.ended} of {counted(far.trials, 'trial')} done{took}", states if len(far.counts) > 1 else ""]
    if far.live and far.per_hour is not None:
        parts.append(f"{far.per_hour:.3g} an hour")
    if far.left is not None:
        parts.append(f"about {duration(far.left)} left")
    return " · ".join(filter(None, parts))


def _actions(ranked: Sequence[Row], job: TrainingJob | None) -> list[Any]:
    with_value = [row["path"] for row in ranked if row["value"] is not None]
    parts: list[Any] = []
    if with_value:
        text = "Overlay the curves" if len(with_value) <= 6 else "Overlay the best six"
        href = training_link(with_value[:6])
        parts.append(html.A([icon("training"), text], href=href, className="jump js-nav"))
    if job is not None and not job.over and job.state != "stopping":
        parts.append(button("Stop", "stop", id="sw-stop", size="xs", **{"data-job": job.ident}))
    elif job is not None and job.record()["resumable"]:
        parts.append(button("Go on", "play", id="sw-resume", size="xs", **{"data-run": str(job.run)}))
    return parts


def _best(best: Row | None, sweep: SweepRuns, ranked: Sequence[Row], measure: str) -> html.Div:
    label = html.Div("Best trial" if len(sweep.runs) == sweep.trials else "Best trial so far", className="label")
    if best is None:
        return box(label, html.P("None has ended yet.", className="sub"))
    run = next(run for run in sweep.runs if str(run.path) == best["path"])
    compare = compare_link(run) if run.policy_path is not None and run.family is not None else None
    drawn = [f"{title} {_shown(best.get(f'set/{name}'))}" for name, title, _ in searched(ranked, sweep)]
    return box(
        label,
        box(glyph(best["family"]), html.A(best["name"], href=run_link(best["path"]), className="js-nav"),
            html.B(f"{_TITLES[measure]} {_said(best['value'], measure)}", className="num"), cls="row tight sweep-best"),
        html.P(" · ".join(drawn), className="sub num"),
        None if compare is None
        else html.A([icon("compare"), "Compare it with its base"], href=compare, className="jump js-nav"),
    )  # fmt: skip


def _space(found: Sequence[tuple[str, str, str]], sweep: SweepRuns) -> html.Div:
    method = sweep.plan.get("method")
    title = "Searched" + (f", {method}" if isinstance(method, str) else "")
    lines = [box(html.Dt(title, title=name), html.Dd(space)) for name, title, space in found]
    return box(html.Div(title, className="label"), html.Dl(lines, className="sweep-space num"))


def _trials(ranked: Sequence[Row], sweep: SweepRuns, measure: str) -> html.Table:
    settings = [(f"set/{name}", title) for name, title, _ in searched(ranked, sweep)]
    others = [name for name in ("loss", "accuracy", "margin", "kl") if name != measure]
    others = [name for name in others if any(row.get(name) is not None for row in ranked)]
    heads = ["", "Trial", "Status", _TITLES[measure], *(title for _, title in settings), *(_TITLES[n] for n in others)]
    body = [
        html.Tr(
            [
                html.Td(str(place) if row["value"] is not None else "", className="num"),
                html.Td([glyph(row["family"]), html.A(row["name"], href=run_link(row["path"]), className="js-nav")]),
                html.Td(html.Span(row["state"], className="pill bad" if row["state"] in _BAD else "pill"),
                        title=row["reason"] or None),
                html.Td(_said(row["value"], measure), className="num judged"),
                *(html.Td(_shown(row.get(field)), className="num") for field, _ in settings),
                *(html.Td(_said(row.get(name), name), className="num") for name in others),
            ],
            className="best" if row["best"] else None,
        )
        for place, row in enumerate(ranked, 1)
    ]  # fmt: skip
    names = [html.Th(text or html.Span("Place", className="vh"), scope="col") for text in heads]
    return html.Table([html.Thead(html.Tr(names)), html.Tbody(body)])


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return figures.number(value)
    return "" if value is None else str(value)


def _said(value: float | None, measure: str) -> str:
    return "" if value is None else f"{value:{_DIGITS[measure]}}".replace("-", "\u2212")


def history(rows: Sequence[Row], ranked: Sequence[Row], measure: str) -> tuple[dict[str, Any], str]:
    """What each trial came to, in their order, and the best up to there; and a sentence."""
    values = {row["path"]: row["value"] for row in ranked if row["state"] == "done"}
    ended = [(number, row, values[row["path"]]) for number, row in enumerate(rows, 1) if row["path"] in values]
    ended = [entry for entry in ended if entry[2] is not None]
    better = max if BEST_BY[measure][1] else min
    best: list[float] = []
    for *_, value in ended:
        best.append(better(best[-1], value) if best else value)
    tickformat = ".0%" if "%" in _DIGITS[measure] else "~g"
    figure = figures.points([(number, value, row) for number, row, value in ended], best, "trial", tickformat)
    if not ended:
        return figure, "No trial has ended yet."
    first = best.index(best[-1])
    name = ended[first][1]["name"]
    return figure, f"{_TITLES[measure]} of each trial; the line is the best up to there. Unbeaten since {name}."
