"""What an evaluation shows: a function of its rows alone, with the prompt as the unit (no torch here).

The same rows give the same result to the last digit, in whatever order they were written; times are no
part of it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from dpo.errors import DataError
from dpo.evaluation.comparison.changes import changed, taught
from dpo.evaluation.comparison.drift import divergences, measured_all, perplexities
from dpo.evaluation.comparison.frontier import frontier
from dpo.evaluation.comparison.measured import difference, measured
from dpo.evaluation.comparison.rows import Row, RowStore
from dpo.evaluation.comparison.styles import at_equal_style, strengths
from dpo.evaluation.comparison.table import Judged, Table
from dpo.evaluation.comparison.wording import sentence
from dpo.evaluation.statistics.intervals import LEVEL, Estimate, mean, saved_by_pairing, win_rate
from dpo.evaluation.statistics.judges import alpha_by_prompt, cohens_kappa, corrected_by_people, order_effect
from dpo.evaluation.statistics.planning import sequence
from dpo.evaluation.statistics.verdicts import holm, p_value, verdict

FORMAT = 2
_FEWEST_IN_SLICE = 5
_FEWEST_VOTED = 10


def result(store: RowStore) -> Row:
    """What the last plan asked for, as far as the rows of `store` answer it.

    Raises:
        DataError: nothing was asked for yet.
    """
    if store.plan is None:
        raise DataError(f"{store.path} holds no evaluation yet: run dpo eval")
    table = Table(store, store.plan)
    plan = table.plan
    comparisons = [_compared(table, *unit) for unit in table.units()]
    for judge in plan["judges"]:
        _verdicts([row for row in comparisons if row["judge"] == judge["name"] and row["win_rate"]], plan)
    for row in comparisons:
        row["sentence"] = sentence(row)
    measures = measured(table)
    return {
        "format": FORMAT,
        "plan": {name: value for name, value in plan.items() if name not in ("kind", "prompts")},
        "prompts": len(plan["prompts"]),
        "complete": table.complete() and measured_all(table),
        "comparisons": comparisons,
        "gains": list(_gains(table)),
        "strengths": list(strengths(table)),
        "measures": list(measures.values()),
        "divergence": list(divergences(table)),
        "frontier": list(frontier(table)),
        "perplexity": list(perplexities(table)),
        "changes": [
            changed(table, row, measures[row["against"], t]) for (_, t), row in measures.items() if row["against"]
        ],
        "taught": taught(table),
        "held_out": [_held_out(table, name) for name in plan["tuned"]],
        "judges": [_card(table, judge) for judge in plan["judges"]],
        "agreement": list(_agreement(table)),
        "alpha": _alpha(table),
    }


def is_clear(made: Row) -> bool:
    """Whether an evaluation that goes on until it is clear may end: its judge can tell of every comparison."""
    judge = made["plan"].get("until_clear")
    words = [row["verdict"] for row in made["comparisons"] if row["judge"] == judge]
    return judge is not None and bool(words) and "cannot tell at this size" not in words


def _verdicts(rows: Sequence[Row], plan: Row) -> None:
    """Put a word to the comparisons of one judge, which are one family of tests.

    Where somebody looks after each round whether it is clear yet, the intervals are those of confidence sequences,
    which may be looked at as often as one likes; several comparisons share the error (Bonferroni).
    """
    if "until_clear" not in plan:
        for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
            row["p_adjusted"] = p
            row["verdict"] = verdict(Estimate(**row["win_rate"]), plan["margin"], p=p)
        return
    for row in rows:
        h = row.pop("h")
        row["p"] = None
        words = [sequence(h, level) for level in (LEVEL, 1 - (1 - LEVEL) / len(rows))]
        row["win_rate"] = asdict(words[0])
        row["verdict"] = verdict(words[1], plan["margin"])


def _compared(table: Table, judge: Row, policy: str, against: str, t: float) -> Row:
    judged = table.judged(judge, policy, against, t)
    words = Counter(made.word for made in judged.values())
    kinds = table.kinds(judge, policy, against, t)
    row: Row = {
        "policy": policy, "against": against, "temperature": t, "judge": judge["name"], "kind": judge["kind"],
        "says": judge["says"], "relation": _relation(judge, policy, against), "prompts": len(judged),
        "wins": words["won"], "ties": words["tied"], "losses": words["lost"], "invalid": kinds["invalid"],
        "both_bad": kinds["bad"], "win_rate": None, "p": None, "p_adjusted": None,
        "verdict": "cannot tell at this size", "order": None, "length_controlled": None, "length_slope": None,
        "style_controlled": None, "style_slopes": {},
        "saved_by_pairing": None, "slices": {}, "people": None,
    }  # fmt: skip
    if not judged:
        return row
    h = [made.h for made in judged.values() if made.h is not None]
    estimate = win_rate(h)
    row |= {"win_rate": asdict(estimate), "p": p_value(estimate)}
    if "until_clear" in table.plan:
        row["h"] = h
    row |= at_equal_style(judge, judged)
    both = [pair for made in judged.values() for pair in made.orders]
    if both:
        effect = order_effect(*zip(*both, strict=True))
        row["order"] = asdict(effect)
    scores = [made.scores for made in judged.values() if made.scores is not None]
    if len(scores) > 1:
        row["saved_by_pairing"] = saved_by_pairing(*zip(*scores, strict=True))
    row["people"] = _corrected(table, judge, judged, (policy, against, t))
    row["slices"] = {name: asdict(win_rate(values)) for name, values in _by_slice(table, judged).items()}
    return row


def _corrected(table: Table, judge: Row, judged: Mapping[str, Judged], unit: tuple[str, str, float]) -> Row | None:
    """The win rate by people that a judge's verdicts make surer (`corrected_by_people`), from ten voted prompts on.

    It holds if those prompts are a random part of all; `weight` is how much the judge counts, 0 for not at all.
    """
    people = next((one for one in table.plan["judges"] if one["kind"] == "people"), None)
    if people is None or judge["kind"] == "people":
        return None
    votes = table.judged(people, *unit)
    both = [key for key in judged if key in votes]
    alone = [judged[key].h or 0.0 for key in judged if key not in votes]
    if len(both) < _FEWEST_VOTED or not alone:
        return None
    estimate, weight = corrected_by_people(
        [votes[key].h or 0.0 for key in both], [judged[key].h or 0.0 for key in both], alone
    )
    return asdict(estimate) | {"weight": weight}


def _by_slice(table: Table, judged: Mapping[str, Judged]) -> dict[str, list[float]]:
    """What was won in each slice that has enough prompts and does not hold all of them."""
    found: dict[str, list[float]] = {}
    for prompt in table.prompts:
        if prompt["key"] in judged:
            for name in prompt["slices"]:
                found.setdefault(name, []).append(float(judged[prompt["key"]].h or 0.0))
    return {name: found[name] for name in sorted(found) if _FEWEST_IN_SLICE <= len(found[name]) < len(judged)}


def _relation(judge: Row, policy: str, against: str) -> Row | None:
    """The closest relation of a judging policy to the two that it judges; None of other judges."""
    if "relations" not in judge:
        return None
    found = [judge["relations"][name] for name in (policy, against)]
    word, why = min(found, key=lambda one: ("related", "unknown", "not related").index(one[0]))
    return {"word": word, "why": why}


def _gains(table: Table) -> Iterator[Row]:
    """Which of two policies gained more over what each is compared with: win rates on the same prompts, paired."""
    for judge, t in itertools.product(table.plan["judges"], table.plan["temperatures"]):
        for one, other in itertools.combinations(table.plan["comparisons"], 2):
            first, second = (table.judged(judge, pair[0], pair[1], t) for pair in (one, other))
            common = [key for key in first if key in second]
            if common:
                won = [first[key].h or 0.0 for key in common], [second[key].h or 0.0 for key in common]
                gap = difference(*won, share=True)
                yield {
                    "judge": judge["name"], "temperature": t, "first": list(one), "second": list(other),
                    "difference": asdict(gap),
                }  # fmt: skip


def _held_out(table: Table, policy: str) -> Row:
    """Loss, accuracy and margin of the held-out pairs, beside the rules that read no meaning; prompts are the unit."""
    pairs = table.pairs(policy)
    scored = {key: fitting for key, rows in pairs.items() if (fitting := [row for row in rows if "error" not in row])}
    row: Row = {
        "policy": policy, "reference": table.plan["tuned"][policy][1], "beta": table.plan["tuned"][policy][2],
        "answers": policy in table.plan["policies"], "pairs": sum(map(len, scored.values())), "prompts": len(scored),
        "left_out": sum(map(len, pairs.values())) - sum(map(len, scored.values())),
        "shortcut": table.plan["data"]["shortcut"],
    }  # fmt: skip
    if not scored:
        return row | {"loss": None, "accuracy": None, "margin": None, "rules": {}, "accuracy_by_slice": {}}

    def by_prompt(of: Any) -> list[float]:
        return [float(np.mean([of(one) for one in rows])) for rows in scored.values()]

    slices: dict[str, list[float]] = {}
    accuracies = dict(zip(scored, by_prompt(lambda one: one["right"]), strict=True))
    for prompt in table.prompts:
        for name in prompt["slices"] if prompt["key"] in accuracies else ():
            slices.setdefault(name, []).append(accuracies[prompt["key"]])
    rules = next(iter(scored.values()))[0]["rules"]
    return row | {
        "loss": asdict(mean(by_prompt(lambda one: one["loss"]))),
        "accuracy": asdict(win_rate(list(accuracies.values()))),
        "margin": asdict(mean(by_prompt(lambda one: one["margin"]))),
        "rules": {name: asdict(win_rate(by_prompt(lambda one, name=name: one["rules"][name]))) for name in rules},
        "accuracy_by_slice": {name: asdict(win_rate(slices[name])) for name in sorted(slices)},
    }


def _card(table: Table, judge: Row) -> Row:
    """A judge's verdicts counted; its held-out accuracy stands in `held_out` under its policy.

    `repeated` questions were asked twice, `repeated_alike` got the same verdict; `models` is what the judge called
    itself, `tokens` what it spent.
    """
    kinds: Counter[str] = Counter()
    for other, policy, against, t in table.units():
        if other["name"] == judge["name"]:
            kinds += table.kinds(judge, policy, against, t)
    rows = [
        row for row in table.store.verdicts.values() if row.get("identity") == judge["identity"] and "vote" not in row
    ]
    repeats = [row["verdict"] == row["repeat"] for row in rows if row.get("repeat")]
    return {name: judge[name] for name in ("name", "kind", "says")} | {
        "repeated": len(repeats), "repeated_alike": sum(repeats),
        "models": sorted({row["model"] for row in rows if row.get("model")}),
        "tokens": math.fsum(row.get("cost") or 0 for row in rows),
        "policy": judge.get("policy"), "verdicts": kinds.total(), "ties": kinds["tie"] + kinds["bad"],
        "invalid": kinds["invalid"],
    }  # fmt: skip


def _words(table: Table, judge: Row) -> dict[tuple[str, str, float, str], str]:
    """Who won, by comparison, temperature and prompt."""
    return {
        (policy, against, t, key): made.word
        for other, policy, against, t in table.units() if other["name"] == judge["name"]
        for key, made in table.judged(judge, policy, against, t).items()
    }  # fmt: skip


def _agreement(table: Table) -> Iterator[Row]:
    """How far each two judges agree on who won a prompt, beyond chance."""
    words = {judge["name"]: _words(table, judge) for judge in table.plan["judges"]}
    for one, other in itertools.combinations(words, 2):
        both = [(word, words[other][where]) for where, word in words[one].items() if where in words[other]]
        if both:
            kappa = cohens_kappa([a for a, _ in both], [b for _, b in both])
            yield {
                "first": one, "second": other, "verdicts": len(both),
                "agree": sum(a == b for a, b in both) / len(both), "kappa": None if kappa is None else asdict(kappa),
            }  # fmt: skip


def _alpha(table: Table) -> Row | None:
    """How far all judges but the rules agree, people among them; None of fewer than two."""
    words = {judge["name"]: _words(table, judge) for judge in table.plan["judges"] if judge["kind"] != "rule"}
    given = {name: found for name, found in words.items() if found}
    if len(given) < 2:
        return None
    places = sorted({where for found in given.values() for where in found})
    verdicts = [[found[where] for found in given.values() if where in found] for where in places]
    alpha = alpha_by_prompt(verdicts, [where[-1] for where in places])
    return None if alpha is None else {"judges": list(given), "verdicts": sum(map(len, verdicts))} | asdict(alpha)
