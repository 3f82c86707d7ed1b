"""The dialog in which a sweep is made: its form (filled by assets/js/sweep/form.js), and the routes that it asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dash import html
from flask import Flask, Response, jsonify, request

from dpo.dashboard.components import box, button, command, dialog
from dpo.dashboard.web.reading import body, text
from dpo.dashboard.workbench import Workbench
from dpo.errors import DpoError
from dpo.runs.manage import listed
from dpo.training.config import BEST_BY, TrainConfig
from dpo.training.sweep_plan import METHODS, OWN, PRUNINGS, plan_of

_NAMES = tuple(spec.name for spec in dataclasses.fields(TrainConfig) if spec.name not in OWN)
# What a new sweep searches, in the words of the form: beta by its values, the rate by its ends.
_SEARCH = {"beta": "0.05, 0.1, 0.3", "learning_rate": "1e-5 to 1e-3 log"}
_SETTINGS = {"model": "demo/gpt2", "dataset": "sample", "max_steps": 40}


def sweep_dialog() -> Any:
    """Closed; its form is made when it is opened."""
    return dialog(
        box(
            html.P("Change what it searches; choose a run first to start from its settings.", className="sub"),
            html.Div(id="rn-sweep-form", className="sweep-form"),
            html.P("", id="rn-sweep-message", className="sub", role="status"),
            box(button("Start sweep", "play", "filled", id="rn-sweep-start"), cls="row end-row"),
            html.Details(
                [
                    html.Summary("As YAML: for the terminal, and for several workers"),
                    html.Div(id="rn-sweep-yaml"),
                    box(button("Copy", "copy", id="rn-sweep-copy"), cls="row end-row"),
                    html.P("Save it as sweep.yaml, and in as many terminals or on as many machines as you like:",
                           className="sub"),
                    command("dpo sweep --config sweep.yaml"),
                ]
            ),
            html.P("Its runs appear in this table as they start.", className="sub"),
            id="rn-sweep",
        ),
        "rn-sweep-box", "New sweep", 720,
    )  # fmt: skip


def register(server: Flask, workbench: Workbench) -> None:
    """Add the routes below `/api/sweep`."""

    @server.get("/api/sweep/form")
    def sweep_form() -> Response:
        """What the form offers and begins with: the settings of the run that `run` names."""
        run = request.args.get("run")
        return jsonify({
            "names": _NAMES, "methods": METHODS, "measures": tuple(BEST_BY), "prunings": PRUNINGS,
            "search": [*_SEARCH.items()], "settings": [*start_of([run] if run else [], workbench.roots).items()],
        })  # fmt: skip

    @server.post("/api/sweep/check")
    def sweep_check() -> Response:
        """What a sweep's YAML text (`plan`) comes to, without starting it."""
        plan = plan_of(text(body(), "plan"), "The sweep", "sweep")
        points = plan.combinations()
        return jsonify({"name": plan.name, "trials": plan.trials, "searched": list(plan.search),
                        "combinations": None if points is None else len(points)})  # fmt: skip


def start_of(paths: Sequence[str], roots: Sequence[Path]) -> dict[str, Any]:
    """Settings to begin a sweep with: those of the first run that are not the defaults, without what is searched."""
    try:
        settings = listed(paths[0], roots).config if paths else {}
    except DpoError:
        settings = {}
    defaults = dataclasses.asdict(TrainConfig())
    changed = {name: value for name, value in settings.items()
               if name in _NAMES and name not in _SEARCH and value != defaults[name]}  # fmt: skip
    return changed or _SETTINGS
