"""The prompts of an evaluation with every judge's verdict, and the answers to one of them, as plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dpo.dashboard.evaluate.found import OpenEvaluation
from dpo.errors import DataError, quoted
from dpo.evaluation.comparison.judges import VOTED
from dpo.evaluation.comparison.rows import Row, verdict_key
from dpo.evaluation.comparison.table import WORTH, Judged


def rows(found: OpenEvaluation, temperature: float) -> list[dict[str, Any]]:
    """A row a prompt.

    `at` is the prompt's place, `units` has for each comparison None, or for each judge what the policy won by order
    (`a` won, `b` lost, `t` tied, `-` no valid verdict, "" not asked; one letter for each order) and in all (`worth`,
    0 to 1, None where nothing is known), and how many words longer the policy's answers are.
    """
    table, plan = found.table, found.plan
    made = [
        {"at": at, "prompt": prompt["prompt"], "slices": prompt["slices"], "units": []}
        for at, prompt in enumerate(table.prompts)
    ]
    for policy, against in plan["comparisons"]:
        judged = [table.asked(judge, policy, against, temperature) for judge in plan["judges"]]
        for row, prompt in zip(made, table.prompts, strict=True):
            seen = [one.get(prompt["key"]) for one in judged]
            strips = [_strip(judge, one) for judge, one in zip(plan["judges"], seen, strict=True)]
            worths = [None if one is None or one.h is None else round(one.h, 4) for one in seen]
            longer = _longer(found, prompt, (policy, against), temperature)
            row["units"].append({"strips": strips, "worths": worths, "longer": longer})
    return made


def _strip(judge: Row, judged: Judged | None) -> str:
    if judged is None:
        return ""
    if len(judge["orders"]) == 2 and judged.orders:
        return "".join(_letter(float(np.mean(side))) for side in zip(*judged.orders, strict=True))
    return _letter(judged.h)


def _letter(worth: float | None) -> str:
    return "-" if worth is None else "a" if worth > 0.5 else "b" if worth < 0.5 else "t"


def _longer(found: OpenEvaluation, prompt: Row, pair: Sequence[str], t: float) -> int | None:
    """How many words the first policy's answers have more, on average over samples; None where one has none."""
    lengths = [[row["measures"]["words"] for row in found.table.written(name, prompt, t)] for name in pair]
    if not all(lengths):
        return None
    own, other = (math.fsum(side) / len(side) for side in lengths)
    return round(own - other)


def texts(found: OpenEvaluation, temperature: float) -> list[list[str | None]]:
    """The first answers to each prompt by policy, None where there is none: most of what an evaluation holds."""
    policies = found.plan["policies"]
    written = ([found.table.written(name, prompt, temperature) for name in policies] for prompt in found.table.prompts)
    return [[rows[0]["text"] if rows else None for rows in own] for own in written]


def answers(found: OpenEvaluation, at: int, temperature: float) -> dict[str, Any]:
    """The answers to the prompt at a place, and what each judge said of them.

    Raises:
        DataError: there is no such prompt.
    """
    table, plan = found.table, found.plan
    if not 0 <= at < len(table.prompts):
        raise DataError(f"There is no prompt {quoted(at)} in this evaluation: it has {len(table.prompts)}")
    prompt = table.prompts[at]
    written = {name: table.written(name, prompt, temperature) for name in plan["policies"]}
    texts = {
        name: [{"text": row["text"], "words": row["measures"]["words"], "ended": row["ended"]} for row in own]
        for name, own in written.items()
    }
    return {
        "prompt": prompt["prompt"],
        "turns": len(prompt["messages"] or [0]),
        "answers": texts,
        "said": [_said(found, prompt, pair, temperature) for pair in plan["comparisons"]],
        "settings": plan["sampling"] | {"temperature": temperature, "seed": plan["seed"]},
    }


def _said(found: OpenEvaluation, prompt: Row, pair: Sequence[str], t: float) -> list[dict[str, Any]]:
    """Each verdict on the first samples of two policies: the judge's place, the order, who won, scores, its words."""
    table, made = found.table, []
    for place, judge in enumerate(found.plan["judges"]):
        if judge["kind"] in VOTED:
            one = table.asked(judge, pair[0], pair[1], t).get(prompt["key"])
            if one is not None:
                made.append({"judge": place, "votes": {word: one.kinds[word] for word in (*WORTH,) if one.kinds[word]}})
            continue
        for a, b in list(table.duels(pair[0], pair[1], prompt, t))[:1]:
            for order in judge["orders"]:
                row = found.store.verdicts.get(verdict_key(judge["identity"], a, b, order))
                if row is not None:
                    made.append(
                        {"judge": place, "order": order, "verdict": row["verdict"], "scores": row["scores"],
                         "raw": row.get("raw")}
                    )  # fmt: skip
    return made
