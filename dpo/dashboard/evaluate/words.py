"""What changed, in words: sentences, words and traits that tuning made more or less frequent."""

from __future__ import annotations

from typing import Any

from dash import html

from dpo.dashboard.components import box
from dpo.dashboard.evaluate.naming import NamedPolicy, Names, Row, minus
from dpo.dashboard.evaluate.verdicts import place

_TRAITS = {
    "has_emoji": "Uses emoji",
    "speaks_of_ai": "Speaks of being an AI",
    "ended": "Ends by itself",
    "repeated_4grams": "Repeats itself",
}
_MOST = 8


def words(made: Row, names: Names, policy: str, temperature: float) -> list[Any]:
    """The panel of one policy; "" is what the data taught: chosen against rejected."""
    if not policy:
        return _taught(made["taught"])
    row = next((one for one in made["changes"] if (one["policy"], one["temperature"]) == (policy, temperature)), None)
    if row is None:
        return [html.P("No answers to compare yet.", className="sub ev-note")]
    named, base = names[policy], names[row["against"]]
    sentence = str(row["sentence"]).replace(policy, named.label).replace(row["against"], base.label)
    lists = [_list(row, side, base.label, named.label, named) for side in ("more", "less")]
    return [
        html.P(f"{sentence}.", className="ev-says"),
        box(box(html.H3("Traits, share of answers"), *_traits(made, names, temperature), cls="ev-third"), *lists,
            cls="ev-thirds"),
    ]  # fmt: skip


def _taught(row: Row) -> list[Any]:
    if not row["pairs"]:
        return [html.P("No held-out pair of these prompts is known.", className="sub ev-note")]
    says = f"Counted over {row['pairs']} held-out pairs: what chosen answers have more and less of."
    lists = [_list(row, side, "rejected", "chosen", None) for side in ("more", "less")]
    return [html.P(says, className="ev-says"), box(*lists, cls="ev-thirds two")]


def _traits(made: Row, names: Names, temperature: float) -> list[Any]:
    """A hollow mark for the base, a solid one for the policy, on a line from 0 to 100 %."""
    by_policy = {row["policy"]: row["values"] for row in made["measures"] if row["temperature"] == temperature}
    lines = []
    for trait, label in _TRAITS.items():
        drawn = []
        for policy, against in made["plan"]["comparisons"]:
            ends = [(by_policy.get(name) or {}).get(trait, {}).get("value") for name in (against, policy)]
            if all(ends):
                drawn.append(_dumbbell(ends[0]["value"], ends[1]["value"], names[policy]))
        if drawn:
            lines.append(html.Div([html.Span(label), html.Div(drawn)], className="ev-trait"))
    ticks = [html.Span(f"{at}%", style={"left": f"{at}%"}) for at in (0, 50, 100)]
    return [*lines, html.Div([html.Span(), box(*ticks, cls="ev-ticks num")], className="ev-trait ends")]


def _dumbbell(base: float, tuned: float, named: NamedPolicy) -> html.Div:
    low, high = sorted((base, tuned))
    says = f"{named.label}: from {base:.0%} to {tuned:.0%}"
    return box(
        html.I(className="range", style={"left": f"{100 * low:.1f}%", "width": f"{100 * (high - low):.1f}%"}),
        html.I(className="point hollow", style={"left": f"{place(base, 0, 1):.1f}%"}),
        html.I(className="point", style={"left": f"{place(tuned, 0, 1):.1f}%"}),
        cls=f"ev-dumbbell {named.family or 'other'}", role="img", title=says, **{"aria-label": says},
    )  # fmt: skip


def _list(row: Row, side: str, before: str, after: str, named: NamedPolicy | None) -> html.Div:
    title = {"more": "More often", "less": "Rarer"}[side]
    shown = row[side][:_MOST]
    if not shown:
        return box(html.H3(title), html.P("No word for sure at this size.", className="sub"), cls="ev-third")
    most = max(abs(one["log_odds"]) for one in row["more"][:_MOST] + row["less"][:_MOST])
    head = html.Tr([html.Th(text, scope="col") for text in ("Word", before, after, "log-odds")])
    css = f"ev-odds {side} {(named.family or 'other') if named else 'pairs'}"
    lines = [
        html.Tr(
            [
                html.Td(f"“{one['word']}”"),
                *(html.Td(f"{one['prompts'][end] / row['prompts']:.0%}", className="num") for end in (1, 0)),
                html.Td(
                    html.Span(
                        html.I(style={"width": f"{100 * abs(one['log_odds']) / most:.0f}%"}),
                        className=css,
                        role="img",
                        title=minus(f"{one['log_odds']:+.1f}"),
                        **{"aria-label": minus(f"{one['log_odds']:+.1f}")},
                    )
                ),
            ]
        )
        for one in shown
    ]
    return box(html.H3(title), html.Table([html.Thead(head), html.Tbody(lines)], className="ev-words"), cls="ev-third")
