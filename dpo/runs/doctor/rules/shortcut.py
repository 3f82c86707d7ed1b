"""Reward hacking of a shortcut that the audit of the data knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Evidence, Source, Verdict

SOURCE = Source("Geirhos et al. 2020, Shortcut Learning in Deep Neural Networks", "https://arxiv.org/abs/2004.07780")


_REACHES = 0.03
"""A rule is said to reach an accuracy that it misses by less."""


def check(case: Case) -> Verdict | None:
    """A trivial rule comes near the policy's accuracy, so the accuracy does not show that it learned more."""
    accuracy = case.judged("rewards/accuracies")
    rules = _rules(case.audit)
    if case.run.kind != "dpo" or not rules or len(accuracy) < 2:
        return None
    rule = rules[0]
    if rule.accuracy < 0.75 or accuracy.last < 0.75 or accuracy.last < rule.accuracy - 0.08:
        return None
    if accuracy.last <= rule.accuracy + _REACHES:
        said = f"Accuracy {accuracy.last:.2f} is what a rule that {rule.does} reaches too ({rule.accuracy:.2f})"
    else:
        said = f"Of the accuracy of {accuracy.last:.2f}, a rule that {rule.does} reaches {rule.accuracy:.2f} alone"
    measured = tuple(
        Evidence(f"accuracy of a rule that {other.does}" + (f" (n = {other.pairs:,})" if other.pairs else ""),
                 other.accuracy)
        for other in rules[:3]
    )  # fmt: skip
    remedy = f"cleaned by dpo data clean {rule.remedy}" if rule.remedy else "without that rule"
    return Verdict(
        "shortcut",
        "accuracy no longer informs",
        "warn",
        f"{said}: judge by the answers and by votes.",
        (Evidence("accuracy", accuracy.last, accuracy.last_step), *measured),
        Change("--dataset", "FILE", remedy),
        SOURCE,
    )


@dataclass(frozen=True)
class _Rule:
    does: str
    accuracy: float
    pairs: int
    remedy: str


_DOES = {
    "length": "compares lengths",
    "bag of words": "only looks which words occur",
    "first words": "only looks at the first two words",
    "punctuation per character": "counts punctuation",
}


def _rules(audit: Mapping[str, Any]) -> list[_Rule]:
    """The audit's rules, the best first; one that counts a sign goes before one of many words that is hardly better."""
    rules = []
    for finding in audit.get("findings") or []:
        if not isinstance(finding, dict) or not str(finding.get("code", "")).startswith("shortcut"):
            continue
        evidence, remedy = finding.get("evidence") or {}, str(finding.get("remedy") or "")
        if isinstance(evidence.get("accuracy"), int | float):
            name = str(evidence.get("rule") or finding["code"])
            does, pairs = _DOES.get(name, f"counts {name}"), evidence.get("pairs")
            rules.append(
                _Rule(does, float(evidence["accuracy"]), pairs if isinstance(pairs, int) else 0,
                      remedy if remedy.startswith("--") else "")
            )  # fmt: skip
    return sorted(rules, key=lambda rule: -rule.accuracy + _REACHES * ("looks" in rule.does))
