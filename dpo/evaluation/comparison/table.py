"""Rows of an evaluation by what they are about (no torch here)."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dpo.evaluation.comparison.judges import VOTED
from dpo.evaluation.comparison.rows import Row, RowStore, answer_key, pair_key, verdict_key

WORTH = {"a": 1.0, "b": 0.0, "tie": 0.5, "bad": 0.5}


class Sampled(NamedTuple):
    """What a sample won, over its orders, and both answers."""

    h: float
    own: Row
    other: Row

    @property
    def longer(self) -> float:
        """How many characters longer the policy's answer is."""
        return float(len(self.own["text"]) - len(self.other["text"]))


@dataclass(frozen=True)
class Judged:
    """A judge's verdicts on one comparison at one temperature, of one prompt's samples in both orders."""

    h: float | None
    """None where every verdict is invalid."""
    by_sample: tuple[Sampled, ...]
    orders: tuple[tuple[float, float], ...]
    """(a shown first, b shown first), of samples judged in both orders."""
    scores: list[float] | None
    kinds: Counter[str]

    @property
    def word(self) -> str:
        """Whether the policy won the prompt, lost it or tied."""
        assert self.h is not None
        return "won" if self.h > 0.5 else "lost" if self.h < 0.5 else "tied"


class Table:
    """The rows of a store that a plan asks for; each is looked up by its key, and once."""

    def __init__(self, store: RowStore, plan: Row) -> None:
        self.store, self.plan = store, plan
        found = [store.prompts[key] for key in plan["prompts"] if key in store.prompts]
        also = plan.get("slices", {})
        self.prompts = [row | {"slices": [*row["slices"], *also.get(row["key"], ())]} for row in found]
        self.votes: dict[tuple[Any, ...], list[Row]] = {}
        for row in store.verdicts.values():
            if "vote" in row:
                where = (
                    row["identity"],
                    row["prompt_hash"],
                    row["policy_a"],
                    row["policy_b"],
                    row["hash_a"],
                    row["hash_b"],
                    row["temperature"],
                )
                self.votes.setdefault(where, []).append(row)
        self._answers: dict[tuple[str, float], dict[str, list[Row | None]]] = {}
        self._judged: dict[tuple[Any, ...], dict[str, Judged]] = {}

    def units(self) -> Iterator[tuple[Row, str, str, float]]:
        """Judge, policy, what it is compared with, temperature."""
        for judge, (policy, against), t in itertools.product(
            self.plan["judges"], self.plan["comparisons"], self.plan["temperatures"]
        ):
            yield judge, policy, against, t

    def samples(self, t: float) -> range:
        """Numbers of the samples at a temperature: without chance there is one."""
        return range(1 if t == 0 else self.plan["samples"])

    def answers(self, policy: str, prompt: Row, t: float) -> list[Row | None]:
        """A policy's answers to a prompt, sample by sample, None where one is not there yet; each looked up once."""
        known = self._answers.setdefault((policy, t), {})
        found = known.get(prompt["hash"])
        if found is None:
            content, plan = self.plan["policies"][policy], self.plan
            found = known[prompt["hash"]] = [
                self.store.answers.get(
                    answer_key(content, prompt["hash"], t, plan["seed"] + sample, plan["sampling"])
                )
                for sample in self.samples(t)
            ]  # fmt: skip
        return found

    def written(self, policy: str, prompt: Row, t: float) -> list[Row]:
        """A policy's answers to a prompt, those left out that it could not give."""
        return [row for row in self.answers(policy, prompt, t) if row is not None and row["text"] is not None]

    def judged(self, judge: Row, policy: str, against: str, t: float) -> dict[str, Judged]:
        """By the prompt's key, prompts without a valid verdict left out."""
        return {key: made for key, made in self.asked(judge, policy, against, t).items() if made.h is not None}

    def asked(self, judge: Row, policy: str, against: str, t: float) -> dict[str, Judged]:
        """By the prompt's key, prompts without any verdict left out."""
        unit = (judge["name"], policy, against, t)
        if unit not in self._judged:
            found = {prompt["key"]: self._of_prompt(judge, policy, against, t, prompt) for prompt in self.prompts}
            self._judged[unit] = {key: made for key, made in found.items() if made is not None}
        return self._judged[unit]

    def kinds(self, judge: Row, policy: str, against: str, t: float) -> Counter[str]:
        """Verdicts by what they say."""
        return sum((made.kinds for made in self.asked(judge, policy, against, t).values()), Counter[str]())

    def _of_prompt(self, judge: Row, policy: str, against: str, t: float, prompt: Row) -> Judged | None:
        if judge["kind"] in VOTED:
            hashes = self.plan["policies"][policy], self.plan["policies"][against]
            votes = self.votes.get((judge["identity"], prompt["hash"], policy, against, *hashes, t), [])
            worths = [WORTH[row["verdict"]] for row in votes]
            kinds = Counter(row["verdict"] for row in votes)
            return Judged(float(np.mean(worths)), (), (), None, kinds) if worths else None
        by_sample, both, scores, kinds = [], [], [], Counter[str]()
        for a, b in self.duels(policy, against, prompt, t):
            found = [self.store.verdicts.get(verdict_key(judge["identity"], a, b, order)) for order in judge["orders"]]
            rows = [row for row in found if row is not None]
            kinds.update(row["verdict"] for row in rows)
            worths = [WORTH[row["verdict"]] for row in rows if row["verdict"] != "invalid"]
            if worths:
                by_sample.append(Sampled(math.fsum(worths) / len(worths), a, b))
            if len(worths) == 2:
                both.append((worths[0], worths[1]))
            scores += [row["scores"] for row in rows if row["scores"] is not None]
        if not kinds:
            return None
        h = math.fsum(one.h for one in by_sample) / len(by_sample) if by_sample else None
        return Judged(h, tuple(by_sample), tuple(both), np.mean(scores, axis=0).tolist() if scores else None, kinds)

    def duels(self, policy: str, against: str, prompt: Row, t: float) -> Iterator[tuple[Row, Row]]:
        """Both answers of each sample where both policies could answer."""
        for a, b in zip(self.answers(policy, prompt, t), self.answers(against, prompt, t), strict=True):
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
            if None in self.answers(policy, prompt, t):
                return False
        for (judge, policy, against, t), prompt in itertools.product(self.units(), self.prompts):
            if judge["kind"] in VOTED:
                continue
            for (a, b), order in itertools.product(self.duels(policy, against, prompt, t), judge["orders"]):
                if verdict_key(judge["identity"], a, b, order) not in self.store.verdicts:
                    return False
        pairs = sum(len(prompt["pairs"]) for prompt in self.prompts)
        return all(sum(map(len, self.pairs(name).values())) == pairs for name in self.plan["tuned"])
