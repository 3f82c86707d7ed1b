"""An evaluation in words: each follows from the numbers beside it (no torch here)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo.counting import counted
from dpo.evaluation.comparison.measures import MEASURES

_DIVERSITY = {"distinct_1": "distinct-1", "distinct_2": "distinct-2", "gzip_ratio": "gzip ratio"}
_CANNOT_TELL = "cannot tell at this size"
# What a win by a rule means; a rule says nothing of better or worse.
_RULES = {"longer": "are longer", "emoji": "have more emoji"}
_RULE_WORDS = {"better": "more often", "worse": "less often", "equivalent": "equally often", _CANNOT_TELL: _CANNOT_TELL}


def percent(value: float) -> str:
    """A share as the terminal and the pages print it.

    >>> percent(0.6125)
    '61.3 %'
    """
    return f"{_rounded(value):.1f} %"


def _rounded(value: float) -> float:
    return int(value * 1000 + 0.5) / 10  # a half up: round() would make 61.2 of 61.25


def interval(estimate: Mapping[str, Any], scale: float = 100, digits: int = 1) -> str:
    """The interval in brackets, nothing where there is none."""
    if estimate["low"] is None or estimate["high"] is None:
        return ""
    return f" ({estimate['low'] * scale:.{digits}f} to {estimate['high'] * scale:.{digits}f})"


def measured_beside(made: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[tuple[str, ...]]]:
    """The measures of what a policy is compared with, and a line of label, both values and difference for each.

    Args:
        made: a result.
        row: one of its `measures`, of a policy that is compared with another.
    """
    where = row["against"], row["temperature"]
    base = next(one for one in made["measures"] if (one["policy"], one["temperature"]) == where)
    shown: list[tuple[str, ...]] = []
    for name, measure in MEASURES.items():
        shown += _line(measure.label, row["values"][name], base["values"][name], measure.share)
    shown += _line("self-BLEU of a prompt's answers", row["self_bleu"], base["self_bleu"], share=False)
    for name, label in _DIVERSITY.items():
        own, other = row["diversity"][name], base["diversity"][name]
        if own is not None and other is not None:
            numbers = f"{own:.3f}", f"{other:.3f}", f"{own - other:+.3f}"
            shown.append((f"{label} of {row['word_budget']:,} words", *numbers))
    return base, shown


def _line(label: str, own: Mapping[str, Any], other: Mapping[str, Any], share: bool) -> list[tuple[str, ...]]:
    """Label, both values and their difference with intervals; nothing where one of them is not known."""
    first, second, difference = own["value"], other["value"], own["difference"]
    if first is None or second is None or difference is None:
        return []
    scale, digits, unit = (100, 1, " %") if share else (1, 2, "")
    values = [f"{one['value'] * scale:.{digits}f}{unit}{interval(one, scale, digits)}" for one in (first, second)]
    gap = f"{difference['value'] * scale:+.{digits}f}{interval(difference, scale, digits)}"
    return [(label, *values, gap)]


def verdict_word(comparison: Mapping[str, Any]) -> str:
    """The word that is printed: of a rule, how often; else better, worse, equivalent or that nothing can be told."""
    word = str(comparison["verdict"])
    return _RULE_WORDS[word] if comparison["kind"] == "rule" else word


def sentence(comparison: Mapping[str, Any]) -> str:
    """What one judge says of one comparison."""
    policy, against, rate = comparison["policy"], comparison["against"], comparison["win_rate"]
    where = f"at temperature {comparison['temperature']:g}"
    if rate is None:
        who = "Nobody voted" if comparison["kind"] == "people" else f"{comparison['judge']} gave no verdict"
        return f"{who} on {policy} against {against} {where}"
    numbers = f"{percent(rate['value'])}{interval(rate)} of {counted(comparison['prompts'], 'prompt')}"
    word = verdict_word(comparison)
    if comparison["kind"] == "rule":
        says = f"{policy}'s answers {_RULES[comparison['judge']]} than {against}'s"
        return f"{says}: {word}, {numbers} {where}"
    by = f"by {comparison['says']}"
    related = comparison["relation"]
    note = f"; {related['word']} judge: {related['why']}" if related and related["word"] != "not related" else ""
    if word == _CANNOT_TELL:
        return f"Whether {policy} is better than {against} {by}: {word}, {numbers} {where}{note}"
    than = "to" if word == "equivalent" else "than"
    return f"{policy} is {word} {than} {against} {by}: {numbers} {where}{note}"


def passes(comparison: Mapping[str, Any], least: float) -> tuple[bool, str]:
    """Whether a win rate, as it is printed, is at least `least` percent, and the sentence that says so."""
    rate = comparison["win_rate"]
    what = f"{comparison['policy']} against {comparison['against']} by {comparison['judge']}"
    if rate is None:
        return False, f"--fail-under {least:g}: failed, {what} has no win rate"
    shown, enough = percent(rate["value"]), _rounded(rate["value"]) >= least
    sure = rate["low"] is not None and (rate["low"] * 100 >= least if enough else rate["high"] * 100 < least)
    doubt = "" if sure else f"; the interval{interval(rate)} holds {least:g}, so this size cannot tell"
    if enough:
        return True, f"--fail-under {least:g}: passed, {what} is {shown}{doubt}"
    return False, f"--fail-under {least:g}: failed, {what} is {shown}{doubt}"
