"""Rewards of many preference pairs under a policy and its reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dpo.errors import DataError, PromptError
from dpo.evaluation.lens import Lens
from dpo.evaluation.tuning import data_of
from dpo.policies.families import Batch, Ids, prompt_of
from dpo.policies.loading import Policy
from dpo.policies.ranking import ranked_right
from dpo.policies.scoring import score_batch


@dataclass(frozen=True)
class PairScore:
    """One pair; `index` is its place among the pairs that were given.

    `messages` are the prompt's turns, where the pair has several.
    Rewards are `beta * (log pi - log pi_ref)` of the whole answer, as the trainer logs them;
    log-probabilities are in nats, token counts include EOS.
    """

    index: int
    prompt: str
    chosen: str
    rejected: str
    chosen_reward: float
    rejected_reward: float
    chosen_logp: float
    rejected_logp: float
    reference_chosen_logp: float
    reference_rejected_logp: float
    chosen_tokens: int
    rejected_tokens: int
    cut: bool
    beta: float
    messages: list[dict[str, str]] | None = None

    @property
    def margin(self) -> float:
        """Chosen minus rejected reward."""
        return self.chosen_reward - self.rejected_reward

    @property
    def right(self) -> float:
        """1 where the pair is ranked as people did, 0 where the other way round, 0.5 for a tie."""
        return ranked_right(self.margin, self.beta)

    @property
    def wrong(self) -> bool:
        """Whether the pair is ranked the wrong way round."""
        return self.right == 0

    @property
    def displaced(self) -> bool:
        """Whether both answers became less likely (Razin et al. 2024, likelihood displacement)."""
        return self.chosen_reward < 0 and self.rejected_reward < 0

    @property
    def margin_per_token(self) -> float:
        """Difference of the rewards per token: comparable between vocabularies."""
        return self.chosen_reward / self.chosen_tokens - self.rejected_reward / self.rejected_tokens

    def record(self) -> dict[str, Any]:
        """All of it as plain values."""
        derived = {name: getattr(self, name) for name in ("margin", "margin_per_token", "wrong", "displaced")}
        return asdict(self) | derived


@torch.no_grad()
def score_pairs(
    lens: Lens,
    pairs: Sequence[Mapping[str, Any]],
    *,
    longest: int | None = None,
    batch_size: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[list[PairScore], int]:
    """Score pairs with `prompt`, `chosen`, `rejected` and, of several turns, `messages`, as training reads them.

    Also returns how many were left out: they do not fit into the policy's context, or an answer has more
    than `longest` tokens (of a run's own pairs `lens.tuning.drop_over`: what its trainer left out too).
    `progress(done, total)` is called after each batch; once `cancelled()` holds, what is there is
    returned.
    """
    ready = _readable(lens, pairs, longest)
    made: list[PairScore] = []
    for start in range(0, len(ready), batch_size):
        if cancelled():
            break
        rows = ready[start : start + batch_size]
        answers = [row.chosen for row in rows] + [row.rejected for row in rows]
        batch, labels = lens.batch([row.question for row in rows], answers)
        ours = _sums(lens.policy, batch, labels)
        if lens.reference is not None:
            theirs = _sums(lens.reference, batch, labels)
        else:
            with lens.policy.reference():
                theirs = _sums(lens.policy, batch, labels)
        for place, row in enumerate(rows):
            sides = (ours[place], ours[len(rows) + place], theirs[place], theirs[len(rows) + place])
            made.append(_scored(row, pairs[row.place], sides, lens.tuning.beta))
        progress(len(made), len(ready))
    return sorted(made, key=lambda score: score.index), len(pairs) - len(ready)


class _Row(NamedTuple):
    """The tokens of the pair at a place; `cut` says that an answer was cut as its trainer cut it."""

    place: int
    question: Ids
    chosen: Ids
    rejected: Ids
    cut: bool


def _readable(lens: Lens, pairs: Sequence[Mapping[str, Any]], longest: int | None) -> list[_Row]:
    """The pairs that fit, those of like length together: less padding."""
    ready = []
    for place, pair in enumerate(pairs):
        (chosen, rejected), cuts = lens.answers([pair["chosen"], pair["rejected"]])
        if longest is not None and max(len(chosen), len(rejected)) > longest:
            continue
        try:
            question = lens.question(prompt_of(lens.policy.tokenizer, pair))
            lens.check(question, chosen)
            lens.check(question, rejected)
        except PromptError:
            continue
        ready.append(_Row(place, question, chosen, rejected, any(cuts)))
    return sorted(ready, key=lambda row: len(row.question) + max(len(row.chosen), len(row.rejected)))


def _scored(row: _Row, pair: Mapping[str, Any], sides: tuple[float, float, float, float], beta: float) -> PairScore:
    """`sides` are log-probabilities: chosen and rejected under the policy, then under the reference."""
    chosen, rejected, reference_chosen, reference_rejected = sides
    return PairScore(
        index=row.place,
        prompt=pair["prompt"],
        chosen=pair["chosen"],
        rejected=pair["rejected"],
        chosen_reward=beta * (chosen - reference_chosen),
        rejected_reward=beta * (rejected - reference_rejected),
        chosen_logp=chosen,
        rejected_logp=rejected,
        reference_chosen_logp=reference_chosen,
        reference_rejected_logp=reference_rejected,
        chosen_tokens=len(row.chosen),
        rejected_tokens=len(row.rejected),
        cut=row.cut,
        beta=beta,
        messages=pair.get("messages"),
    )


def run_pairs(name: str, most: int | None = None) -> tuple[list[dict[str, Any]], str]:
    """The held-out pairs of the run that made a policy (the first `most` of them), and a line about them.

    Raises:
        DataError: the run names no data, held nothing out, or the data are not there any more.
    """
    from dpo.preferences.load import load

    spec = data_of(name)
    if spec is None:
        raise DataError(f"{name} does not say what it was trained on: score the sample pairs instead")
    if spec.eval_fraction == 0:
        raise DataError(f"{name} held nothing out (--eval-fraction 0): score the sample pairs instead")
    try:
        held_out = load(spec).held_out
    except DataError as error:
        raise DataError(f"The run's pairs cannot be read ({error}). Score the sample pairs instead") from error
    count = len(held_out)
    message = f"{count:,} held-out pairs of {Path(spec.source).name}"
    return list(held_out.select(range(count if most is None else min(count, most)))), message


def sample_pairs() -> tuple[list[dict[str, Any]], str]:
    """The pairs that come with the project, and a line about them."""
    from dpo.preferences.load import load
    from dpo.preferences.spec import DataSpec

    pairs = list(load(DataSpec("sample", eval_fraction=0.0)).train)
    return pairs, f"{len(pairs):,} sample pairs; policies may have been trained on some of them"


def summary(scores: Sequence[PairScore]) -> dict[str, Any]:
    """Means over pairs, under the trainer's names, with n; a tie is half right."""
    n = len(scores)

    def mean(values: Sequence[float]) -> float | None:
        return math.fsum(values) / n if n else None

    return {
        "n": n,
        "rewards/chosen": mean([s.chosen_reward for s in scores]),
        "rewards/rejected": mean([s.rejected_reward for s in scores]),
        "rewards/margins": mean([s.margin for s in scores]),
        "rewards/accuracies": mean([s.right for s in scores]),
        "displaced": mean([float(s.displaced) for s in scores]),
        "reward_per_token/chosen": mean([s.chosen_reward / s.chosen_tokens for s in scores]),
        "reward_per_token/rejected": mean([s.rejected_reward / s.rejected_tokens for s in scores]),
    }


def _sums(side: Policy, batch: Batch, labels: Tensor) -> list[float]:
    scored = score_batch(side.network, side.family, batch, labels)
    assert scored.log_probs is not None
    sums: list[float] = scored.log_probs.double().sum(1).tolist()
    return sums
