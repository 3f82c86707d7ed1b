"""One HTML file that shows runs anywhere: charts, findings, settings, notes; nothing is loaded from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from dash import html

from dpo.dashboard.markup import literal, to_html
from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.runs_page.figures import OVER, Figure, frontier, importance, number, parallel
from dpo.dashboard.runs_page.table import MEASURES, Row, differing, heading
from dpo.dashboard.smoothing import is_smoothed, smoothed
from dpo.dashboard.theme import DASHES, FAMILY_COLOR, SYMBOL, layout, rgba
from dpo.errors import RunError
from dpo.runs.doctor import diagnose

_CURVES = (
    ("loss", "Loss"), ("rewards/chosen", "Chosen reward"), ("rewards/rejected", "Rejected reward"),
    ("rewards/margins", "Margin"), ("rewards/accuracies", "Accuracy"),
    ("eval_kl", "KL to reference, nats, first 64 tokens"),
)  # fmt: skip
_MOST_POINTS = 800
_CSS = """
:root{color-scheme:light dark;--page:#f5f5f2;--card:#fff;--ink:#15171c;--ink3:#636973;--line:#e3e3dd}
@media(prefers-color-scheme:dark){:root{--page:#0e1013;--card:#16181c;--ink:#eceef2;--ink3:#8f96a3;--line:#2a2e35}
.gridlayer path{stroke:#23272d!important}}
body{margin:0;background:var(--page);color:var(--ink);font:14px/1.5 Inter,ui-sans-serif,system-ui,"Segoe UI",sans-serif}
main{max-width:1280px;margin:0 auto;padding:24px;display:grid;gap:16px}
h1{font-size:20px;margin:0}h2{font-size:14px;margin:0 0 2px}h3{font-size:13px;margin:12px 0 2px}p{margin:0}
.sub,.sub td{color:var(--ink3);font-size:13px}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:16px;overflow-x:auto;min-width:0}
.two{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr))}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;width:100%}
th{text-align:left;color:var(--ink3);font-weight:500}th,td{padding:5px 12px 5px 0;border-top:1px solid var(--line)}
.chart{height:300px}.bar{height:8px;background:var(--ink3);border-radius:4px}
"""
# The figures lie beside each other in one JSON text; Plotly draws them where a place carries their name.
_DRAW = """
const figures = JSON.parse(document.getElementById("figures").textContent);
document.querySelectorAll("[data-figure]").forEach((place) => {
  const {data, layout} = figures[place.dataset.figure];
  Plotly.newPlot(place, data, layout, {displayModeBar: false, responsive: true});
});
"""


def report(rows: Sequence[Row], reader: RunReader) -> str:
    """The whole document.

    Raises:
        RunError: there are no runs to report.
    """
    if not rows:
        raise RunError("No runs to report: choose some, or clear the filter")
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    figures: dict[str, Figure] = {}
    sections: list[Any] = [_head(rows), html.Section(_table(rows))]
    made, said = frontier(rows, OVER[0])
    figures["frontier"] = made
    pictures = [_picture("frontier", "Reward and KL frontier", said)]
    figures["parallel"], said = parallel(rows)
    pictures.append(_picture("parallel", "Settings and outcome", said))
    sections.append(html.Div(pictures, className="two"))
    shares, said = importance(rows, "accuracy")
    if shares:
        bars = []
        for name, share in shares:
            bar = html.Div(className="bar", style={"width": f"{100 * share:.0f}%"})
            bars.append(
                html.Tr([html.Td(heading(name)), html.Td(f"{share:.0%}"), html.Td(bar, style={"width": "60%"})])
            )
        sections.append(html.Section([html.H2("What mattered"), html.P(said, className="sub"), html.Table(bars)]))
    curves = []
    for key, title in _CURVES:
        figure = _curves(rows, key, reader)
        if figure["data"]:
            figures[key] = figure
            how = "Faint: every logged step. Bold: smoothed." if is_smoothed(key) else "Held out, as it was measured."
            curves.append(_picture(key, title, f"{how} Dashed runs share a family."))
    sections += [html.Div(curves, className="two"), *[_of_run(row, reader) for row in rows]]
    body = "".join(to_html(section) for section in sections)
    content = json.dumps(figures).replace("</", "<\\/")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>DPO runs</title><style>{_CSS}</style></head><body><main>{body}</main>"
        f'<script type="application/json" id="figures">{content}</script>'
        f"<script>{get_plotlyjs()}</script><script>{_DRAW}</script></body></html>\n"
    )


def _head(rows: Sequence[Row]) -> html.Div:
    now = f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"
    return html.Div(
        [html.H1("DPO runs"), html.P(f"{len(rows)} runs · {now} · dpo {version('dpo-workbench')}", className="sub")]
    )


def _table(rows: Sequence[Row]) -> html.Table:
    differ, alike = differing(rows)
    fields = [("name", "Run"), ("state", "Status"), *((f"set/{name}", heading(name)) for name in differ)]
    fields += [("step", "Step"), *((field, title) for field, title, _ in MEASURES), ("note", "Note")]
    fields = [(field, title) for field, title in fields if any(row.get(field) not in (None, "") for row in rows)]
    lines = [html.Tr([html.Td(_cell(row.get(field))) for field, _ in fields]) for row in rows]
    same = ", ".join(f"{heading(name)} {_cell(rows[0].get(f'set/{name}'))}" for name in alike)
    return html.Div(
        [html.Table([html.Tr([html.Th(title) for _, title in fields]), *lines]),
         html.P(f"The same in all: {same}" if same and len(rows) > 1 else "", className="sub")]
    )  # fmt: skip


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def _picture(key: str, title: str, said: str) -> html.Section:
    place = html.Div(className="chart", role="img", **{"data-figure": key, "aria-label": f"{title}. {said}"})
    return html.Section([html.H2(title), html.P(said, className="sub"), place])


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
        color, x = FAMILY_COLOR[row["family"]], steps[places].tolist()
        line = {"type": "scatter", "mode": "lines", "x": x, "name": literal(row["name"])}
        bold = {"color": color, "width": 2.25, "dash": DASHES[rank % len(DASHES)]}
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


def _of_run(row: Row, reader: RunReader) -> html.Section:
    parts: list[Any] = [html.H2(row["name"]), html.P(f"{row['path']} · {row['state']}", className="sub")]
    if row["note"]:
        parts.append(html.P(row["note"]))
    try:
        run, _ = reader.read(row["path"])
        for verdict in diagnose(run):
            parts.append(html.P([html.B(f"{verdict.severity}: "), verdict.sentence]))
    except RunError as error:
        parts.append(html.P(str(error)))
    settings = [
        html.Tr([html.Td(name[4:]), html.Td(_cell(value))]) for name, value in row.items() if name.startswith("set/")
    ]
    if settings:
        parts.append(html.Details([html.Summary("Settings"), html.Table(settings, className="sub")]))
    return html.Section(parts)
