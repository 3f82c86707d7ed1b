"""Judges at work: rules, implicit rewards, and the votes of people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from dpo.evaluation.comparison.endpoint import open_endpoint
from dpo.evaluation.comparison.judges import Duel, Judge, JudgeSpec, Verdict, Winner
from dpo.evaluation.comparison.measures import emoji_count
from dpo.evaluation.comparison.plan import Plan
from dpo.evaluation.comparison.reward_model import RewardModel
from dpo.evaluation.comparison.rows import Row, pair_key
from dpo.evaluation.lens import Lens, open_lens
from dpo.evaluation.pairs import PairScore, score_pairs
from dpo.policies.ranking import ranked_right
from dpo.preferences.audit.surface import NAMES, features


class Rule:
    """The answer that has more of something wins."""

    def __init__(self, name: str) -> None:
        self.count = len if name == "longer" else emoji_count

    def judge(self, duels: Sequence[Duel]) -> list[Verdict]:
        """Compare the counts of both answers."""
        return [_by_scores(self.count(duel.first), self.count(duel.second)) for duel in duels]


class ImplicitReward:
    """The answer with the higher DPO reward under a tuned policy wins, of the whole answer or per token.

    Scores are those of `score_pairs`: what the trainer would log, cut where it cut.  Rewards whose
    log-ratios differ by less than rounding does are equal, as in reward accuracy.
    """

    def __init__(self, lens: Lens, per_token: bool) -> None:
        self.lens, self.per_token = lens, per_token

    def judge(self, duels: Sequence[Duel]) -> list[Verdict]:
        """Score both answers; `invalid` where prompt and answer do not fit into the policy's context."""
        pairs = [_pair(duel.prompt, duel.first, duel.second) for duel in duels]
        scores, _ = score_pairs(self.lens, pairs)
        found = {score.index: self._verdict(score) for score in scores}
        too_long = Verdict("invalid", raw="an answer does not fit into the judge's context")
        return [found.get(place, too_long) for place in range(len(duels))]

    def _verdict(self, score: PairScore) -> Verdict:
        lengths = (score.chosen_tokens, score.rejected_tokens) if self.per_token else (1, 1)
        first, second = score.chosen_reward / lengths[0], score.rejected_reward / lengths[1]
        won = ranked_right(first - second, score.beta)
        winner: Winner = "tie" if won == 0.5 else "a" if won else "b"
        return Verdict(winner, (first, second))


def open_judge(spec: JudgeSpec, device: str, most_tokens: int | None = None) -> Judge:
    """Load what a judge needs.

    Args:
        most_tokens: what an endpoint may spend in this call of the command; None for no limit.

    Raises:
        PolicyError: its policy, its reference or the reward model cannot be loaded.
    """
    if spec.kind == "endpoint":
        return open_endpoint(str(spec.path), most_tokens)
    if spec.kind == "model":
        return RewardModel(str(spec.path), device)
    if spec.policy is None:
        return Rule(spec.name)
    return ImplicitReward(open_lens(spec.policy, device=device), spec.name.startswith("reward-per-token:"))


def waiting_pairs(plan: Plan, policy: str, known: Mapping[str, Row]) -> list[tuple[str, Row, int]]:
    """Key, prompt and place of the held-out pairs that are not `known` under a tuned policy."""
    content, reference, beta = plan.tuned[policy]
    return [
        (key, prompt, place)
        for prompt in plan.prompts
        for place in range(len(prompt["pairs"]))
        if (key := pair_key(prompt["key"], place, content, reference, beta)) not in known
    ]


def held_out_rows(
    plan: Plan, policy: str, waiting: Sequence[tuple[str, Row, int]], at_once: int
) -> Iterator[list[Row]]:
    """The waiting pairs under a tuned policy, `at_once` at a time.

    Raises:
        PolicyError: the policy or its reference cannot be loaded.
    """
    content, reference, beta = plan.tuned[policy]
    lens = open_lens(policy, device=plan.config.device)
    for start in range(0, len(waiting), at_once):
        batch = [
            (key, prompt, place, prompt["pairs"][place]) for key, prompt, place in waiting[start : start + at_once]
        ]
        scores, _ = score_pairs(lens, [_pair(prompt, pair["chosen"], pair["rejected"]) for _, prompt, _, pair in batch])
        found = {score.index: score for score in scores}
        yield [
            {
                "kind": "pair", "key": key, "prompt": prompt["key"], "prompt_hash": prompt["hash"], "place": place,
                "policy": policy, "policy_hash": content, "reference": reference, "beta": beta,
                "rules": _rules(pair, plan.data["shortcut"]),
            } | _measured(found.get(index))
            for index, (key, prompt, place, pair) in enumerate(batch)
        ]  # fmt: skip


def _measured(score: PairScore | None) -> Row:
    if score is None:
        return {"error": "does not fit into the policy's context"}
    return {
        "chosen_reward": score.chosen_reward, "rejected_reward": score.rejected_reward, "margin": score.margin,
        "loss": math.log1p(math.exp(-score.margin)) if score.margin > -30 else -score.margin, "right": score.right,
        "chosen_logp": score.chosen_logp, "rejected_logp": score.rejected_logp,
        "chosen_tokens": score.chosen_tokens, "rejected_tokens": score.rejected_tokens,
    }  # fmt: skip


def _rules(pair: Mapping[str, str], shortcut: Row | None) -> dict[str, float]:
    """How each rule that reads no meaning ranks a pair: 1 right, 0 wrong, a half for a tie."""
    import pyarrow as pa

    made = {}
    for name, count in (("longer", len), ("emoji", emoji_count)):
        made[name] = _right(count(pair["chosen"]) - count(pair["rejected"]))
    if shortcut is not None:
        column = NAMES.index(shortcut["feature"])
        chosen, rejected = features(pa.array([pair["chosen"], pair["rejected"]], pa.string()))[:, column].tolist()
        made["shortcut"] = _right((chosen - rejected) * (1 if shortcut["more"] else -1))
    return made


def _right(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def _by_scores(first: float, second: float) -> Verdict:
    return Verdict("tie" if first == second else "a" if first > second else "b", (float(first), float(second)))


def _pair(prompt: Row, first: str, second: str) -> Row:
    return {"prompt": prompt["prompt"], "messages": prompt["messages"], "chosen": first, "rejected": second}
