"""Layout and callbacks of the page of one run."""

from __future__ import annotations

import zlib
from typing import Any
from urllib.parse import parse_qs

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html, no_update
from typing_extensions import TypedDict

from dpo.dashboard.browser import in_browser
from dpo.dashboard.components import box, card, card_head, chart, problem_card
from dpo.dashboard.listing import Listing
from dpo.dashboard.run_reader import RunReader, Shown
from dpo.dashboard.training.answers import answer_cards
from dpo.dashboard.training.callbacks import Mark
from dpo.dashboard.training.charts import CHARTS, Chart
from dpo.dashboard.training.drawing import draw
from dpo.dashboard.training.run import files
from dpo.dashboard.training.run.cards import cards, more
from dpo.dashboard.training.run.head import head
from dpo.dashboard.web.access import Right
from dpo.dashboard.web.schema import Count
from dpo.dashboard.workbench import Workbench
from dpo.errors import DpoError, RunError, quoted
from dpo.runs import Run
from dpo.runs.files import identity
from dpo.runs.find import names
from dpo.runs.manage import annotate, listed, note_of
from dpo.runs.record import AUDIT, EVALUATION, EVALUATIONS, NOTE

_POLL_MS = 2000
_MAIN = ("loss", "chosen", "rejected", "margin", "accuracy", "kl")
_ALL = "All"
_HEIGHT = 168
_SMOOTHING = 60


class Known(TypedDict):
    """The run that is on screen (its path), and the state of its files."""

    run: str
    seen: str


def page(workbench: Workbench) -> list[Any]:
    """The page; which run it shows is in the address, and its parts come when that is read."""
    may = workbench.access.grants(Right.CHANGE)
    note = dmc.Textarea(
        id="rp-note", value="", placeholder="A note on this run" if may else "No note", autosize=True, minRows=1,
        maxRows=8, readOnly=not may, size="sm", **{"aria-label": "Note on this run"},
    )  # fmt: skip
    return [
        html.Nav(
            [html.A("Runs", href="/runs", className="js-nav"), html.Span(id="rp-crumb")],
            className="crumbs sub", **{"aria-label": "Where this page is"},
        ),
        html.Div(id="rp-problem", role="alert"),
        box(
            card(html.Div(id="rp-head"), html.Div(note, className="run-note"), cls="run-card-head"),
            box(box(_charts(), _timeline(), cls="charts"), _answers(), cls="studio", id="rp-studio"),
            html.Div(id="rp-cards", className="grid run-cards"),
            html.Div(id="rp-more", className="run-more"),
            cls="main-col", id="rp-full", hidden=True,
        ),
        dcc.Store(id="rp-known"),
        dcc.Store(id="rp-places", data=[]),
        dcc.Store(id="rp-pointed"),
        dcc.Interval(id="rp-poll", interval=_POLL_MS, disabled=True),
    ]  # fmt: skip


def register(app: Dash, workbench: Workbench) -> None:
    """All callbacks and routes of the page."""
    files.register(app.server, workbench.runs)
    _opening(app, workbench)
    _showing(app, workbench)
    _scrubbing(app, workbench.runs)
    _noting(app, workbench)


def _opening(app: Dash, workbench: Workbench) -> None:
    reader = workbench.runs
    in_browser(app, "run.polls", Output("rp-poll", "disabled"), Input("page-run", "hidden"), first=True)

    @app.callback(
        Output("rp-known", "data"), Output("rp-problem", "children"), Output("rp-full", "hidden"),
        Output("rp-crumb", "children"), Output("rp-note", "value"),
        Input("url", "search"), Input("rp-poll", "n_intervals"), State("url", "pathname"), State("rp-known", "data"),
    )  # fmt: skip
    def open_run(search: str | None, _: int | None, path: str | None, known: Known | None) -> tuple[Any, ...]:
        if path != "/run":
            return (no_update,) * 5
        try:
            run = asked_for(search or "", reader.find())
        except RunError as error:
            return None, problem_card(str(error)), True, "", ""
        now = Known(run=str(run.path), seen=_seen(run))
        if now == known:
            return (no_update,) * 5
        same = known is not None and known["run"] == now["run"]  # what is being written there stays
        return now, None, False, f" › {run.name}", no_update if same else note_of(run)


def asked_for(search: str, runs: list[Run]) -> Run:
    """The run that the query of an address names by its path or its name.

    Raises:
        RunError: it names none, or none of those `runs`.
    """
    asked = (parse_qs(search.lstrip("?")).get("run") or [""])[0]
    if not asked:
        raise RunError("No run is chosen: choose one on the Runs page")
    for run, label in zip(runs, names(runs), strict=True):
        if asked in (str(run.path), label):
            return run
    raise RunError(f"There is no run {quoted(asked, 200)} here, it may have been deleted: choose one on the Runs page")


def _seen(run: Run) -> str:
    """Changes with everything that is shown of a run."""
    beside = [identity(run.path / name) for name in (NOTE, AUDIT, EVALUATIONS, "policy")]
    beside += [identity(path) for path in sorted(run.path.glob(f"{EVALUATIONS}/*/{EVALUATION}"))]
    return f"{Listing.of([run]).signature}-{zlib.crc32(str(beside).encode())}-{len(run.checkpoints)}"


def _showing(app: Dash, workbench: Workbench) -> None:
    reader, access = workbench.runs, workbench.access

    @app.callback(
        Output("rp-head", "children"), Output("rp-cards", "children"), Output("rp-more", "children"),
        Input("rp-known", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def describe(known: Known | None) -> tuple[Any, ...]:
        entry = _shown(reader, known)
        if entry is None:
            return [html.H1("Run")], [], []
        return head(entry, reader.find(), access), cards(entry), more(entry.run, access)

    @app.callback(
        Output("rp-charts", "children"), Input("rp-known", "data"), Input("rp-all", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    def curves(known: Known | None, which: str) -> list[Any]:
        if known is None:
            return []
        wanted = [spec for spec in CHARTS if which == _ALL or spec.key in _MAIN]
        asked = {"runs": [known["run"]], "smoothing": _SMOOTHING, "charts": {spec.key: None for spec in wanted}}
        made = {item["key"]: item for item in draw(asked, reader)["charts"]}
        return [_chart(spec, made[spec.key]) for spec in wanted if not made[spec.key]["hidden"]]


def _shown(reader: RunReader, known: Known | None) -> Shown | None:
    """The run with its measures; None where it has gone since, or is damaged."""
    entries, _ = reader.shown([known["run"]] if known is not None else [])
    return entries[0] if entries else None


def _chart(spec: Chart, made: dict[str, Any]) -> html.Section:
    title = box(html.H3(spec.title), html.Span(spec.unit, className="unit"), cls="row tight nowrap")
    lines = box(html.P(made["finding"], className="sub found", id=f"rp-found-{spec.key}"),
                html.P(made["note"], className="sub", id=f"rp-note-{spec.key}", title=made["note"]))  # fmt: skip
    about = f"#rp-found-{spec.key} #rp-note-{spec.key}"
    return card(card_head(title, lines), chart(f"rp-fig-{spec.key}", _HEIGHT, about, made["figure"]), cls="chart")


def _scrubbing(app: Dash, reader: RunReader) -> None:
    @app.callback(
        Output("rp-step", "max"), Output("rp-step", "marks"), Output("rp-step", "value"), Output("rp-step", "disabled"),
        Output("rp-prompt", "data"), Output("rp-prompt", "value"), Output("rp-places", "data"),
        Input("rp-known", "data"), State("rp-step", "value"), State("rp-step", "marks"), State("rp-prompt", "value"),
        State("url", "search"), prevent_initial_call=True,
    )  # fmt: skip
    def stops(
        known: Known | None, place: Count | None, marked: list[Mark] | None, prompt: str | None, search: str | None
    ) -> tuple[Any, ...]:
        entry = _shown(reader, known)
        samples = entry.run.samples() if entry is not None else []
        steps = sorted({sample.step for sample in samples})
        prompts = list(dict.fromkeys(sample.prompt for sample in samples))
        marks = [{"value": index, "label": str(step)} for index, step in enumerate(steps)]
        last = max(len(steps) - 1, 0)
        asked = (parse_qs((search or "").lstrip("?")).get("step") or [""])[0]
        if asked.isdecimal() and int(asked[:15]) in steps:
            value = steps.index(int(asked[:15]))
        else:  # someone at the newest step stays at the newest as steps are added
            value = last if place is None or place >= len(marked or []) - 1 else min(place, last)
        chosen = prompt if prompt in prompts else (prompts[0] if prompts else None)
        return max(last, 1), marks, value, len(steps) < 2, prompts, chosen, steps

    @app.callback(
        Output("rp-texts", "children"),
        Input("rp-step", "value"), Input("rp-prompt", "value"), Input("rp-step", "marks"), State("rp-known", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def show(place: Count | None, prompt: str | None, marks: list[Mark] | None, known: Known | None) -> Any:
        entry = _shown(reader, known)
        steps = [int(mark["label"]) for mark in marks or []]
        step = steps[min(place or 0, len(steps) - 1)] if steps else 0
        if entry is None or not steps:
            return html.P("It recorded no answers: train with --probes and --save-steps.", className="sub pad")
        return answer_cards([entry], step, prompt)

    moved = (Input("rp-step", "value"), Input("rp-places", "data"), Input("rp-charts", "children"))
    in_browser(app, "run.point", Output("rp-pointed", "data"), *moved)


def _noting(app: Dash, workbench: Workbench) -> None:
    @app.callback(
        Output("rp-note", "error"), Input("rp-note", "n_blur"), State("rp-note", "value"), State("rp-known", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def note(_: int | None, text: str | None, known: Known | None) -> str | None:
        if known is None:
            return None
        try:
            run = listed(known["run"], workbench.roots)
            if (text or "").strip() != note_of(run):
                annotate(run, text or "")
        except DpoError as error:
            return str(error)
        return None


def _charts() -> html.Section:
    which = dmc.SegmentedControl(
        id="rp-all", data=["Main", _ALL], value="Main", size="xs", **{"aria-label": "Which charts"}
    )
    note = html.P("Faint: raw. Bold: smoothed. Dashed: held out.", className="sub")
    head = card_head(html.H2("Training, step by step"), note, which)
    return card(head, html.Div(id="rp-charts", className="run-charts"))


def _timeline() -> html.Section:
    slider = dmc.Slider(
        id="rp-step", min=0, max=1, value=None, step=1, restrictToMarks=True, marks=[], size=4, thumbSize=16,
        label=None, className="grow", mb=18, thumbLabel="Step of the answers",
    )  # fmt: skip
    return card(html.Span("Step", className="label"), slider, cls="timeline", **{"aria-label": "Timeline"})


def _answers() -> html.Section:
    head = card_head(
        html.H2("What it answered"),
        html.P("At the step of the timeline. Words new since the step before are marked.", className="sub"),
    )
    prompt = dmc.Select(
        id="rp-prompt", data=[], size="sm", className="grow", allowDeselect=False, placeholder="No probe prompts",
        **{"aria-label": "Probe prompt"},
    )  # fmt: skip
    texts = html.Div(id="rp-texts", className="answers")
    return card(head, box(prompt, cls="row nowrap prompt-row"), texts, cls="answers-card",
                **{"aria-label": "What it answered"})  # fmt: skip
