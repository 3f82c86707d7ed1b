"""The judge check: what each judge is worth, beside what reads no meaning at all."""

from __future__ import annotations

from typing import Any

from dash import html

from dpo.dashboard.evaluate.naming import NamedPolicy, Names, Row, judge_note, minus, percent, whole_interval
from dpo.dashboard.evaluate.verdicts import signed

_NONE = "–"


def judge_check(made: Row, names: Names, temperature: float) -> tuple[list[Any], str]:
    """A table with a line a judge, and what has to be known of them in a sentence."""
    units = [names[policy] for policy, _ in made["plan"]["comparisons"]]
    head = ["Judge", *(f"{named.label} win rate" for named in units), "Ties", "Invalid", "Position bias, points",
            "Flips with the order", "Same when asked twice", "Length slope, log-odds", "Agreement with people, κ",
            "Tokens spent"]  # fmt: skip
    lines = [_line(made, names, card, units, temperature) for card in made["judges"]]
    cells = html.Tr([html.Th(text, scope="col") for text in head])
    return [html.Table([html.Thead(cells), html.Tbody(lines)], className="ev-judges")], _warning(made, names)


def _line(made: Row, names: Names, card: Row, units: list[NamedPolicy], t: float) -> html.Tr:
    judge = next(one for one in made["plan"]["judges"] if one["name"] == card["name"])
    rows = [row for row in made["comparisons"] if row["judge"] == card["name"] and row["temperature"] == t]
    by_policy = {row["policy"]: row["win_rate"] for row in rows if row["win_rate"] is not None}
    rates = [by_policy.get(named.policy) for named in units]
    marks = []
    if card["kind"] == "rule":
        marks.append(html.Span("rule", className="pill"))
    relation = next((row["relation"] for row in rows if row["relation"]), None)
    if relation is not None and relation["word"] != "not related":
        marks.append(html.Span(relation["word"], className="pill warn", title=relation["why"]))
    note = [judge_note(judge, card), _held_out(made, card)]
    who = html.Th(
        [html.Span([names.judge(judge), *marks], className="ev-judge"),
         html.Span(" · ".join(filter(None, note)), className="sub")],
        scope="row",
    )  # fmt: skip
    asked = card["verdicts"]
    return html.Tr(
        [
            who,
            *(_cell(_NONE if rate is None else percent(rate["value"])) for rate in rates),
            _cell(percent(card["ties"] / asked) if asked else _NONE),
            _cell(f"{card['invalid']} of {asked}" if asked else _NONE),
            *_order(rows, card["kind"]),
            _cell(f"{card['repeated_alike']} of {card['repeated']}" if card["repeated"] else _NONE),
            _cell(_slope(rows)),
            _kappa(made, card["name"]),
            _cell(f"{card['tokens']:,.0f}" if card["tokens"] else _NONE),
        ]
    )


def _cell(text: str, below: str = "") -> html.Td:
    return html.Td([html.B(text), html.Span(below, className="sub")] if below else text, className="num")


def _order(rows: list[Row], kind: str) -> list[html.Td]:
    """Position bias and flips: of the comparison where the bias is largest, and of all together."""
    effects = [row["order"] for row in rows if row["order"]]
    if not effects:
        voted = kind in ("people", "outside")
        return [_cell(_NONE if voted else "0", "asked once" if voted else "by design")] * 2
    largest = max((effect["bias"] for effect in effects), key=lambda bias: abs(bias["value"]))
    flips, decided = (sum(effect[name] for effect in effects) for name in ("flips", "decided"))
    share = percent(flips / decided) if decided else _NONE
    return [_cell(signed(largest["value"]), whole_interval(largest, digits=1)), _cell(share, f"{flips} of {decided}")]


def _slope(rows: list[Row]) -> str:
    """The largest one, in log-odds for a unit of `tanh(length difference / its standard deviation)`."""
    slopes = [row["length_slope"] for row in rows if row["length_slope"] is not None]
    return minus(f"{max(slopes, key=abs):+.2f}") if slopes else _NONE


def _kappa(made: Row, name: str) -> html.Td:
    people = {judge["name"] for judge in made["judges"] if judge["kind"] == "people"}
    for row in made["agreement"]:
        both = {row["first"], row["second"]}
        if name in both and both & people and name not in people and row["kappa"] is not None:
            return _cell(minus(f"{row['kappa']['value']:.2f}"), whole_interval(row["kappa"], 1, 2))
    return _cell(_NONE)


def _held_out(made: Row, card: Row) -> str:
    """How often the judging policy ranks the held-out pairs as the data do; what a rule reaches there."""
    for row in made.get("held_out") or []:
        if card["kind"] == "reward" and row["policy"] == card["policy"] and row["accuracy"] is not None:
            return f"right on {percent(row['accuracy']['value'])} of held-out pairs"
        if card["kind"] == "rule" and card["name"] in row["rules"]:
            return f"right on {percent(row['rules'][card['name']]['value'])} of held-out pairs"
    return ""


def _warning(made: Row, names: Names) -> str:
    """The finding that a reader should know first."""
    related = [row for row in made["comparisons"] if row["relation"] and row["relation"]["word"] == "related"]
    judges = {judge["name"]: judge for judge in made["plan"]["judges"]}
    says = []
    biased = [row for row in made["comparisons"] if row["order"] and _holds_no_zero(row["order"]["bias"])]
    if biased:
        first = biased[0]["order"]["bias"]["value"] > 0
        who = names.judge(judges[biased[0]["judge"]])
        says.append(f"{who} favours the {'first' if first else 'second'} answer, so both orders are asked.")
    if related:
        says.append(
            f"{names.judge(judges[related[0]['judge']])} is related to what it judges "
            f"({related[0]['relation']['why']}): it is no judge of quality."
        )
    if made["alpha"] is not None:
        alpha = minus(f"{made['alpha']['value']:.2f}")
        says.append(f"Krippendorff's alpha of all judges but the rules is {alpha}.")
    return " ".join(says)


def _holds_no_zero(estimate: Row) -> bool:
    return estimate["low"] is not None and (estimate["low"] > 0 or estimate["high"] < 0)
