"""Learn: the glossary, and a playground of losses with a run's real held-out margins beneath."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dash import html
from flask import Flask, Response, jsonify
from plotly.io.json import to_json_plotly  # type: ignore[import-untyped]

from dpo.arrays import Floats
from dpo.dashboard.components import box, button, card
from dpo.dashboard.markup import literal
from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.theme import DOTTED, FAMILY_COLOR, NEUTRAL, layout, rgba
from dpo.dashboard.web.reading import body
from dpo.dashboard.workbench import Workbench
from dpo.errors import ConfigError, PolicyError, RunError, quoted
from dpo.evaluation.worker import LensWorker, Task
from dpo.glossary import TERMS
from dpo.losses import LOSSES, Options, curve, margin_losses
from dpo.policies.names import weights_state
from dpo.runs import Run, open_run

PAIRS = 128
"""Held-out pairs that are measured at most: seconds with a small policy on two cores."""
_ALWAYS = margin_losses()[:3]
_MOST = 4.0  # of the scaled loss that is shown
_WIDTHS = (2.75, 2.0, 1.25)  # of losses in ink, in turn; their names stand at their lines


def panel() -> html.Section:
    """The card at the foot of the Training page; drawn by assets/js/training/losses.js."""
    words = sorted(TERMS.values(), key=lambda term: term.name.lower())
    chips = [
        html.Button(name, type="button", className="ex js-loss", title=f"{LOSSES[name].about} ({LOSSES[name].paper})",
                    **{"data-loss": name, "aria-pressed": "true" if name in _ALWAYS else "false"})
        for name in margin_losses()
    ]  # fmt: skip
    playground = html.Details(
        [
            html.Summary([html.H2("Loss playground"), html.Span("what each loss asks of a pair", className="sub")]),
            html.P(
                "Every loss over the margin, scaled to 1 at margin 0; the chosen ones are drawn in ink. Where a loss "
                "looks at both rewards, each is taken to make half of the margin.",
                className="sub",
            ),
            html.Div(chips, className="row loss-chips", role="group", **{"aria-label": "Losses drawn in ink"}),
            html.Figure(
                html.Div(className="plot"), className="figure loss-figure", role="img", id="learn-figure",
                **{"aria-labelledby": "learn-note"},
            ),
            box(
                button("Measure held-out margins", "lens", id="learn-measure", size="xs"),
                html.Span("", className="sub", id="learn-note", role="status"),
                cls="row",
            ),
        ],
        id="learn-playground",
    )  # fmt: skip
    glossary = html.Details(
        [
            html.Summary([html.H2("Glossary"), html.Span(f"{len(words)} words", className="sub")]),
            html.Dl(
                [
                    part
                    for term in words
                    for part in (
                        html.Dt(term.name),
                        html.Dd(
                            [term.definition, html.Span(f" {term.source}", className="sub") if term.source else None]
                        ),
                    )
                ],
                className="glossary",
            ),
        ],
        id="learn-glossary",
    )
    return card(playground, glossary, cls="learn", id="tr-learn")


class Margins:
    """Held-out margins of runs, measured once for each state of their policy."""

    def __init__(self, worker: LensWorker) -> None:
        self.worker = worker
        self._known: dict[object, list[float]] = {}
        self._lock = threading.Lock()

    def known(self, run: Run) -> list[float] | None:
        """What was measured before, if it was."""
        try:
            return self._known.get(_key(run))
        except PolicyError:  # reported when they are measured
            return None

    def measure(self, run: Run) -> list[float]:
        """Margins (in units of reward) of the first held-out pairs, under the run's policy and reference.

        Raises:
            RunError: no policy was saved, or nothing was held out.
            DataError, PolicyError: its data or its reference is gone.
            BusyError: too many ask.
        """
        if run.policy_path is None:
            raise RunError(
                f"{run.name} has saved no policy yet: its margins can be measured when it ends or is stopped"
            )
        with self._lock:
            found = self._known.get(_key(run))
            if found is not None:
                return found
            made: list[float] = []

            def work(worker: LensWorker, task: Task) -> None:
                made.extend(_scored(worker, task, run))

            task = self.worker.submit(work)
            problem = next((event["message"] for event in self.worker.follow(task) if event["event"] == "failed"), None)
            if problem is not None:
                raise PolicyError(problem)
            self._known[_key(run)] = made
            return made


def _scored(worker: LensWorker, task: Task, run: Run) -> list[float]:
    from dpo.evaluation.pairs import run_pairs, score_pairs

    pairs, _message = run_pairs(str(run.path), PAIRS)
    lens = worker.lens(task, str(run.path))
    scores, _left_out = score_pairs(lens, pairs, longest=lens.tuning.drop_over, cancelled=task.cancelled.is_set)
    return [score.margin for score in scores]


def register(server: Flask, workbench: Workbench) -> None:
    """Add `POST /api/losses` (the figure) and `POST /api/losses/margins` (measure a run)."""
    margins, allowed = Margins(workbench.lens), workbench.allowed

    @server.post("/api/losses")
    def losses() -> Response:
        sent = body()
        run = _run(sent, workbench.runs)
        return Response(to_json_plotly(draw(sent, run, margins.known(run) if run else None)),
                        mimetype="application/json")  # fmt: skip

    @server.post("/api/losses/margins")
    def measure() -> Response:
        run = _run(body(), workbench.runs)
        if run is None:
            raise ConfigError("Choose a run at the left first")
        allowed.tuned(str(run.path))
        allowed.pairs_of(str(run.path))
        with workbench.streams.place():
            return jsonify({"pairs": len(margins.measure(run))})


def draw(asked: Mapping[str, Any], run: Run | None, margins: list[float] | None) -> dict[str, Any]:
    """The playground as `figure`, with a `note` in one line and the run's own loss.

    Raises:
        ConfigError: an unknown loss.
    """
    given = asked.get("losses")
    own = [name for name in (run.config.get("loss_type") or [] if run else []) if name in margin_losses()]
    inked = [str(name) for name in given] if isinstance(given, list) else list(dict.fromkeys([*own, *_ALWAYS]))
    unknown = [name for name in inked if name not in margin_losses()]
    if unknown:
        raise ConfigError(f"{quoted(unknown[0])} is no loss of the margin: choose from {', '.join(margin_losses())}")
    config = run.config if run else {}
    options = Options(
        beta=float(config.get("beta") or 0.1), label_smoothing=float(config.get("label_smoothing") or 0.0),
        discopop_tau=float(config.get("discopop_tau") or 0.05),
    )  # fmt: skip
    far = max(4.0, *(abs(value) * 1.1 for value in margins)) if margins else 4.0
    traces, notes = _lines(inked, np.linspace(-far, far, 161), options)
    made = _axes(far)
    made["annotations"] = notes
    note = f"{run.name}: not measured yet" if run else "Choose a run at the left to see its margins"
    if run is not None and margins:
        traces.append(_histogram(run, margins))
        note = _sentence(run, margins)
        made["yaxis"] |= {"domain": [0.36, 1]}
        made["yaxis2"] = made["yaxis"] | {"domain": [0, 0.28], "anchor": "x", "title": _title("pairs")}
        made["yaxis2"].pop("range")
        made["xaxis"] |= {"anchor": "y2"}
    return {"figure": {"data": traces, "layout": made}, "note": note, "inked": inked, "measured": bool(margins)}


def _lines(inked: Sequence[str], x: Floats, options: Options) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every loss over the margins `x`, those in ink last, and the names of the latter."""
    traces, notes = [], []
    for name in [*(other for other in margin_losses() if other not in inked), *inked]:
        y = curve(LOSSES[name], x, options) / curve(LOSSES[name], np.zeros(1), options)
        trace = {"type": "scatter", "mode": "lines", "x": x.tolist(), "y": y.tolist(), "name": name}
        if name not in inked:
            traces.append(trace | {"line": {"color": rgba(NEUTRAL, 0.35), "width": 1}, "hoverinfo": "skip"})
            continue
        place = inked.index(name)
        line = {"color": NEUTRAL, "width": _WIDTHS[place % len(_WIDTHS)]}
        traces.append(trace | {"line": line, "hoverinfo": "name+y"})
        # Names stand where a loss enters the chart at the left, in turn on its two sides.
        at = int(np.argmax(y <= _MOST)) if (y <= _MOST).any() else 0
        side = "left" if place % 2 or not at else "right"
        notes.append({"x": float(x[at]), "y": float(y[at]), "text": name, "showarrow": False,
                      "xanchor": side, "yanchor": "bottom", "font": {"size": 12, "color": NEUTRAL}})  # fmt: skip
    return traces, notes


def _axes(far: float) -> dict[str, Any]:
    made = layout() | {"margin": {"l": 52, "r": 14, "t": 26, "b": 44}, "hovermode": "closest"}
    made["yaxis"] |= {"range": [-0.3, _MOST], "title": _title("loss ÷ loss at 0")}
    made["xaxis"] |= {"range": [-far, far], "title": _title("margin (chosen − rejected reward)")}
    made["shapes"] = [{"type": "line", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1,
                       "line": {"color": NEUTRAL, "width": 1, "dash": DOTTED}}]  # fmt: skip
    return made


def _title(text: str) -> dict[str, Any]:
    return {"text": text, "font": {"size": 12}}


def _histogram(run: Run, margins: list[float]) -> dict[str, Any]:
    counts, edges = np.histogram(margins, bins=min(40, max(8, len(margins) // 4)))
    return {"type": "bar", "x": ((edges[:-1] + edges[1:]) / 2).tolist(), "y": counts.tolist(),
            "width": float(edges[1] - edges[0]), "yaxis": "y2", "name": f"{literal(run.name)} held out",
            "marker": {"color": rgba(FAMILY_COLOR[run.family], 0.55)},
            "hovertemplate": "%{y} pairs near %{x:.3g}"}  # fmt: skip


def _sentence(run: Run, margins: list[float]) -> str:
    right = sum(value > 0 for value in margins) / len(margins)
    middle = f"{float(np.median(margins)):.3g}".replace("-", "−")
    return f"{run.name}: {len(margins)} held-out pairs, {right:.0%} ranked right, median margin {middle}"


def _key(run: Run) -> object:
    return str(run.path.resolve()), weights_state(str(run.path)) if run.policy_path is not None else None


def _run(sent: Mapping[str, Any], runs: RunReader) -> Run | None:
    path = sent.get("run")
    return open_run(runs.inside(path)) if isinstance(path, str) and path else None
