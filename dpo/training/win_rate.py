"""A small evaluation while training: how often a judge prefers the policy's answers to those of its own start.

At every held-out evaluation the policy answers the same held-out prompts with the same noise as its start did; each
answer is drawn as `dpo eval` draws it.  Logged are `eval_win_rate` (a tie counts a half), the ends of its interval,
`eval_win_rate_low` and `eval_win_rate_high`, and the prompts it is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list

from dpo.errors import ConfigError
from dpo.evaluation.comparison.judges import VOTED, Duel, Judge, JudgeSpec, Verdict, parse_judge
from dpo.evaluation.comparison.judging import open_judge
from dpo.evaluation.comparison.rows import Row, key_of
from dpo.evaluation.statistics.intervals import win_rate
from dpo.generation.settings import PLAIN
from dpo.policies.families import prompt_of
from dpo.policies.loading import Policy
from dpo.processes import process_index
from dpo.runs import RunRecord
from dpo.training.checkpoints import say
from dpo.training.config import TrainConfig
from dpo.training.data import Limits
from dpo.training.probes import MOST_ANSWER_TOKENS, answers_of, fitting

WIN_RATE = "eval_win_rate"
_WORTH = {"a": 1.0, "tie": 0.5, "bad": 0.5, "b": 0.0}


def judge_of(config: TrainConfig) -> JudgeSpec | None:
    """The judge that the settings name; None where no win rate is wanted.

    Raises:
        ConfigError: no judge is called so, or it cannot be asked about new answers.
        PolicyError: its policy is not there, or has no reference.
    """
    if config.eval_win_rate == 0:
        return None
    spec = parse_judge(str(config.eval_judge), "")
    if spec.kind in VOTED:
        raise ConfigError(f"--eval-judge {spec.name} has judged other answers: use reward:POLICY or endpoint:URL#MODEL")
    return spec


def wins_over_start(
    policy: Policy,
    start: Policy,
    pairs: Iterable[dict[str, Any]],
    limits: Limits,
    judge: JudgeSpec | None,
    config: TrainConfig,
    record: RunRecord,
) -> WinsOverStart | None:
    """What measures the win rate on the first prompts of `pairs` that are short enough; None without a judge.

    Raises:
        ConfigError: none is.
        PolicyError: the judge cannot be loaded.
    """
    if judge is None:
        return None
    asked = fitting(policy, pairs, config.eval_win_rate, limits.prompt)
    if not asked:
        raise ConfigError("--eval-win-rate: no held-out prompt is short enough; raise --max-prompt-length")
    return WinsOverStart(policy, start, asked, judge, config, record)


class WinsOverStart:
    """Compares the policy as it is now with its start.

    Made before the first update, while `start` acts as the policy that is trained from.  Of several processes the one
    that writes the record asks the judge, and all get what it measured.

    Args:
        pairs: those whose prompts are asked, as training asks them.

    Raises:
        PolicyError: the judge cannot be loaded.
    """

    def __init__(
        self,
        policy: Policy,
        start: Policy,
        pairs: Sequence[dict[str, Any]],
        spec: JudgeSpec,
        config: TrainConfig,
        record: RunRecord,
    ) -> None:
        self.policy, self.spec, self.main = policy, spec, process_index() == 0
        self.prompts = [prompt_of(policy.tokenizer, pair) for pair in pairs]
        self.asked = [_row(pair) for pair in pairs]
        self.sampling = replace(PLAIN, max_new_tokens=MOST_ANSWER_TOKENS, seed=config.seed)
        self.failed = ""
        if self.main:
            self.judge: Judge = open_judge(spec, config.device)
            self.before = answers_of(start, self.prompts, self.sampling)
            record.update(win_rate={"judge": spec.name, "says": spec.says, "prompts": len(pairs)})

    def __call__(self) -> dict[str, float]:
        """The measures of this evaluation; none where the judge gave no verdict."""
        made = [self._measured() if self.main else {}]
        broadcast_object_list(made)
        return made[0]

    def _measured(self) -> dict[str, float]:
        after = answers_of(self.policy, self.prompts, self.sampling)
        worths: list[list[float]] = [[] for _ in after]
        verdicts: list[Verdict] = []
        for order in self.spec.orders:
            turned = order == "ba"
            sides = zip(self.asked, after, self.before, strict=True)
            found = self.judge.judge([Duel(row, *((old, new) if turned else (new, old))) for row, new, old in sides])
            for place, verdict in enumerate(found):
                if verdict.error is None and verdict.winner in _WORTH:
                    worth = _WORTH[verdict.winner]
                    worths[place].append(1.0 - worth if turned else worth)
            verdicts += found
        self._tell(verdicts)
        known = [float(np.mean(one)) for one in worths if one]
        if not known:
            return {}
        rate = win_rate(known)
        made = {WIN_RATE: rate.value, f"{WIN_RATE}_low": rate.low, f"{WIN_RATE}_high": rate.high}
        return {name: value for name, value in made.items() if value is not None} | {f"{WIN_RATE}_prompts": rate.n}

    def _tell(self, verdicts: Sequence[Verdict]) -> None:
        """Say once why verdicts are missing: the training goes on without them."""
        failed = [verdict.error for verdict in verdicts if verdict.error is not None]
        if failed and failed[0] != self.failed:
            self.failed = failed[0]
            say(f"the judge gave no verdict on {len(failed)} of {len(verdicts)}: {failed[0]}")


def _row(pair: dict[str, Any]) -> Row:
    prompt, messages = str(pair["prompt"]), pair.get("messages")
    return {"hash": key_of(prompt, messages), "prompt": prompt, "messages": messages}
