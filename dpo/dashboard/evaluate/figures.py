"""The charts of an evaluation: by temperature, by distance from the base, and what a size can show."""

from __future__ import annotations

import math
from typing import Any

from dpo.counting import counted
from dpo.dashboard.evaluate.naming import Names, Row, percent
from dpo.dashboard.markup import literal
from dpo.dashboard.theme import DOTTED, FAMILY_COLOR, NEUTRAL, SYMBOL, layout, rgba
from dpo.evaluation.statistics.planning import detectable_difference, spread

_APART = 0.012  # of temperature, so that the error bars of two policies do not overlap


def by_temperature(made: Row, names: Names, judge: str) -> tuple[dict[str, Any], str]:
    """The figure, and the finding in words; "" where there is one temperature only, which makes no chart."""
    figure: dict[str, Any] = {"data": [], "layout": layout()}
    rows = [row for row in made["comparisons"] if row["judge"] == judge and row["win_rate"] is not None]
    temperatures = sorted({row["temperature"] for row in rows})
    pairs = [tuple(pair) for pair in made["plan"]["comparisons"]]
    shown = figure["layout"]
    shown["hovermode"] = "closest"
    shown["margin"] = {"l": 44, "r": 84, "t": 10, "b": 44}
    shown["shapes"] = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0.5, "y1": 0.5,
         "line": {"color": NEUTRAL, "width": 1, "dash": DOTTED}}
    ]  # fmt: skip
    if temperatures:
        room = 0.06 + 0.05 * (temperatures[-1] - temperatures[0])
        shown["xaxis"] |= {
            "title": {"text": "Temperature", "font": {"size": 12, "color": NEUTRAL}}, "tickvals": temperatures,
            "range": [temperatures[0] - room, temperatures[-1] + room],
        }  # fmt: skip
    shown["yaxis"] |= {"tickformat": ".0%"}
    shown["annotations"] = []
    for place, (policy, against) in enumerate(pairs):
        own = sorted(
            (row for row in rows if (row["policy"], row["against"]) == (policy, against)),
            key=lambda row: float(row["temperature"]),
        )
        if own:
            _draw(figure, own, names, place - (len(pairs) - 1) / 2)
    return figure, _finding(rows, temperatures, names)


def _draw(figure: dict[str, Any], own: list[Row], names: Names, offset: float) -> None:
    named = names[own[0]["policy"]]
    color = FAMILY_COLOR[named.family]
    rates = [row["win_rate"] for row in own]
    ends = [[rate["value"] if rate[end] is None else rate[end] for rate in rates] for end in ("low", "high")]
    figure["data"].append(
        {
            "type": "scatter", "mode": "lines+markers", "name": literal(named.label),
            "x": [row["temperature"] + _APART * offset for row in own], "y": [rate["value"] for rate in rates],
            "line": {"color": color, "width": 2.25},
            "marker": {"symbol": SYMBOL[named.family], "size": 10, "color": color},
            "error_y": {
                "type": "data", "symmetric": False, "thickness": 1.5, "width": 0, "color": rgba(color, 0.55),
                "array": [high - rate["value"] for high, rate in zip(ends[1], rates, strict=True)],
                "arrayminus": [rate["value"] - low for low, rate in zip(ends[0], rates, strict=True)],
            },
            "hovertemplate": "%{y:.1%} at temperature %{x:.2g}<extra>" + literal(named.label) + "</extra>",
        }
    )  # fmt: skip
    figure["layout"]["annotations"].append(
        {"x": own[-1]["temperature"], "y": rates[-1]["value"], "text": literal(named.label[:14]), "showarrow": False,
         "xanchor": "left", "xshift": 12, "font": {"size": 12, "color": color}}
    )  # fmt: skip


def _finding(rows: list[Row], temperatures: list[float], names: Names) -> str:
    if len(temperatures) < 2:
        return ""
    says = []
    for policy in dict.fromkeys(row["policy"] for row in rows):
        best = max((row for row in rows if row["policy"] == policy), key=lambda row: float(row["win_rate"]["value"]))
        says.append(f"{names[policy].label} most at {best['temperature']:g}, {percent(best['win_rate']['value'])}")
    return f"Against its own base, bars 95%: {'; '.join(says)}"


def by_distance(made: Row, names: Names, judge: str, t: float) -> tuple[dict[str, Any], str]:
    """What each policy gained against the root of its KL, with the fitted curve; "" where no KL is measured."""
    figure: dict[str, Any] = {"data": [], "layout": layout()}
    groups = [row for row in made["frontier"] if (row["judge"], row["temperature"]) == (judge, t) and row["points"]]
    if not groups:
        return figure, ""
    shown = figure["layout"]
    shown["hovermode"] = "closest"
    shown["margin"] = {"l": 48, "r": 84, "t": 10, "b": 44}
    title = {"text": "√KL to what it is compared with, nats½", "font": {"size": 12, "color": NEUTRAL}}
    shown["xaxis"] |= {"title": title, "rangemode": "tozero", "showspikes": False}
    shown["yaxis"] |= {"rangemode": "tozero"}
    shown["annotations"] = []
    says = []
    for row in groups:
        if row["hump"] is not None:
            _draw_fit(figure, row)
            peak, base = row["hump"]["peak"], names[row["against"]].label
            says.append(f"from {base} " + ("it rises throughout" if peak is None else f"the fit peaks at {peak:.2f}"))
        for point in row["points"]:
            _draw_policy(figure, point, names)
        says += [f"{names[name].label} is past the top" for name in row["past"]]
    gain = "score" if groups[0]["gain_is"] == "score" else "wins minus losses"
    why = next((row["why"] for row in groups if row["why"]), None)
    found = "; ".join(says) or f"no curve is fitted: {why}"
    return figure, f"Gain in {gain}; {found}"


def _draw_policy(figure: dict[str, Any], point: Row, names: Names) -> None:
    named = names[point["policy"]]
    color, label = FAMILY_COLOR[named.family], literal(named.label)
    figure["data"].append(
        {
            "type": "scatter", "mode": "markers", "name": label, "x": [point["distance"]], "y": [point["gain"]],
            "marker": {"symbol": SYMBOL[named.family], "size": 12, "color": color},
            "hovertemplate": "gain %{y:.3g} at √KL %{x:.2f}<extra>" + label + "</extra>",
        }
    )  # fmt: skip
    figure["layout"]["annotations"].append(
        {"x": point["distance"], "y": point["gain"], "text": literal(named.label[:14]), "showarrow": False,
         "xanchor": "left", "xshift": 12, "font": {"size": 12, "color": color}}
    )  # fmt: skip


def _draw_fit(figure: dict[str, Any], row: Row) -> None:
    """R = d (a - b log d) up to somewhat beyond the farthest policy."""
    fit, far = row["hump"], 1.15 * max(point["distance"] for point in row["points"])
    xs = [far * step / 60 for step in range(1, 61)]
    ys = [d * (fit["a"] - fit["b"] * math.log(d)) for d in xs]
    line = {"color": NEUTRAL, "width": 1.5, "dash": "5px,4px"}
    figure["data"].append({"type": "scatter", "mode": "lines", "x": [0, *xs], "y": [0, *ys], "line": line,
                           "hoverinfo": "skip"})  # fmt: skip


def seen_by_size(prompts: int, samples: int) -> dict[str, Any]:
    """Points from 50 % that 80 of 100 evaluations of a size find, by the number of prompts."""
    figure: dict[str, Any] = {"data": [], "layout": layout()}
    most = max(1000, prompts)
    xs = sorted({prompts, *(20 + step * (most - 20) // 60 for step in range(61))})
    drawn = {k: [100 * detectable_difference(n, spread(samples=k)) for n in xs] for k in sorted({1, 4, samples})}
    shown = figure["layout"]
    shown["hovermode"] = "closest"
    shown["margin"] = {"l": 34, "r": 74, "t": 8, "b": 40}
    title = {"text": "Prompts", "font": {"size": 12, "color": NEUTRAL}}
    shown["xaxis"] |= {"title": title, "range": [0, most], "showspikes": False}
    shown["annotations"] = []
    # Where lines end beside each other, the first one's name stands above its line and the last one's below.
    anchors = ["bottom", *["middle"] * (len(drawn) - 2), "top"]
    for (k, ys), anchor in zip(drawn.items(), anchors, strict=True):
        line = {
            "color": NEUTRAL,
            "width": 2.25 if k == samples else 1.25,
            "dash": "solid" if k == samples else "5px,4px",
        }
        name = counted(k, "sample")
        hover = "%{x:,} prompts: %{y:.1f} points<extra>" + name + "</extra>"
        figure["data"].append(
            {"type": "scatter", "mode": "lines", "x": xs, "y": ys, "line": line, "name": name, "hovertemplate": hover}
        )
        shown["annotations"].append(
            {"x": xs[-1], "y": ys[-1], "text": name, "showarrow": False, "xanchor": "left", "yanchor": anchor,
             "xshift": 6,
             "font": {"size": 12, "color": NEUTRAL}}
        )  # fmt: skip
    points = 100 * detectable_difference(prompts, spread(samples=samples))
    shown["yaxis"] |= {"range": [0, max(22.0, 1.15 * points)]}
    mark = {"symbol": "circle", "size": 10, "color": NEUTRAL}
    figure["data"].append({"type": "scatter", "mode": "markers", "x": [prompts], "y": [points], "marker": mark,
                           "hoverinfo": "skip"})  # fmt: skip
    return figure
