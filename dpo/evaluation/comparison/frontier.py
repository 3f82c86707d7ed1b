"""What each policy gained for how far it moved, and which are past the hump (no torch here)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np

from dpo.evaluation.comparison.drift import kls_of
from dpo.evaluation.comparison.rows import Row
from dpo.evaluation.comparison.table import Judged, Table
from dpo.evaluation.statistics.frontier import FEWEST, hump

_FEWEST_PROMPTS = 10


def frontier(table: Table) -> Iterator[Row]:
    """By judge, temperature and what is compared with: each policy's distance `sqrt(KL)` and what it gained.

    `gain` is the mean difference of the judge's scores, or where it gives none wins minus losses in a prompt.  The
    curve `hump` is fitted to four policies or more by a judge from outside alone: one that is or comes from a
    policy that is judged rewards what was optimised, and no hump can appear; `why` says why it was not.  `past` names
    the policies that are surely beyond its top.
    """
    plan = table.plan
    for judge in (one for one in plan["judges"] if one["kind"] != "rule"):
        for t in plan["temperatures"]:
            for against in dict.fromkeys(base for _, base in plan["comparisons"]):
                names = [policy for policy, base in plan["comparisons"] if base == against]
                judged = {name: table.judged(judge, name, against, t) for name in names}
                kls = {name: kls_of(table, name, against) for name in names}
                known = [name for name in names if judged[name] and kls[name]]
                if known:
                    points = [(name, judged[name], kls[name]) for name in known]
                    yield {"judge": judge["name"], "temperature": t, "against": against} | _curve(judge, points)


def _curve(judge: Row, points: Sequence[tuple[str, dict[str, Judged], dict[str, float]]]) -> Row:
    scored = all(one.scores is not None for _, judged, _ in points for one in judged.values())
    common = [key for key in points[0][1] if all(key in judged for _, judged, _ in points)]
    where = [key for key in points[0][2] if all(key in kls for _, _, kls in points)]
    gains = np.array([[_gain(judged[key], scored) for key in common] for _, judged, _ in points])
    kls = np.array([[found[key] for key in where] for _, _, found in points])
    row: Row = {
        "gain_is": "score" if scored else "wins minus losses", "hump": None, "past": [], "why": None,
        "points": [], "prompts": len(common),
    }  # fmt: skip
    if not common or not where:
        return row | {"why": "no prompt is judged and measured for all policies"}
    row["points"] = [
        {"policy": name, "distance": float(np.sqrt(kl.mean())), "kl": float(kl.mean()), "gain": float(gain.mean())}
        for (name, _, _), kl, gain in zip(points, kls, gains, strict=True)
    ]
    inside = judge.get("policy") in [name for name, _, _ in points] or any(
        word == "related" for word, _ in judge.get("relations", {}).values()
    )
    if inside:
        return row | {"why": "the judge comes from what is judged: a hump could not appear"}
    if min(len(common), len(where)) < _FEWEST_PROMPTS:
        return row | {"why": f"fewer than {_FEWEST_PROMPTS} prompts"}
    made = hump(gains, kls)
    if made is None:
        return row | {"why": f"fewer than {FEWEST} policies at different distances"}
    past = [name for (name, _, _), beyond in zip(points, made.past, strict=True) if beyond]
    return row | {"hump": asdict(made), "past": past}


def _gain(one: Judged, scored: bool) -> float:
    assert one.h is not None
    return one.scores[0] - one.scores[1] if scored and one.scores is not None else 2 * one.h - 1
