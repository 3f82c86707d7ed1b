"""The frontier of reward and KL, parallel coordinates, and which settings mattered (no dash here)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dpo.counting import counted
from dpo.dashboard.markup import literal
from dpo.dashboard.runs_page.table import MEASURES, Row, differing, heading
from dpo.dashboard.theme import DOTTED, FAMILY_COLOR, NEUTRAL, SYMBOL, layout, rgba

Figure = dict[str, Any]
# What the frontier's vertical axis can be: label, and how a checkpoint's value is found.
OVER = ("Margin", "Margin ÷ β", "Accuracy")
_MOST_LABELS = 12
_FEWEST_TRIALS = 4
_LONG_WORD = 11  # letters under an axis, of which a phone shows seven beside each other
_LOG_FROM = 20.0  # a range over this many times its low end is drawn on a logarithmic axis


def frontier(rows: Sequence[Row], over: str = OVER[0], selected: Sequence[str] = ()) -> tuple[Figure, str]:
    """Reward over KL to the reference, every checkpoint of every run (Rafailov et al. 2023, figure 2), and a sentence.

    The dotted line joins the checkpoints that no other one beats in both; open marks are runs under way.
    """
    drawn = [(row, _path(row, over)) for row in rows]
    drawn = [(row, points) for row, points in drawn if points]
    figure = _empty("KL to reference, nats, first 64 tokens")
    if not drawn:
        for axis in ("xaxis", "yaxis"):
            figure["layout"][axis] |= {"showticklabels": False}  # Plotly's usual numbers would mean nothing
        figure["layout"]["annotations"] = [{
            "text": "No run here has measured the KL of its own answers", "x": 0.5, "y": 0.5, "xref": "paper",
            "yref": "paper", "showarrow": False, "font": {"size": 13, "color": NEUTRAL},
        }]  # fmt: skip
        return figure, (
            "The KL of a run's own answers is measured at every evaluation by dpo train with --kl-prompts above 0 "
            "(its default); the runs that come with dpo were trained before that. The ≈ of the Training page is "
            "another thing: an estimate on the chosen answers."
        )
    limit = _limit([points[-1][0] for _, points in drawn])
    off = [f"{row['name']}, KL {points[-1][0]:.3g}" for row, points in drawn if points[-1][0] > limit]
    inside = [(row, points) for row, points in drawn if points[-1][0] <= limit]
    best = _undominated([point for _, points in inside for point in points])
    data = [_line([x for x, _, _ in best], [y for _, y, _ in best], NEUTRAL, 1.25, DOTTED)]
    ends: list[dict[str, Any]] = []  # over all lines, so that none crosses a name
    farthest = max((points[-1][0] for _, points in inside), default=0.0)
    for row, points in inside:
        color = FAMILY_COLOR[row["family"]]
        strong = not selected or row["path"] in selected
        label = literal(row["name"])
        steps = [f"{label}, step {step:g}" for *_, step in points]
        data.append(
            _line([p[0] for p in points], [p[1] for p in points], rgba(color, 0.45 if strong else 0.2), 1.25)
            | {"mode": "lines+markers", "marker": {"size": 5, "symbol": SYMBOL[row["family"]]}, "text": steps,
               "hovertemplate": "%{text}<br>KL %{x:.3g}, %{y:.3g}<extra></extra>", "hoverinfo": "text"}
        )  # fmt: skip
        x, y, step = points[-1]
        left = x > 0.6 * farthest  # a name at the right edge would be cut
        symbol = SYMBOL[row["family"]] + ("-open" if row["state"] == "running" else "")
        ends.append({
            "type": "scatter", "x": [x], "y": [y], "mode": "markers+text", "name": row["name"],
            "text": [f"  {label}  " if len(inside) <= _MOST_LABELS else ""],
            "textposition": "middle left" if left else "middle right",
            "textfont": {"size": 12, "color": NEUTRAL}, "cliponaxis": False, "opacity": 1.0 if strong else 0.35,
            "marker": {"symbol": symbol, "size": 11, "color": color, "line": {"width": 2, "color": color}},
            "hovertemplate": f"{label}, step {step:g}<br>KL %{{x:.3g}}, %{{y:.3g}}<extra></extra>",
        })  # fmt: skip
    figure["data"] = data + ends
    figure["layout"]["uirevision"] = over  # a zoom into one measure means nothing on another's axis
    figure["layout"]["xaxis"]["range"] = [0, 1.35 * max(point[0] for _, points in inside for point in points) or 1]
    figure["layout"]["yaxis"] |= {"tickformat": ".0%" if over == "Accuracy" else "~g"}
    count = sum(len(points) for _, points in inside)
    drawn_are = f"{counted(len(inside), 'run')}, {counted(count, 'checkpoint')}"
    note = f"Up and left is better. {drawn_are}" + (" (÷ β)" if "β" in over else "") + "."
    without = [row["name"] for row in rows if row["kind"] == "dpo" and not row["points"]]
    note += f" Not drawn: {'; '.join(off)}." if off else ""
    return figure, note + (f" Without KL: {_few(without)}." if without else "")


def points(values: Sequence[tuple[int, float, Row]], best: Sequence[float], x_title: str, tickformat: str) -> Figure:
    """A mark for each (place, value, run), and a line of steps through what was `best` up to each place."""
    figure = _empty(x_title)
    places = [place for place, *_ in values]
    figure["layout"]["xaxis"] |= {"dtick": max(1, len(places) // 8), "tickformat": "d"}
    figure["layout"]["yaxis"] |= {"tickformat": tickformat}
    figure["data"] = [_line(places, best, NEUTRAL, 1.5) | {"line": {"color": NEUTRAL, "width": 1.5, "shape": "hv"}}]
    for place, value, row in values:
        color, name = FAMILY_COLOR[row["family"]], literal(row["name"])
        figure["data"].append({
            "type": "scatter", "x": [place], "y": [value], "mode": "markers", "name": row["name"],
            "marker": {"symbol": SYMBOL[row["family"]], "size": 9, "color": color}, "cliponaxis": False,
            "hovertemplate": f"{name}<br>%{{y:.3g}}<extra></extra>",
        })  # fmt: skip
    return figure


def parallel(rows: Sequence[Row], selected: Sequence[str] = ()) -> tuple[Figure, str]:
    """One line for each run through its settings and measures; plain SVG, which needs no WebGL."""
    figure = _empty(None)
    figure["layout"]["xaxis"] |= {"visible": False}
    figure["layout"]["yaxis"] = {"visible": False, "range": [-0.14, 1.34]}
    figure["layout"]["margin"] = {"l": 8, "r": 8, "t": 4, "b": 4}
    axes = [axis for axis in (_axis(rows, field, title) for field, title in _fields(rows)) if axis is not None]
    if len(rows) < 2 or len(axes) < 2:
        return figure, "Two runs that differ make a picture here."
    notes, shapes = [], []
    for place, axis in enumerate(axes):
        shapes.append({"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "opacity": 0.5,
                       "line": {"color": NEUTRAL, "width": 1}})  # fmt: skip
        texts = ((1, literal(axis["high"]), 12), (0, literal(axis["low"]), -12), (1, f"<b>{axis['title']}</b>", 32))
        notes += [{"x": place, "y": y, "yshift": shift, "text": text, "showarrow": False,
                   "font": {"size": 12, "color": NEUTRAL}} for y, text, shift in texts]  # fmt: skip
    order = sorted(range(len(rows)), key=lambda i: rows[i]["path"] in selected)
    for i in order:
        row, on = rows[i], rows[i]["path"] in selected
        color = FAMILY_COLOR[row["family"]]
        pale = 0.38 if selected or len(rows) > 6 else 0.8
        hover = [f"{literal(row['name'])}<br>{axis['title']}: {literal(axis['texts'][i])}" for axis in axes]
        data = _line(list(range(len(axes))), [axis["at"][i] for axis in axes], color if on else rgba(color, pale),
                     2.5 if on else 1.5, "solid" if row["state"] in ("done", "running") else DOTTED)  # fmt: skip
        marker = {"symbol": SYMBOL[row["family"]], "size": 8 if on else 5, "color": color if on else rgba(color, 0.6)}
        figure["data"].append(data | {"mode": "lines+markers", "name": row["name"], "text": hover, "marker": marker,
                                      "hovertemplate": "%{text}<extra></extra>", "hoverinfo": "text"})  # fmt: skip
    figure["layout"] |= {"shapes": shapes, "annotations": notes}
    figure["layout"]["xaxis"]["range"] = [-0.4, len(axes) - 0.6]
    return figure, "One line for each run; bold is selected, dotted was stopped or failed."


def importance(rows: Sequence[Row], measure: str) -> tuple[list[tuple[str, float]], str]:
    """How much of the spread of `measure` each setting explains (fANOVA, Hutter et al. 2014), and a sentence.

    Shares add up to 1.  Only runs that have the measure count, only settings that differ among them.
    """
    known = [row for row in rows if row.get(measure) is not None and math.isfinite(row[measure])]
    settings = [name for name in differing(known)[0] if name != "seed"] if known else []
    settings = [name for name in settings if all(row.get(f"set/{name}") is not None for row in known)]
    if len(known) < _FEWEST_TRIALS or not settings:
        return [], f"It takes {_FEWEST_TRIALS} runs with this measure and settings that differ; there are {len(known)}."
    if len({row[measure] for row in known}) < 2:
        return [], f"All {len(known)} runs came to the same {measure}."
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {name: _distribution([row[f"set/{name}"] for row in known]) for name in settings}
    study = optuna.create_study()
    for row in known:
        params = {name: row[f"set/{name}"] for name in settings}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=float(row[measure]))
        )
    shares = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    caution = " Few runs: take it as a hint." if len(known) < 3 * len(settings) + 5 else ""
    return [
        (name, float(share)) for name, share in shares.items()
    ], f"Share of the spread of {measure} among {len(known)} runs (fANOVA).{caution}"


def _distribution(values: Sequence[Any]) -> Any:
    import optuna

    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        low, high = min(values), max(values)
        if all(isinstance(value, int) for value in values):
            return optuna.distributions.IntDistribution(low, high)
        return optuna.distributions.FloatDistribution(low, high, log=low > 0 and high / low >= _LOG_FROM)
    return optuna.distributions.CategoricalDistribution(sorted(set(values), key=str))


def _path(row: Row, over: str) -> list[tuple[float, float, float]]:
    """KL, value and step of a run's checkpoints."""
    beta = row.get("set/beta")
    made = []
    for point in row["points"]:
        value = point.get("accuracy") if over == "Accuracy" else point["margin"]
        if over == OVER[1]:
            value = point["margin"] / beta if beta else None
        if value is not None:
            made.append((float(point["kl"]), float(value), float(point["step"])))
    return made


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _limit(ends: Sequence[float]) -> float:
    """Beyond this KL a run would squeeze all others into a corner."""
    return max(4 * float(np.median(ends)), 1e-9) if len(ends) > 2 else max(ends)


def _undominated(points: Sequence[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    best: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best


def _fields(rows: Sequence[Row]) -> list[tuple[str, str]]:
    settings = [(f"set/{name}", heading(name)) for name in differing(rows)[0]]
    numeric = [pair for pair in settings if any(row.get(pair[0]) is not None for row in rows)]
    return numeric[:6] + [(field, title.lower() if field != "kl" else title) for field, title, _ in MEASURES[:4]]


def _axis(rows: Sequence[Row], field: str, title: str) -> dict[str, Any] | None:
    """Places from 0 to 1 on one axis; None where no row has a value or all have the same."""
    values = [row.get(field) for row in rows]
    known = [value for value in values if value is not None]
    if len({str(value) for value in known}) < 2:
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        words = sorted({str(value) for value in known})
        at = [words.index(str(value)) / (len(words) - 1) if value is not None else None for value in values]
        names = [word.rpartition("/")[2] if len(word) >= _LONG_WORD else word for word in words]
        short = [word if len(word) < _LONG_WORD else word[: _LONG_WORD - 2] + "…" for word in names]
        return {"title": title, "at": at, "texts": [str(v) for v in values], "low": short[0], "high": short[-1]}
    finite = [float(value) for value in known if math.isfinite(value)]
    if len(set(finite)) < 2:
        return None
    log = min(finite) > 0 and max(finite) / min(finite) >= _LOG_FROM
    scale = math.log10 if log else float
    low, high = scale(min(finite)), scale(max(finite))
    at = [(scale(float(v)) - low) / (high - low) if v is not None and math.isfinite(v) else None for v in values]
    texts = ["-" if v is None else number(float(v)) for v in values]
    return {"title": title, "at": at, "texts": texts, "low": number(min(finite)), "high": number(max(finite))}


def number(value: float) -> str:
    """Three digits, powers as people write them: 5e-6."""
    return f"{value:.3g}".replace("e-0", "e-").replace("-", "\u2212", 1 if value < 0 else 0)


def _line(x: Sequence[float], y: Sequence[float | None], color: str, width: float, dash: str = "solid") -> Figure:
    return {"type": "scatter", "x": list(x), "y": list(y), "mode": "lines", "hoverinfo": "skip",
            "line": {"color": color, "width": width, "dash": dash}}  # fmt: skip


def _empty(x_title: str | None) -> Figure:
    made = layout() | {"margin": {"l": 48, "r": 16, "t": 8, "b": 42}, "hovermode": "closest"}
    made["xaxis"] = made["xaxis"] | {"showspikes": False}
    if x_title:
        made["xaxis"] |= {"title": {"text": x_title, "font": {"size": 12, "color": NEUTRAL}}}
    return {"data": [], "layout": made}
