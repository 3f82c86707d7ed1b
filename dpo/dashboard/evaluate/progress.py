"""How far an evaluation is: what of its plan is in the two files (no dash here)."""

from __future__ import annotations

import itertools
from typing import Any

from dpo.dashboard.evaluate.found import OpenEvaluation
from dpo.dashboard.evaluate.naming import Names
from dpo.evaluation.comparison.judges import VOTED
from dpo.evaluation.comparison.rows import VERDICTS, Row, verdict_key
from dpo.evaluation.statistics.planning import sequence
from dpo.runs.record import read_lines


def progress_of(found: OpenEvaluation, names: Names) -> dict[str, Any]:
    """Answers by policy and verdicts by judge, done and in all; and what the first judge says so far.

    `live` has an interval that may be looked at at any time (a confidence sequence), None where nothing is judged.
    """
    plan = found.plan
    answers = [_answers(found, policy) | names[policy].record() for policy in plan["policies"]]
    errors = _errors(found)
    verdicts = [
        _verdicts(found, judge, errors) | {"judge": judge["name"], "label": names.judge(judge)}
        for judge in plan["judges"] if judge["kind"] not in VOTED
    ]  # fmt: skip
    return {
        "prompts": len(plan["prompts"]), "answers": answers, "verdicts": verdicts, "live": _live(found, names),
        "done": sum(one["done"] for one in (*answers, *verdicts)),
        "total": sum(one["total"] for one in (*answers, *verdicts)),
    }  # fmt: skip


def _answers(found: OpenEvaluation, policy: str) -> dict[str, int]:
    table, done, total = found.table, 0, 0
    for prompt, t in itertools.product(table.prompts, found.plan["temperatures"]):
        there = table.answers(policy, prompt, t)
        total += len(there)
        done += sum(row is not None for row in there)
    return {"done": done, "total": total}


def _verdicts(found: OpenEvaluation, judge: Row, errors: dict[str, str]) -> dict[str, Any]:
    """Verdicts that are there; in all as many as answers allow, those that are still to be written among them."""
    table, done, failed, why = found.table, 0, 0, ""
    for (policy, against), t in itertools.product(found.plan["comparisons"], found.plan["temperatures"]):
        for prompt in table.prompts:
            for (a, b), order in itertools.product(table.duels(policy, against, prompt, t), judge["orders"]):
                key = verdict_key(judge["identity"], a, b, order)
                done += key in found.store.verdicts
                if key not in found.store.verdicts and key in errors:
                    failed, why = failed + 1, errors[key]
    draws = sum(len(table.samples(t)) for t in found.plan["temperatures"])
    total = draws * len(table.prompts) * len(found.plan["comparisons"]) * len(judge["orders"])
    return {"done": done, "total": total, "failed": failed, "why": why}


def _errors(found: OpenEvaluation) -> dict[str, str]:
    """Why verdicts failed, by their keys; the store keeps none of these."""
    if not any(judge["kind"] == "endpoint" for judge in found.plan["judges"]):
        return {}
    try:
        rows = read_lines(found.path / VERDICTS)
    except OSError:  # not there yet
        return {}
    return {str(row.get("key")): str(row["error"]) for row in rows if row.get("error") is not None}


def _live(found: OpenEvaluation, names: Names) -> dict[str, Any] | None:
    """The first comparison by the first judge that is no vote, at the first temperature."""
    plan = found.plan
    judge = next((one for one in plan["judges"] if one["kind"] not in VOTED), None)
    policy, against = plan["comparisons"][0]
    judged = found.table.judged(judge, policy, against, plan["temperatures"][0]) if judge is not None else {}
    h = [made.h for made in judged.values() if made.h is not None]
    if judge is None or len(h) < 2:
        return None
    estimate = sequence(h)
    clear = estimate.low is not None and estimate.high is not None and (estimate.low > 0.5 or estimate.high < 0.5)
    return {
        "policy": names[policy].label, "against": names[against].label, "judge": names.judge(judge),
        "value": estimate.value, "low": estimate.low, "high": estimate.high, "n": len(h), "clear": clear,
        "family": names[policy].family,
    }  # fmt: skip
