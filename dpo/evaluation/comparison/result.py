"""What an evaluation shows: a function of its rows alone, with the prompt as the unit (no torch here).

The same rows give the same result to the last digit, in whatever order they were written; times are no
part of it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dpo.errors import DataError
from dpo.evaluation.comparison.measures import DIVERSITY, MEASURES
from dpo.evaluation.comparison.rows import Row, RowStore, answer_key, pair_key, verdict_key
from dpo.evaluation.comparison.wording import sentence
from dpo.evaluation.statistics.control import length_controlled
from dpo.evaluation.statistics.intervals import Estimate, mean, paired_difference, saved_by_pairing, win_rate
from dpo.evaluation.statistics.judges import cohens_kappa, order_effect
from dpo.evaluation.statistics.verdicts import holm, p_value, verdict

FORMAT = 1
_WORTH = {"a": 1.0, "b": 0.0, "tie": 0.5, "bad": 0.5}
_FEWEST_IN_SLICE = 5


def result(store: RowStore) -> Row:
    """What the last plan asked for, as far as the rows of `store` answer it.

    Raises:
        DataError: nothing was asked for yet.
    """
    if store.plan is None:
        raise DataError(f"{store.path} holds no evaluation yet: run dpo eval")
    table = _Table(store, store.plan)
    plan = table.plan
    comparisons = [_compared(table, *unit) for unit in table.units()]
    for judge in plan["judges"]:  # one family of tests a judge: its comparisons at all temperatures
        of_judge = [row for row in comparisons if row["judge"] == judge["name"] and row["win_rate"] is not None]
        adjusted = holm([row["p"] for row in of_judge])
        for row, p in zip(of_judge, adjusted, strict=True):
            row["p_adjusted"] = p
            row["verdict"] = verdict(Estimate(**row["win_rate"]), plan["margin"], p=p)
    for row in comparisons:
        row["sentence"] = sentence(row)
    return {
        "format": FORMAT,
        "plan": {name: value for name, value in plan.items() if name not in ("kind", "prompts")},
        "prompts": len(plan["prompts"]),
        "complete": table.complete(),
        "comparisons": comparisons,
        "gains": list(_gains(table)),
        "measures": [_measured(table, name, t) for name in plan["policies"] for t in plan["temperatures"]],
        "held_out": [_held_out(table, name) for name in plan["tuned"]],
        "judges": [_card(table, judge) for judge in plan["judges"]],
        "agreement": list(_agreement(table)),
    }


@dataclass(frozen=True)
class _Judged:
    """A judge's verdicts on one comparison at one temperature, of one prompt's samples in both orders."""

    h: float | None
    """None where every verdict is invalid."""
    by_sample: tuple[tuple[float, float], ...]
    """What each sample won, and how many characters longer its answer was."""
    orders: tuple[tuple[float, float], ...]
    """(a shown first, b shown first), of samples judged in both orders."""
    scores: list[float] | None
    kinds: Counter[str]

    @property
    def word(self) -> str:
        assert self.h is not None
        return "won" if self.h > 0.5 else "lost" if self.h < 0.5 else "tied"


class _Table:
    """The rows by what they are about."""

    def __init__(self, store: RowStore, plan: Row) -> None:
        self.store, self.plan = store, plan
        self.prompts = [store.prompts[key] for key in plan["prompts"] if key in store.prompts]
        self.votes: dict[tuple[Any, ...], list[Row]] = {}
        for row in store.verdicts.values():
            if "vote" in row:
                where = (
                    row["prompt_hash"],
                    row["policy_a"],
                    row["policy_b"],
                    row["hash_a"],
                    row["hash_b"],
                    row["temperature"],
                )
                self.votes.setdefault(where, []).append(row)
        self._answers: dict[tuple[str, str, float, int], Row | None] = {}
        self._judged: dict[tuple[Any, ...], dict[str, _Judged]] = {}

    def units(self) -> Iterator[tuple[Row, str, str, float]]:
        """Judge, policy, what it is compared with, temperature."""
        for judge, (policy, against), t in itertools.product(
            self.plan["judges"], self.plan["comparisons"], self.plan["temperatures"]
        ):
            yield judge, policy, against, t

    def samples(self, t: float) -> range:
        return range(1 if t == 0 else self.plan["samples"])

    def answer(self, policy: str, prompt: Row, t: float, sample: int) -> Row | None:
        where = (policy, prompt["hash"], t, sample)
        if where not in self._answers:
            known, seed = self.plan["policies"][policy], self.plan["seed"] + sample
            key = answer_key(known, prompt["hash"], t, seed, self.plan["sampling"])
            self._answers[where] = self.store.answers.get(key)
        return self._answers[where]

    def written(self, policy: str, prompt: Row, t: float) -> list[Row]:
        """A policy's answers to a prompt, those left out that it could not give."""
        found = [self.answer(policy, prompt, t, sample) for sample in self.samples(t)]
        return [row for row in found if row is not None and row["text"] is not None]

    def judged(self, judge: Row, policy: str, against: str, t: float) -> dict[str, _Judged]:
        """By the prompt's key, prompts without a valid verdict left out."""
        return {key: made for key, made in self.asked(judge, policy, against, t).items() if made.h is not None}

    def asked(self, judge: Row, policy: str, against: str, t: float) -> dict[str, _Judged]:
        """By the prompt's key, prompts without any verdict left out."""
        unit = (judge["name"], policy, against, t)
        if unit not in self._judged:
            found = {prompt["key"]: self._of_prompt(judge, policy, against, t, prompt) for prompt in self.prompts}
            self._judged[unit] = {key: made for key, made in found.items() if made is not None}
        return self._judged[unit]

    def kinds(self, judge: Row, policy: str, against: str, t: float) -> Counter[str]:
        """Verdicts by what they say."""
        return sum((made.kinds for made in self.asked(judge, policy, against, t).values()), Counter[str]())

    def _of_prompt(self, judge: Row, policy: str, against: str, t: float, prompt: Row) -> _Judged | None:
        if judge["kind"] == "people":
            hashes = self.plan["policies"][policy], self.plan["policies"][against]
            votes = self.votes.get((prompt["hash"], policy, against, *hashes, t), [])
            worths = [_WORTH[row["verdict"]] for row in votes]
            kinds = Counter(row["verdict"] for row in votes)
            return _Judged(float(np.mean(worths)), (), (), None, kinds) if worths else None
        by_sample, both, scores, kinds = [], [], [], Counter[str]()
        for a, b in self.duels(policy, against, prompt, t):
            found = [self.store.verdicts.get(verdict_key(judge["identity"], a, b, order)) for order in judge["orders"]]
            rows = [row for row in found if row is not None]
            kinds.update(row["verdict"] for row in rows)
            worths = [_WORTH[row["verdict"]] for row in rows if row["verdict"] != "invalid"]
            if worths:
                by_sample.append((math.fsum(worths) / len(worths), float(len(a["text"]) - len(b["text"]))))
            if len(worths) == 2:
                both.append((worths[0], worths[1]))
            scores += [row["scores"] for row in rows if row["scores"] is not None]
        if not kinds:
            return None
        h = math.fsum(worth for worth, _ in by_sample) / len(by_sample) if by_sample else None
        return _Judged(h, tuple(by_sample), tuple(both), np.mean(scores, axis=0).tolist() if scores else None, kinds)

    def duels(self, policy: str, against: str, prompt: Row, t: float) -> Iterator[tuple[Row, Row]]:
        """Both answers of each sample where both policies could answer."""
        for sample in self.samples(t):
            a, b = (self.answer(name, prompt, t, sample) for name in (policy, against))
            if a is not None and b is not None and a["text"] is not None and b["text"] is not None:
                yield a, b

    def pairs(self, policy: str) -> dict[str, list[Row]]:
        """The scored held-out pairs under a tuned policy by the prompt's key, and none where one does not fit."""
        content, reference, beta = self.plan["tuned"][policy]
        found: dict[str, list[Row]] = {}
        for prompt in self.prompts:
            keys = [pair_key(prompt["key"], place, content, reference, beta) for place in range(len(prompt["pairs"]))]
            rows = [self.store.pairs[key] for key in keys if key in self.store.pairs]
            if rows:
                found[prompt["key"]] = rows
        return found

    def complete(self) -> bool:
        """Whether everything that was asked for is there; what a judge could not decide is."""
        for policy, prompt, t in itertools.product(self.plan["policies"], self.prompts, self.plan["temperatures"]):
            if any(self.answer(policy, prompt, t, sample) is None for sample in self.samples(t)):
                return False
        for (judge, policy, against, t), prompt in itertools.product(self.units(), self.prompts):
            if judge["kind"] == "people":
                continue
            for (a, b), order in itertools.product(self.duels(policy, against, prompt, t), judge["orders"]):
                if verdict_key(judge["identity"], a, b, order) not in self.store.verdicts:
                    return False
        pairs = sum(len(prompt["pairs"]) for prompt in self.prompts)
        return all(sum(map(len, self.pairs(name).values())) == pairs for name in self.plan["tuned"])


def _compared(table: _Table, judge: Row, policy: str, against: str, t: float) -> Row:
    judged = table.judged(judge, policy, against, t)
    words = Counter(made.word for made in judged.values())
    kinds = table.kinds(judge, policy, against, t)
    row: Row = {
        "policy": policy, "against": against, "temperature": t, "judge": judge["name"], "kind": judge["kind"],
        "says": judge["says"], "relation": _relation(judge, policy, against), "prompts": len(judged),
        "wins": words["won"], "ties": words["tied"], "losses": words["lost"], "invalid": kinds["invalid"],
        "both_bad": kinds["bad"], "win_rate": None, "p": None, "p_adjusted": None,
        "verdict": "cannot tell at this size", "order": None, "length_controlled": None, "length_slope": None,
        "saved_by_pairing": None, "slices": {},
    }  # fmt: skip
    if not judged:
        return row
    h = [made.h for made in judged.values() if made.h is not None]
    estimate = win_rate(h)
    row |= {"win_rate": asdict(estimate), "p": p_value(estimate)}
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
    row["slices"] = {name: asdict(win_rate(values)) for name, values in _by_slice(table, judged).items()}
    return row


def _by_slice(table: _Table, judged: Mapping[str, _Judged]) -> dict[str, list[float]]:
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


def _gains(table: _Table) -> Iterator[Row]:
    """Which of two policies gained more over what each is compared with: win rates on the same prompts, paired."""
    for judge, t in itertools.product(table.plan["judges"], table.plan["temperatures"]):
        for one, other in itertools.combinations(table.plan["comparisons"], 2):
            first, second = (table.judged(judge, pair[0], pair[1], t) for pair in (one, other))
            common = [key for key in first if key in second]
            if common:
                difference = paired_difference(
                    [first[key].h or 0.0 for key in common], [second[key].h or 0.0 for key in common]
                )
                yield {
                    "judge": judge["name"], "temperature": t, "first": list(one), "second": list(other),
                    "difference": asdict(difference),
                }  # fmt: skip


def _measured(table: _Table, policy: str, t: float) -> Row:
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
        estimate = (win_rate if measure.share else mean)(list(means.values())) if means else None
        difference = (
            paired_difference([means[key] for key in common], [_mean_of(other[key], name) for key in common])
            if common
            else None
        )
        values[name] = {
            "value": None if estimate is None else asdict(estimate),
            "difference": None if difference is None else asdict(difference),
        }
    budget = min(
        (sum(row["measures"]["words"] for row in _texts(table, name, t)) for name in plan["policies"]), default=0
    )
    texts = [row["text"] for row in _texts(table, policy, t)]
    return {
        "policy": policy, "against": against, "temperature": t, "prompts": len(answered),
        "left_out": sum(table.answer(policy, p, t, k) is not None for p in table.prompts for k in table.samples(t))
        - sum(map(len, own.values())),
        "values": values, "word_budget": budget,
        "diversity": {name: of(texts, budget) if budget else None for name, of in DIVERSITY.items()},
    }  # fmt: skip


def _mean_of(rows: Sequence[Row], name: str) -> float:
    return math.fsum(row["measures"][name] for row in rows) / len(rows)


def _texts(table: _Table, policy: str, t: float) -> list[Row]:
    return [row for prompt in table.prompts for row in table.written(policy, prompt, t)]


def _held_out(table: _Table, policy: str) -> Row:
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


def _card(table: _Table, judge: Row) -> Row:
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


def _agreement(table: _Table) -> Iterator[Row]:
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
