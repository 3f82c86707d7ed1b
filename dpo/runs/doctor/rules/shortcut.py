"""Reward hacking of a shortcut that the audit of the data knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo.runs.doctor.case import Case, JudgedCurve
from dpo.runs.doctor.rules.data import evidence_of, findings_of
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation("Geirhos et al. 2020, Shortcut Learning in Deep Neural Networks", "https://arxiv.org/abs/2004.07780")

_REACHES = 0.03
"""A rule counts as reaching an accuracy that it misses by less."""
_BELOW = 0.08
"""An accuracy counts as below a rule's by more than this."""
_TELLING, _CLEAR = 0.75, 0.9  # accuracies from which a rule says something, and from which any policy should learn it
_FASTER = 3
_EARLY = 20  # updates before which less than a rule is no surprise


def check(case: Case) -> Diagnosis | None:
    """A trivial rule comes near the policy's accuracy, or the policy has not even learned what that rule sees."""
    accuracy = case.judged("rewards/accuracies")
    rules = _rules(case.audit)
    if case.run.kind != "dpo" or not rules or len(accuracy) < 2:
        return None
    rule = rules[0]
    if accuracy.last < rule.accuracy - _BELOW:
        over = case.run.state != "running" and accuracy.last_step >= _EARLY
        return _below(case, accuracy, rules) if over and rule.accuracy >= _CLEAR else None
    if rule.accuracy < _TELLING or accuracy.last < _TELLING:
        return None
    if accuracy.last <= rule.accuracy + _REACHES:
        sentence = f"Accuracy {accuracy.last:.2f} is what a rule that {rule.does} reaches too ({rule.accuracy:.2f})"
    else:
        sentence = f"Of the accuracy of {accuracy.last:.2f}, a rule that {rule.does} reaches {rule.accuracy:.2f} alone"
    remedy = f"cleaned by dpo data clean {rule.remedy}" if rule.remedy else "without that rule"
    return Diagnosis(
        "shortcut",
        "accuracy no longer informs",
        "warning",
        f"{sentence}: judge by the answers and by votes.",
        _evidence(accuracy, rules),
        Change("--dataset", "FILE", remedy),
        SOURCE,
    )


def _below(case: Case, accuracy: JudgedCurve, rules: Sequence[_Rule]) -> Diagnosis:
    """The policy ranks fewer pairs rightly than a rule that reads no meaning."""
    best = rules[0]
    return Diagnosis(
        "below a trivial rule",
        "less learned than a trivial rule knows",
        "warning",
        f"A rule that {best.does} ranks {best.accuracy:.2f} of such pairs rightly, the policy only "
        f"{accuracy.last:.2f}: it was trained too little, or the pairs do not belong together.",
        _evidence(accuracy, rules),
        Change("--learning-rate", f"{(case.rate or 1e-5) * _FASTER:.1g}", "or more --epochs"),
        SOURCE,
    )


def _evidence(accuracy: JudgedCurve, rules: Sequence[_Rule]) -> tuple[Evidence, ...]:
    measured = (
        Evidence(f"accuracy of a rule that {rule.does}" + (f" (n = {rule.pairs:,})" if rule.pairs else ""),
                 rule.accuracy)
        for rule in rules[:3]
    )  # fmt: skip
    return (Evidence("accuracy", accuracy.last, accuracy.last_step), *measured)


@dataclass(frozen=True)
class _Rule:
    """A rule of the audit: what it does, how often it is right on how many pairs, and the flag that strips it.

    `many` is of one that sums over many signs, words for instance: it names no cause.
    """

    does: str
    accuracy: float
    pairs: int
    remedy: str
    many: bool


_DOES = {
    "length": "compares lengths",
    "bag of words": "only looks which words occur",
    "first words": "only looks at the first two words",
    "punctuation per character": "counts punctuation",
}
_MANY = ("bag of words", "first words")


def _rules(audit: Mapping[str, Any]) -> list[_Rule]:
    """The audit's rules, the best first; one that counts a sign goes before one of many words that is hardly better."""
    rules = []
    for finding in findings_of(audit):
        evidence, remedy = evidence_of(finding), str(finding.get("remedy") or "")
        accuracy, pairs = evidence.get("accuracy"), evidence.get("pairs")
        if str(finding.get("code", "")).startswith("shortcut") and isinstance(accuracy, int | float):
            name = str(evidence.get("rule") or finding["code"])
            rules.append(
                _Rule(
                    _DOES.get(name, f"counts {name}"), float(accuracy), pairs if isinstance(pairs, int) else 0,
                    remedy if remedy.startswith("--") else "", name in _MANY,
                )
            )  # fmt: skip
    return sorted(rules, key=lambda rule: -rule.accuracy + _REACHES * rule.many)
