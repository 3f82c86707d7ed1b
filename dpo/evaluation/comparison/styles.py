"""What judges say where both answers have the same style: is it more than length, emoji and markup (no torch here)?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from dpo.arrays import Floats
from dpo.evaluation.comparison.rows import Row
from dpo.evaluation.comparison.table import Judged, Sampled, Table
from dpo.evaluation.statistics.control import controlled, length_controlled, style_controlled

STYLE = ("length", "emoji", "markup", "contractions")
"""What is held equal: the length ratio (a - b) / (a + b), and how many more emoji, pieces of Markdown and contractions
the policy's answer has, as Chatbot Arena's style control does for length and Markdown."""
_MARKUP = re.compile(r"(?m)^#{1,6}\s|^\s*(?:[-*+]|\d+[.)])\s|\*\*[^*\n]+\*\*|__[^_\n]+__")
_PROMPTS = 10  # for each number that is estimated: fewer say nothing reliable


def at_equal_style(judge: Row, judged: Mapping[str, Judged]) -> Row:
    """The win rates at equal length and at equal style, and the slopes of what is held equal.

    The rule that judges by length has no win rate at equal length, rules in general none at equal style.
    """
    samples = [(key, one) for key, made in judged.items() for one in made.by_sample]
    row: Row = {}
    if not samples or judge["name"] == "longer":
        return row
    keys, h = [key for key, _ in samples], [one.h for _, one in samples]
    by_length = length_controlled(h, [one.longer for _, one in samples], keys)
    if by_length is not None:
        row |= {"length_controlled": asdict(by_length.rate), "length_slope": by_length.slopes[0]}
    if judge["kind"] == "rule":
        return row
    style = np.array([style_of(one) for _, one in samples])
    varies = style.std(0) > 0
    if len(judged) < _PROMPTS * (1 + varies.sum()) or not varies.any():
        return row
    by_style = controlled(h, style[:, varies] / style[:, varies].std(0), keys)
    if by_style is not None:
        names = [name for name, known in zip(STYLE, varies, strict=True) if known]
        row |= {
            "style_controlled": asdict(by_style.rate),
            "style_slopes": dict(zip(names, by_style.slopes, strict=True)),
        }
    return row


def strengths(table: Table) -> Iterator[Row]:
    """Bradley-Terry strengths of all policies by each judge that is no rule, as they are and at equal style.

    `policies` is a list of `policy`, `strength` (log-odds, mean 0), `at_equal_style`, and the error of both by prompt;
    `style` the log-odds of a win for one standard deviation of each trait.
    """
    names = list(table.plan["policies"])
    for judge in table.plan["judges"]:
        if judge["kind"] == "rule":
            continue
        for t in table.plan["temperatures"]:
            duels: list[tuple[int, int]] = []
            samples: list[tuple[str, Sampled]] = []
            for policy, against in table.plan["comparisons"]:
                for key, made in table.judged(judge, policy, against, t).items():
                    samples += [(key, one) for one in made.by_sample]
                    duels += [(names.index(policy), names.index(against))] * len(made.by_sample)
            compared = sorted({place for duel in duels for place in duel})
            if len({key for key, _ in samples}) < _PROMPTS * (len(compared) + len(STYLE)):
                continue
            places = {place: n for n, place in enumerate(compared)}
            yield {
                "judge": judge["name"], "temperature": t,
                **_strengths([names[place] for place in compared], [(places[a], places[b]) for a, b in duels], samples),
            }  # fmt: skip


def _strengths(names: list[str], duels: Sequence[tuple[int, int]], samples: Sequence[tuple[str, Sampled]]) -> Row:
    keys, h = [key for key, _ in samples], [one.h for _, one in samples]
    style = np.array([style_of(one) for _, one in samples])
    plain = style_controlled(duels, h, np.zeros((len(h), 0)), len(names), keys)
    equal = style_controlled(duels, h, style, len(names), keys)
    rows: list[Row] = [{"policy": name} for name in names]
    for part, made in (("strength", plain), ("at_equal_style", equal)):
        for place, row in enumerate(rows):
            row[part] = None if made is None else float(made[0][place])
            row[f"{part}_error"] = None if made is None else float(made[1][place])
    weights: Floats = np.zeros(len(STYLE)) if equal is None else equal[2]
    return {"policies": rows, "style": dict(zip(STYLE, weights.tolist(), strict=True))}


def style_of(one: Sampled) -> tuple[float, ...]:
    """How much more the policy's answer has of each of `STYLE`."""
    own, other = one.own, one.other
    lengths = len(own["text"]), len(other["text"])
    counts = (own["measures"][name] - other["measures"][name] for name in ("emoji", "contractions"))
    emoji, contractions = map(float, counts)
    markup = float(len(_MARKUP.findall(own["text"])) - len(_MARKUP.findall(other["text"])))
    return (lengths[0] - lengths[1]) / max(sum(lengths), 1), emoji, markup, contractions
