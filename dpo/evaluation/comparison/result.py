"""What an evaluation shows: a function of its rows alone, with the prompt as the unit (no torch here).

The same rows give the same result to the last digit, in whatever order they were written; times are no
part of it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from dpo.errors import DataError
from dpo.evaluation.comparison.changes import changed, taught
from dpo.evaluation.comparison.measures import DIVERSITY, MEASURES
from dpo.evaluation.comparison.rows import Row, RowStore
from dpo.evaluation.comparison.table import Judged, Table
from dpo.evaluation.comparison.wording import sentence
from dpo.evaluation.statistics.control import length_controlled
from dpo.evaluation.statistics.intervals import LEVEL, Estimate, mean, paired_difference, saved_by_pairing, win_rate
from dpo.evaluation.statistics.judges import cohens_kappa, corrected_by_people, order_effect
from dpo.evaluation.statistics.planning import sequence
from dpo.evaluation.statistics.verdicts import holm, p_value, verdict

FORMAT = 1
_MOST_WORDS = 20_000  # that diversity is measured on: more take long, and say the same
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
    measures = {(name, t): _measured(table, name, t) for name in plan["policies"] for t in plan["temperatures"]}
    return {
        "format": FORMAT,
        "plan": {name: value for name, value in plan.items() if name not in ("kind", "prompts")},
        "prompts": len(plan["prompts"]),
        "complete": table.complete(),
        "comparisons": comparisons,
        "gains": list(_gains(table)),
        "measures": list(measures.values()),
        "changes": [
            changed(table, row, measures[row["against"], t]) for (_, t), row in measures.items() if row["against"]
        ],
        "taught": taught(table),
        "held_out": [_held_out(table, name) for name in plan["tuned"]],
        "judges": [_card(table, judge) for judge in plan["judges"]],
        "agreement": list(_agreement(table)),
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
        "saved_by_pairing": None, "slices": {}, "people": None,
    }  # fmt: skip
    if not judged:
        return row
    h = [made.h for made in judged.values() if made.h is not None]
    estimate = win_rate(h)
    row |= {"win_rate": asdict(estimate), "p": p_value(estimate)}
    if "until_clear" in table.plan:
        row["h"] = h
    samples = [(key, *one) for key, made in judged.items() for one in made.by_sample]
    controlled = None
    if samples and judge["name"] != "longer":
        keys, won, longer = zip(*samples, strict=True)
        controlled = length_controlled(won, longer, keys)
    if controlled is not None:
        row |= {"length_controlled": asdict(controlled.rate), "length_slope": controlled.slope}
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
                difference = _difference(*won, share=True)
                yield {
                    "judge": judge["name"], "temperature": t, "first": list(one), "second": list(other),
                    "difference": asdict(difference),
                }  # fmt: skip


def _measured(table: Table, policy: str, t: float) -> Row:
    """Every measure of a policy's answers, and how far it is from what the policy is compared with."""
    plan = table.plan
    against = next((b for a, b in plan["comparisons"] if a == policy), None)
    own, other = (
        {p["key"]: table.written(name, p, t) for p in table.prompts} if name else {} for name in (policy, against)
    )
    answered = [key for key in own if own[key]]
    common = [key for key in answered if other.get(key)]
    values: Row = {}
    for name, measure in MEASURES.items():
        means = {key: _mean_of(own[key], name) for key in answered}
        estimate = None if not means else win_rate(list(means.values())) if measure.share else _count(means.values())
        difference = None
        if common:
            theirs = [_mean_of(other[key], name) for key in common]
            difference = _difference([means[key] for key in common], theirs, measure.share)
        values[name] = {
            "value": None if estimate is None else asdict(estimate),
            "difference": None if difference is None else asdict(difference),
        }
    written = (sum(row["measures"]["words"] for row in _texts(table, name, t)) for name in plan["policies"])
    budget = min(*written, _MOST_WORDS)
    texts = [row["text"] for row in _texts(table, policy, t)]
    return {
        "policy": policy, "against": against, "temperature": t, "prompts": len(answered),
        "left_out": sum(table.answer(policy, p, t, k) is not None for p in table.prompts for k in table.samples(t))
        - sum(map(len, own.values())),
        "values": values, "word_budget": budget,
        "diversity": {name: of(texts, budget) if budget else None for name, of in DIVERSITY.items()},
    }  # fmt: skip


def _difference(first: Sequence[float], second: Sequence[float], share: bool) -> Estimate:
    """The mean paired difference; of shares no further from 0 than 1."""
    made = _sure(paired_difference(first, second))
    if not share or made.low is None or made.high is None:
        return made
    return replace(made, low=max(-1.0, made.low), high=min(1.0, made.high))


def _count(values: Iterable[float]) -> Estimate:
    """The mean of what cannot be negative."""
    made = _sure(mean(list(values)))
    return made if made.low is None else replace(made, low=max(0.0, made.low))


def _sure(made: Estimate) -> Estimate:
    """Without an interval where all prompts are alike: one of no width would claim to know all other prompts."""
    return replace(made, low=None, high=None) if made.error == 0 else made


def _mean_of(rows: Sequence[Row], name: str) -> float:
    return math.fsum(row["measures"][name] for row in rows) / len(rows)


def _texts(table: Table, policy: str, t: float) -> list[Row]:
    return [row for prompt in table.prompts for row in table.written(policy, prompt, t)]


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


def _agreement(table: Table) -> Iterator[Row]:
    """How far each two judges agree on who won a prompt, beyond chance."""
    for one, other in itertools.combinations(table.plan["judges"], 2):
        words: list[tuple[str, str]] = []
        for (policy, against), t in itertools.product(table.plan["comparisons"], table.plan["temperatures"]):
            first, second = (table.judged(judge, policy, against, t) for judge in (one, other))
            words += [(first[key].word, second[key].word) for key in first if key in second]
        if words:
            kappa = cohens_kappa([a for a, _ in words], [b for _, b in words])
            yield {
                "first": one["name"], "second": other["name"], "verdicts": len(words),
                "agree": sum(a == b for a, b in words) / len(words), "kappa": None if kappa is None else asdict(kappa),
            }  # fmt: skip
