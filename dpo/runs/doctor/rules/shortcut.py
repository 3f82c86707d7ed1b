"""Reward hacking of a shortcut that the audit of the data knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Evidence, Source, Verdict

SOURCE = Source("Geirhos et al. 2020, Shortcut Learning in Deep Neural Networks", "https://arxiv.org/abs/2004.07780")


def check(case: Case) -> Verdict | None:
    """A trivial rule reaches the policy's accuracy, so the accuracy does not show that it learned more."""
    accuracy = case.judged("rewards/accuracies")
    known = _strongest(case.audit)
    if case.run.kind != "dpo" or known is None or len(accuracy) < 2:
        return None
    name, score, remedy = known
    if score < 0.75 or accuracy.last < 0.75 or accuracy.last < score - 0.08:
        return None
    return Verdict(
        "shortcut",
        "accuracy no longer informs",
        "warn",
        f'The policy ranks {accuracy.last:.0%} of the pairs right, and the rule "{name}" alone ranks {score:.0%} right '
        "on this data: judge by the answers and by votes.",
        (Evidence("accuracy", accuracy.last, accuracy.last_step), Evidence(f"accuracy of the rule {name}", score)),
        Change("--dataset", "FILE", f"cleaned by dpo data clean {remedy}" if remedy else "without that rule"),
        SOURCE,
    )


def _strongest(audit: Mapping[str, Any]) -> tuple[str, float, str] | None:
    """The audit's best one-line rule: its name, the share of pairs it ranks right, and how to strip it."""
    rules = []
    for finding in audit.get("findings") or []:
        if not isinstance(finding, dict) or not str(finding.get("code", "")).startswith("shortcut"):
            continue
        evidence, remedy = finding.get("evidence") or {}, str(finding.get("remedy") or "")
        if isinstance(evidence.get("accuracy"), int | float):
            name = str(evidence.get("rule") or finding["code"])
            rules.append((name, float(evidence["accuracy"]), remedy if remedy.startswith("--") else ""))
    return max(rules, key=lambda rule: rule[1], default=None)
