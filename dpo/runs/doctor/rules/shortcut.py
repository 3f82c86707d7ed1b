"""Reward hacking of a shortcut that the audit of the data knows."""

from __future__ import annotations

from typing import Any

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Evidence, Source, Verdict

SOURCE = Source("Geirhos et al. 2020, Shortcut Learning in Deep Neural Networks", "https://arxiv.org/abs/2004.07780")
_SCORES = ("accuracy", "score", "separates", "auc")


def check(case: Case) -> Verdict | None:
    """A trivial rule reaches the policy's accuracy, so the accuracy does not show that it learned more."""
    accuracy = case.judged("rewards/accuracies")
    known = _strongest(case.run.info)
    if case.run.kind != "dpo" or known is None or len(accuracy) < 2:
        return None
    name, score = known
    if score < 0.75 or accuracy.last < 0.75 or accuracy.last < score - 0.08:
        return None
    return Verdict(
        "shortcut",
        "accuracy no longer informs",
        "warn",
        f'The policy ranks {accuracy.last:.0%} of the pairs right, and the rule "{name}" alone ranks {score:.0%} right '
        "on this data: judge by the answers and by votes.",
        (Evidence("accuracy", accuracy.last, accuracy.last_step), Evidence(f"accuracy of the rule {name}", score)),
        Change("dpo data clean", "--strip-shortcut", "then train on what is left"),
        SOURCE,
    )


def _strongest(info: dict[str, Any]) -> tuple[str, float] | None:
    """The audit's best one-line rule: its name and the share of pairs it ranks right."""
    audit = info.get("audit") or (info.get("dataset") or {}).get("audit") or {}
    findings = audit.get("findings", []) if isinstance(audit, dict) else []
    rules = []
    for finding in findings:
        if not isinstance(finding, dict) or "shortcut" not in str(finding.get("code", "")):
            continue
        evidence = finding.get("evidence") or {}
        scores = [evidence[key] for key in _SCORES if isinstance(evidence.get(key), int | float)]
        if scores:
            rules.append((str(evidence.get("rule") or finding.get("code")), float(max(scores))))
    return max(rules, key=lambda rule: rule[1], default=None)
