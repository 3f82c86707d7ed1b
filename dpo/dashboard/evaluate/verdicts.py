"""The headline of an evaluation, who wins, and what kind of prompts it wins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dash import html

from dpo.counting import counted
from dpo.dashboard.components import box, icon
from dpo.dashboard.evaluate.naming import Names, Row, in_brackets, listed, minus, percent, whole_interval
from dpo.evaluation.comparison.wording import verdict_word
from dpo.evaluation.statistics.planning import detectable_difference, spread

CANNOT_TELL = "cannot tell at this size"
_ICONS = {"better": "check", "worse": "stop", CANNOT_TELL: "help", "equivalent": "equals"}
_SLICES = "no gain seen in "


def shown_rows(made: Row, judge: str, temperature: float) -> list[Row]:
    """The comparisons of a judge ("" is all of them) at a temperature."""
    return [
        row for row in made["comparisons"] if judge in ("", row["judge"]) and row["temperature"] == temperature
    ]  # fmt: skip


def headline(made: Row, names: Names, judge: Row, temperature: float) -> str:
    """What a judge says of all comparisons, in one sentence each; the words are those of the record."""
    rows = shown_rows(made, judge["name"], temperature)
    before = "" if made["complete"] else _so_far(made, rows)
    return f"{before}{names.judge(judge)}: {'; '.join(_says(row, names) for row in rows)}."


def _so_far(made: Row, rows: Sequence[Row]) -> str:
    judged = min((row["prompts"] for row in rows), default=0)
    return f"After {judged} of {counted(made['prompts'], 'prompt')}. "


def _says(row: Row, names: Names) -> str:
    policy, against = names[row["policy"]].label, names[row["against"]].label
    rate = row["win_rate"]
    if rate is None:
        return f"no verdict yet on {policy} against {against}"
    word, numbers = verdict_word(row), in_brackets(rate)
    if row["kind"] == "rule":
        what = {"longer": "is longer than", "emoji": "has more emoji than"}.get(row["judge"], "wins over")
        if row["verdict"] == CANNOT_TELL:
            return f"{counted(rate['n'], 'prompt')} cannot tell whether {policy} {what} {against} more often, {numbers}"
        return f"{policy} {what} {against} {word}, in {numbers} of {counted(rate['n'], 'prompt')}"
    if row["verdict"] == CANNOT_TELL:
        return f"{counted(rate['n'], 'prompt')} cannot tell whether {policy} is better than {against}, {numbers}"
    than = "to" if word == "equivalent" else "than"
    return f"{policy} is {word} {than} {against}, winning {numbers} of {counted(rate['n'], 'prompt')}"


def remarks(made: Row, names: Names, judge: str, temperature: float) -> list[str]:
    """What has to be known beside the headline: length, people, where nothing was gained, what is too small to see."""
    rows = [row for row in shown_rows(made, judge, temperature) if row["win_rate"] is not None]
    said = []
    for name, before in (
        ("length_controlled", "At equal length"),
        ("style_controlled", "At equal style"),
        ("people", "Corrected by people's votes"),
    ):
        known = [row for row in rows if row.get(name) is not None]
        if known:
            parts = [f"{names[row['policy']].label} {in_brackets(row[name])}" for row in known]
            said.append(f"{before}: {listed(parts)}.")
    unseen = [
        f"{names[row['policy']].label} on “{name}” {in_brackets(estimate)}"
        for row in rows if row["verdict"] == "better"
        for name, estimate in row["slices"].items() if estimate["low"] is not None and estimate["low"] <= 0.5
    ]  # fmt: skip
    if unseen:
        said.append(f"No gain seen: {listed(unseen)}.")
    related = [row for row in rows if row["relation"] and row["relation"]["word"] != "not related"]
    if related:
        said.append(f"A {related[0]['relation']['word']} judge: {related[0]['relation']['why']}.")
    count = min((row["win_rate"]["n"] for row in rows), default=0)
    if count > 1:
        samples = made["plan"]["samples"] if temperature else 1
        points = 100 * detectable_difference(count, spread(samples=samples))
        said.append(f"This size could not have seen a difference below {points:.1f} points.")
    return said


def facts(made: Row, plan: Row, names: Names) -> html.Dl:
    """How it was done: on which prompts, who answered, who judged, and by which hashes it is found again."""
    data, first = plan["data"], plan["judges"][0]
    answers = sum(row["prompts"] * (plan["samples"] if row["temperature"] else 1) for row in made["measures"])
    beside = [names.judge(judge) for judge in plan["judges"][1:]]
    saved = [row["saved_by_pairing"] for row in made["comparisons"] if row["saved_by_pairing"] is not None]
    spared = f"{max(saved):.0%} of the variance" if saved and max(saved) >= 0.005 else "nothing"
    noise = f"{plan['seed']}, same noise" + (f": saved {spared}" if saved else "")
    rows = {
        "Prompts": f"{made['prompts']} held out of {Path(str(data['source'])).name}",
        "Answers": f"{answers:,} by {len(plan['policies'])} policies, {counted(plan['samples'], 'sample')}",
        "Temperature": ", ".join(f"{one:g}" for one in plan["temperatures"]),
        "Judge": names.judge(first),
        "Beside it": ", ".join(beside) or "nobody",
        "Seed": noise,
        "Hashes": html.Code(f"data {str(data['fingerprint'])[:8]} · plan {str(plan['key'])[:8]}"),
    }
    parts = [html.Div([html.Dt(name), html.Dd(value)]) for name, value in rows.items()]
    return html.Dl(parts, className="ev-facts")


def bars(made: Row, names: Names, judges: Sequence[Row], judge: str, temperature: float) -> list[Any]:
    """Who wins: a row with bar, interval and word for each comparison."""
    rows = shown_rows(made, judge, temperature)
    counted = [row for row in rows if row["win_rate"] is not None]
    low, high = axis_of([row["win_rate"] for row in counted])
    corrected = any(row["people"] is not None for row in counted)
    head = ["Comparison", "Prompts", _ends(low, high), "Win rate", "Equal length", "Equal style"]
    head += ["By people"] if corrected else []
    by_name = {one["name"]: one for one in judges}
    lines = [
        _line(row, names, "" if judge else names.judge(by_name[row["judge"]]), (low, high), corrected) for row in rows
    ]
    cells = html.Tr([html.Th(text, scope="col") for text in [*head, "Verdict"]])
    table = html.Table([html.Thead(cells), html.Tbody(lines)], className="ev-wins" + (" people" if corrected else ""))
    return [table, *_gains(made, names, judge, temperature)]


def _ends(low: float, high: float) -> Any:
    ticks = [at for at in (0.0, 0.25, 0.5, 0.75, 1.0) if low <= at <= high]
    return box(
        *(html.Span(f"{at:.0%}", style={"left": f"{place(at, low, high):.1f}%"}) for at in ticks), cls="ev-ticks num"
    )


def _line(row: Row, names: Names, judge: str, axis: tuple[float, float], corrected: bool) -> html.Tr:
    policy, against = names[row["policy"]], names[row["against"]]
    who = html.Th([policy.shown(), html.Span(f"against {against.label}", className="sub"),
                   html.Span(judge, className="sub") if judge else None], scope="row")  # fmt: skip
    rate = row["win_rate"]
    if rate is None:
        return html.Tr([who, html.Td(row["sentence"], className="sub", colSpan=7 if corrected else 6)])
    counts = f"{row['wins']} won, {row['ties']} tied, {row['losses']} lost"
    extra = [f"{row['invalid']} verdicts invalid"] if row["invalid"] else []
    extra += [f"{row['order']['flips']} flipped with the order"] if row["order"] else []
    other = against.family or "other"
    hue = f"{other}-base" if not against.tuned and against.family else other
    bar = box(
        *(_part(row[name], css, row) for name, css in (
            ("wins", policy.family or "other"), ("ties", "even"), ("losses", hue)
        )),
        cls="ev-bar num", role="img", **{"aria-label": counts},
    )  # fmt: skip
    estimates = [rate, row["length_controlled"], row.get("style_controlled"), *([row["people"]] if corrected else [])]
    return html.Tr(
        [
            who,
            html.Td([bar, html.Span(", ".join([counts, *extra]), className="sub num")]),
            html.Td(whisker(rate, policy.family, *axis)),
            *(html.Td(_number(estimate), className="num") for estimate in estimates),
            html.Td(_word(row)),
        ]
    )  # fmt: skip


def _part(count: int, css: str, row: Row) -> Any:
    total = row["wins"] + row["ties"] + row["losses"]
    share = count / total if total else 0.0
    text = str(count) if share > 0.07 else ""
    return html.I(text, className=css, style={"width": f"{100 * share:.2f}%"}) if count else None


def _number(estimate: Row | None) -> list[Any]:
    if estimate is None:
        return ["–"]
    return [html.B(percent(estimate["value"])), html.Span(whole_interval(estimate), className="sub")]


def _word(row: Row) -> html.Span:
    word, shown = row["verdict"], verdict_word(row)
    sign = "help" if row["kind"] == "rule" and word != "equivalent" else _ICONS[word]
    css = {"better": "ok", "worse": "bad"}.get(word, "") if row["kind"] != "rule" else ""
    return html.Span([icon(sign, 15) if row["kind"] != "rule" else None, shown], className=f"ev-word {css}".strip())


def _gains(made: Row, names: Names, judge: str, temperature: float) -> list[Any]:
    parts = []
    for row in made["gains"]:
        if row["judge"] != judge or row["temperature"] != temperature:
            continue
        first, second = (names[row[side][0]].label for side in ("first", "second"))
        gap = row["difference"]
        parts.append(f"{first} over {second}: {signed(gap['value'])} points ({whole_interval(gap, digits=1)})")
    if not parts:
        return []
    return [html.P(f"Which gained more, on the same prompts: {'; '.join(parts)}.", className="sub ev-note")]


def signed(value: float) -> str:
    """A difference of shares in points, with its sign."""
    return minus(f"{100 * value:+.1f}")


def axis_of(estimates: Sequence[Row]) -> tuple[float, float]:
    """The part of 0 to 1 that holds a half and every interval."""
    ends = [0.4, 0.6]
    for estimate in estimates:
        ends += [end for end in (estimate["value"], estimate["low"], estimate["high"]) if end is not None]
    return max(0.0, min(ends) - 0.03), min(1.0, max(ends) + 0.03)


def place(value: float, low: float, high: float) -> float:
    """Where a value stands on an axis, in percent of its length."""
    return 100 * (value - low) / (high - low)


def whisker(estimate: Row, family: str | None, low: float, high: float) -> html.Div:
    """A win rate with its interval on an axis that shows 50 %."""
    ends = [estimate["value"] if estimate[end] is None else estimate[end] for end in ("low", "high")]
    left, right = (place(end, low, high) for end in ends)
    marks = [
        html.I(className="half", style={"left": f"{place(0.5, low, high):.2f}%"}),
        html.I(className="range", style={"left": f"{left:.2f}%", "width": f"{right - left:.2f}%"}),
        html.I(className="point", style={"left": f"{place(estimate['value'], low, high):.2f}%"}),
    ]
    return box(*marks, cls=f"ev-whisker {family or 'other'}", role="img", **{"aria-label": in_brackets(estimate)})


def slices(made: Row, names: Names, judge: str, temperature: float) -> tuple[list[Any], str]:
    """The forest plot: all prompts, then each slice, with the finding in words."""
    rows = [row for row in shown_rows(made, judge, temperature) if row["win_rate"] is not None]
    if not rows:
        return [html.P("Nothing is judged yet.", className="sub")], ""
    found = list(dict.fromkeys(name for row in rows for name in row["slices"]))
    every = [row["win_rate"] for row in rows] + [one for row in rows for one in row["slices"].values()]
    axis = axis_of(every)
    lines = [_slice("all prompts", [(row, row["win_rate"]) for row in rows], names, axis)]
    lines += [_slice(name, [(row, row["slices"].get(name)) for row in rows], names, axis) for name in found]
    unseen = [
        f"“{name}”" for name in found
        if any((one := row["slices"].get(name)) and one["low"] is not None and one["low"] <= 0.5 for row in rows)
    ]  # fmt: skip
    note = _SLICES + listed(unseen) if unseen else "a gain in every slice" if found else "no slice is large enough"
    ends = html.Div([html.Span(), html.Span(), _ends(*axis)], className="ev-slice ends")
    return [*lines, ends], note[0].upper() + note[1:]


def _slice(name: str, estimates: Sequence[tuple[Row, Row | None]], names: Names, axis: tuple[float, float]) -> html.Div:
    counts = [estimate["n"] for _, estimate in estimates if estimate is not None]
    drawn = [whisker(one, names[row["policy"]].family, *axis) for row, one in estimates if one is not None]
    count = html.Span(f"{max(counts)}", className="num sub")
    return html.Div([html.Span(name), count, html.Div(drawn)], className="ev-slice")
