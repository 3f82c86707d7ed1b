"""One HTML file that shows runs anywhere: charts, findings, settings, notes; nothing is loaded from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from dpo.dashboard.markup import literal
from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.runs_page.figures import OVER, Figure, frontier, importance, number, parallel
from dpo.dashboard.runs_page.table import MEASURES, Row, differing, heading
from dpo.dashboard.smoothing import is_smoothed, smoothed
from dpo.dashboard.theme import SYMBOL, layout, line_color, rgba
from dpo.errors import RunError
from dpo.palette import palette
from dpo.runs.doctor import diagnose

_CURVES = (
    ("loss", "Loss"), ("rewards/chosen", "Chosen reward"), ("rewards/rejected", "Rejected reward"),
    ("rewards/margins", "Margin"), ("rewards/accuracies", "Accuracy"),
    ("eval_kl", "KL to reference, nats, first 64 tokens"), ("eval_win_rate", "Win rate against the start"),
)  # fmt: skip
_MOST_POINTS = 800
_MOST_PROMPTS = 12


def report(rows: Sequence[Row], reader: RunReader) -> str:
    """The whole document.

    Raises:
        RunError: there are no runs to report.
    """
    if not rows:
        raise RunError("No runs to report: choose some, or clear the filter")
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    (front, front_note), (lines, lines_note) = frontier(rows, OVER[0]), parallel(rows)
    shares, shares_note = importance(rows, "accuracy")
    curves = {key: _curves(rows, key, reader) for key, _ in _CURVES}
    drawn = {key: figure for key, figure in curves.items() if figure["data"]}
    figures = json.dumps({"frontier": front, "parallel": lines} | drawn)
    alike = differing(rows)[1]
    page = Environment(loader=PackageLoader("dpo.dashboard.runs_page", ""), autoescape=True)
    page.filters["cell"] = _cell
    return page.get_template("report.html").render(
        rows=rows,
        palette=palette(),
        now=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        version=version("dpo-workbench"),
        fields=_fields(rows),
        same=", ".join(f"{heading(name)} {_cell(rows[0].get(f'set/{name}'))}" for name in alike),
        overview=[
            ("frontier", "Reward and KL frontier", front_note), ("parallel", "Settings and outcome", lines_note)
        ],
        shares=[(heading(name), share) for name, share in shares],
        shares_note=shares_note,
        curves=[(key, title, _curve_note(key)) for key, title in _CURVES if key in drawn],
        findings={row["path"]: _findings(row, reader) for row in rows},
        answers={row["path"]: _answers(row, reader) for row in rows},
        settings={row["path"]: [(n[4:], v) for n, v in row.items() if n.startswith("set/")] for row in rows},
        figures=figures.replace("</", "<\\/"),
        plotly=get_plotlyjs(),
    )  # fmt: skip


def _fields(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The table's columns (field, heading) of which a run has something."""
    fields = [("name", "Run"), ("state", "Status"), *((f"set/{n}", heading(n)) for n in differing(rows)[0])]
    fields += [("step", "Step"), *((field, title) for field, title, _ in MEASURES), ("note", "Note")]
    return [(field, title) for field, title in fields if any(row.get(field) not in (None, "") for row in rows)]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def _curve_note(key: str) -> str:
    how = "Faint: every logged step. Bold: smoothed." if is_smoothed(key) else "Held out, as it was measured."
    return f"{how} Runs of a family differ in the step of its colour."


def _findings(row: Row, reader: RunReader) -> list[tuple[str, str]]:
    """What the doctor says of a run, (severity, sentence); without a severity why it could not look."""
    try:
        run, _ = reader.read(row["path"])
        return [(verdict.severity, verdict.sentence) for verdict in diagnose(run)]
    except RunError as error:
        return [("", str(error))]


def _answers(row: Row, reader: RunReader) -> list[tuple[str, list[tuple[str, str]]]]:
    """For each probe prompt what answered (the reference, then the policy by step) and its text; repeats left out."""
    try:
        samples = reader.read(row["path"])[0].samples()
    except RunError:
        return []
    made: dict[str, list[tuple[str, str]]] = {}
    for sample in sorted(samples, key=lambda sample: sample.step):
        known = made.setdefault(sample.prompt, [])
        if not known and sample.reference is not None:
            known.append(("reference", sample.reference))
        if not known or known[-1][1] != sample.policy:
            known.append((f"step {sample.step:,}", sample.policy))
    return list(made.items())[:_MOST_PROMPTS]


def _curves(rows: Sequence[Row], key: str, reader: RunReader) -> Figure:
    figure: Figure = {"data": [], "layout": layout() | {"showlegend": True, "legend": {"orientation": "h", "y": -0.15}}}
    figure["layout"]["margin"] = {"l": 48, "r": 12, "t": 8, "b": 28}
    seen: dict[str | None, int] = {}
    for row in rows:
        try:
            _, metrics = reader.read(row["path"])
        except RunError:
            continue
        steps, values = metrics.points(key)
        if not len(steps):
            continue
        rank = seen[row["family"]] = seen.get(row["family"], -1) + 1
        places = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _MOST_POINTS)).astype(int))
        color, x = line_color(row["family"], rank), steps[places].tolist()
        line = {"type": "scatter", "mode": "lines", "x": x, "name": literal(row["name"])}
        bold = {"color": color, "width": 2.25}
        y = values[places].tolist()
        if is_smoothed(key):
            faint = {"line": {"color": rgba(color, 0.26), "width": 1}, "hoverinfo": "skip", "showlegend": False}
            figure["data"] += [
                line | {"y": y} | faint,
                line | {"y": smoothed(values, 0.6)[places].tolist(), "line": bold},
            ]
        else:
            marks = {"mode": "lines+markers", "marker": {"symbol": SYMBOL[row["family"]], "size": 6, "color": color}}
            figure["data"].append(line | {"y": y, "line": bold} | marks)
    return figure
