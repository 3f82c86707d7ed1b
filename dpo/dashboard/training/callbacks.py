"""Callbacks of the Training page: live updates, answers, the address."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from dash import Dash, Input, Output, State, no_update
from flask import Response, jsonify
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from dpo.counting import counted
from dpo.dashboard.browser import in_browser
from dpo.dashboard.choices import base_of, policies_of
from dpo.dashboard.listing import Listing
from dpo.dashboard.run_reader import RunReader, Shown
from dpo.dashboard.training import drawing
from dpo.dashboard.training.answers import Own, answer_cards, own_samples
from dpo.dashboard.training.run_picker import rows
from dpo.dashboard.training.series import AXES, across
from dpo.dashboard.web.reading import body
from dpo.dashboard.web.schema import Count
from dpo.errors import RunError
from dpo.runs import Sample
from dpo.runs.watching import RECENT_SECONDS, event_of
from dpo.serving.shared import Shared


def _pair(value: Any) -> Any:
    """JSON has lists where Python has tuples, which a strict check would refuse."""
    return tuple(value) if isinstance(value, list) else value


class OwnAnswers(TypedDict):
    """What `tr-own` holds: a prompt of one's own, and its answers by prompt and run."""

    prompt: str | None
    answers: dict[str, dict[str, list[Annotated[tuple[Count, str], BeforeValidator(_pair)]]]]


class Mark(TypedDict):
    """A place on the slider, and the step that it stands for."""

    value: Count
    label: Annotated[str, Field(pattern=r"^\d{1,15}$")]


def register(app: Dash, reader: RunReader) -> None:
    """All callbacks of the page."""
    _state(app, reader)
    drawing.register(app.server, reader)
    _answers(app, reader)
    _checkpoints(app, reader)
    _view(app)


def watched(reader: RunReader, listing: Listing) -> list[dict[str, str]]:
    """The runs that train, or ended not long ago: `run`, `name` and what has become of it as `event`."""
    found, now = list[dict[str, str]](), time.time()
    for run in listing.runs:
        state = listing.states[str(run.path)]
        age = abs(now - listing.stamps[str(run.path)].written)  # the clock may have been set back
        if run.damaged or (state != "running" and age > RECENT_SECONDS):
            continue
        with contextlib.suppress(RunError):  # gone since it was found
            metrics = reader.read(str(run.path))[1] if state == "running" else None
            event = event_of(run, metrics)
            if event is not None:
                found.append({"run": str(run.path), "name": run.name, "event": event})
    return found


def _state_of(reader: RunReader) -> dict[str, Any]:
    listing = reader.look()
    count, running = len(listing.runs), sum(state == "running" for state in listing.states.values())
    return {
        "signature": listing.signature,
        "list": listing.names,
        "answers": listing.answers,
        "running": running,
        "watched": watched(reader, listing),
        "text": counted(count, "run") + (f" · {running} training" if running else ""),
    }


def _state(app: Dash, reader: RunReader) -> None:
    together: Shared[dict[str, Any]] = Shared()

    @app.server.get("/api/training")
    def state() -> dict[str, Any]:
        """What the page asks for every second: whether anything is new."""
        return together.get("state", lambda: _state_of(reader))

    @app.callback(
        Output("tr-run-list", "children"), Output("tr-full", "hidden"), Output("tr-empty", "hidden"),
        Input("tr-list", "data"), Input("tr-filter", "value"), Input("tr-selected", "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    def list_runs(_: str, text: str | None, selected: list[str] | None) -> tuple[list[Any], bool, bool]:
        runs = reader.find()
        return rows(runs, selected or [], text or ""), not runs, bool(runs)


def _answers(app: Dash, reader: RunReader) -> None:
    @app.callback(
        Output("tr-step", "max"), Output("tr-step", "marks"), Output("tr-step", "value"), Output("tr-step", "disabled"),
        Output("tr-prompt", "data"), Output("tr-prompt", "value"), Output("tr-probes", "data"),
        Input("tr-answers", "data"), Input("tr-selected", "value"), Input("tr-axis", "value"), Input("tr-own", "data"),
        State("tr-step", "value"), State("tr-step", "marks"), State("tr-prompt", "value"), State("tr-prompt", "data"),
    )  # fmt: skip
    def choose(
        _: str, selected: list[str] | None, axis: str | None, own: OwnAnswers, place: Count | None,
        marked: list[Mark] | None, prompt: str | None, listed: list[str] | None,
    ) -> tuple[Any, ...]:  # fmt: skip
        entries, _problems = reader.shown(selected)
        samples = _samples(entries, own["answers"])
        steps = sorted({sample.step for sample in samples})
        prompts = list(dict.fromkeys(sample.prompt for sample in samples))
        if own["prompt"] in prompts and own["prompt"] not in (listed or []):
            prompt = own["prompt"]  # what was asked is what is looked at, when its first answer has come
        marks = [{"value": index, "label": str(step)} for index, step in enumerate(steps)]
        last = max(len(steps) - 1, 0)
        # Someone at the newest step stays at the newest as steps are added.
        value = last if place is None or place >= len(marked or []) - 1 else min(place, last)
        asked = prompt if prompt in prompts else (prompts[0] if prompts else None)
        # Sent only where it changes: who moves the step meanwhile is not put back.
        now = value if value != place else no_update
        return max(last, 1), marks, now, len(steps) < 2, prompts, asked, _places(entries, axis, steps)

    @app.callback(
        Output("tr-texts", "children"),
        Input("tr-step", "value"), Input("tr-prompt", "value"), Input("tr-step", "marks"),
        State("tr-selected", "value"), State("tr-own", "data"),
    )  # fmt: skip
    def show(
        place: Count | None, prompt: str | None, marks: list[Mark] | None, selected: list[str] | None, own: OwnAnswers
    ) -> Any:
        entries, _problems = reader.shown(selected)
        steps = [int(mark["label"]) for mark in marks or []]
        step = steps[min(place or 0, len(steps) - 1)] if steps else 0
        return answer_cards(entries, step, prompt, own["answers"])


def _samples(entries: Sequence[Shown], own: Own) -> list[Sample]:
    """What the runs recorded, then the answers to prompts of one's own."""
    recorded = [sample for entry in entries for sample in entry.run.samples()]
    return recorded + [sample for entry in entries for asked in own for sample in own_samples(entry.run, asked, own)]


def _checkpoints(app: Dash, reader: RunReader) -> None:
    @app.server.post("/api/checkpoints")
    def askable() -> Response:
        """Which policies of the runs on screen can be asked, oldest first."""
        runs = body().get("runs")
        entries, notes = reader.shown([str(path) for path in runs] if isinstance(runs, list) else [])
        found: list[dict[str, Any]] = []
        for entry in entries:
            known, start = policies_of(entry.run), base_of(entry.run)
            steps = [*([(0, start)] if start is not None and known else []), *sorted(known.items())]
            found += [
                {"run": str(entry.run.path), "label": entry.label, "step": step, "policy": policy}
                for step, policy in steps
            ]
            if not known:
                notes.append(f"{entry.label} kept no checkpoints: train with --save-steps and --keep-checkpoints")
            elif not entry.run.checkpoints:
                notes.append(f"{entry.label} kept no checkpoints: its base and its result answer")
        return jsonify({"policies": found, "notes": notes})


def _view(app: Dash) -> None:
    """What needs no server: the address, the line at the chosen step, Pause."""
    drawn = (("tr-selected", "value"), ("tr-axis", "value"), ("tr-smoothing", "value"), ("tr-log", "checked"),
             ("tr-norm", "value"))  # fmt: skip
    view = (*drawn, ("tr-filter", "value"))
    address = (Input("url", "search"), State("url", "pathname"))
    in_browser(app, "training.restore", *(Output(*part) for part in view), *address, first=True)
    in_browser(app, "training.remember", Output("tr-written", "data"), *(Input(*part) for part in view))
    # The curves come by /api/curves and are drawn without Dash, whose bookkeeping for a dozen figures at
    # ten points a second would keep the page busy.  Of a page that comes later Dash drops callbacks all of whose
    # inputs `restore` left as they were: therefore the last input.
    inputs = [Input(*part) for part in (*drawn, ("tr-full", "id"))]
    in_browser(app, "training.draw", Output("tr-drawn", "data"), *inputs, first=True)
    steps = (Input("tr-step", "value"), Input("tr-probes", "data"))
    in_browser(app, "training.point", Output("tr-pointed", "data"), *steps, first=True)
    prompts = (Input("tr-prompt", "data"), Input("tr-prompt", "value"))
    in_browser(app, "training.prompts", Output("tr-prompt", "className"), *prompts, first=True)
    smoothing = (Output("tr-smoothing-value", "children"), Input("tr-smoothing", "value"))
    in_browser(app, "training.smooth", *smoothing, first=True)
    in_browser(app, "training.pause", Output("tr-pause", "children"), Input("tr-pause", "n_clicks"))


def _places(entries: Sequence[Shown], axis: str | None, steps: Sequence[int]) -> list[float | None]:
    """Where the probe steps lie on the axis: by the first run that logged it."""
    for entry in entries:
        places = across(entry.metrics, axis if axis in AXES else "Step", np.array(steps, dtype=float))
        if len(places):
            return [float(place) for place in places]
    return [None for _ in steps]
