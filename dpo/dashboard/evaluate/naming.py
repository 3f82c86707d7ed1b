"""How policies, judges and numbers of an evaluation are called on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dash import html

from dpo.dashboard.components import glyph
from dpo.errors import RunError
from dpo.evaluation.comparison.wording import percent as spaced_percent
from dpo.families import FAMILIES
from dpo.runs import open_run

Row = Mapping[str, Any]
_RULES = {"longer": "Rule: longer wins", "emoji": "Rule: more emoji wins"}


@dataclass(frozen=True)
class NamedPolicy:
    """A policy as the page calls it: its family decides colour and shape, `tuned` whether the mark is solid."""

    policy: str
    label: str
    family: str | None
    tuned: bool

    def shown(self) -> html.Span:
        """Mark and name; the policy's full name as its title."""
        return html.Span([glyph(self.family, self.tuned), self.label], className="policy", title=self.policy)

    def record(self) -> dict[str, Any]:
        """For the browser."""
        return {"policy": self.policy, "label": self.label, "family": self.family, "tuned": self.tuned}


class Names:
    """What the policies and judges of an evaluation are called; names that would be the same get their place.

    Args:
        plan: with `policies`, `comparisons` and `judges`.
        inside: the path of a run that may be read; raises RunError for others, as rows may name any directory.
    """

    def __init__(self, plan: Row, inside: Callable[[str], Path]) -> None:
        self._inside = inside
        tuned = {pair[0] for pair in plan["comparisons"]}
        judging = [judge["policy"] for judge in plan["judges"] if judge.get("policy")]
        made = {name: self._named(name, name in tuned or name in judging) for name in (*plan["policies"], *judging)}
        labels = [named.label for named in made.values()]
        self._made = {
            name: named if labels.count(named.label) == 1 else NamedPolicy(name, name[-60:], named.family, named.tuned)
            for name, named in made.items()
        }

    def __getitem__(self, policy: str) -> NamedPolicy:
        return self._made[policy]

    def judge(self, judge: Row) -> str:
        """A judge in a few words."""
        name, kind = str(judge["name"]), judge["kind"]
        if kind == "rule":
            return _RULES.get(name, f"Rule: {name}")
        if kind == "people":
            return "People"
        if kind == "reward":
            per = ", per token" if name.startswith("reward-per-token") else ""
            return f"Training preference of {self[judge['policy']].label}{per}"
        if kind == "endpoint":
            return name.partition("#")[2] or name
        if kind == "model":
            return Path(name.partition(":")[2]).name
        return f"Verdicts in {Path(name.partition(':')[2]).name}"

    def _named(self, name: str, tuned: bool) -> NamedPolicy:
        for facts in FAMILIES:
            if name in (facts.base, facts.tuned):
                return NamedPolicy(name, f"{facts.label} {'DPO' if name == facts.tuned else 'base'}", facts.key, tuned)
        path = Path(name)
        for place in (path, path.parent):
            try:
                run = open_run(self._inside(str(place)))
            except RunError:
                continue
            label = run.name if place == path else f"{run.name} @ {path.name.removeprefix('checkpoint-')}"
            return NamedPolicy(name, label, run.family, tuned)
        return NamedPolicy(name, path.name or name, None, tuned)


def judge_note(judge: Row, card: Row) -> str:
    """What kind of judge it is, in a line."""
    kind = judge["kind"]
    if kind == "rule":
        return "reads no meaning"
    if kind == "people":
        return "votes on Compare"
    if kind == "endpoint":
        where = urlsplit(str(judge["name"]).removeprefix("endpoint:").partition("#")[0]).netloc
        asked = ", ".join(card.get("models") or ())
        return f"{where}, both orders" + (f", answers as {asked}" if asked else "")
    if kind == "reward":
        return "implicit reward, not quality"
    return "reward model" if kind == "model" else "given elsewhere"


def percent(value: float) -> str:
    """A share of one.

    >>> percent(0.6125)
    '61.3%'
    """
    return spaced_percent(value).replace(" ", "")


def whole_interval(estimate: Row, scale: float = 100, digits: int = 0) -> str:
    """The two ends of an interval, empty where there is none.

    >>> whole_interval({"low": 0.578, "high": 0.704})
    '58–70'
    """
    if estimate.get("low") is None or estimate.get("high") is None:
        return ""
    between = "–" if estimate["low"] >= 0 else " to "
    return between.join(minus(f"{estimate[end] * scale:.{digits}f}") for end in ("low", "high"))


def in_brackets(estimate: Row) -> str:
    """A win rate with its interval: "64.5% (58–70)"."""
    ends = whole_interval(estimate)
    return percent(estimate["value"]) + (f" ({ends})" if ends else "")


def minus(text: str) -> str:
    """A number with a true minus, which no rounding leaves before a zero.

    >>> minus("-0.0"), minus("-1.5")
    ('0.0', '−1.5')
    """
    return (text[1:] if not text.strip("-0.") else text).replace("-", "−")


def listed(parts: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
