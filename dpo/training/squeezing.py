"""Where the probability goes: what the policy thinks of fixed answers to a few held-out pairs.

DPO pushes a rejected answer down, and of an answer that is unlikely already the mass goes to whatever is likeliest just
then, away from everything else, the chosen answer included: the squeezing effect (Ren and Sutherland 2024, arXiv
2407.10490).  It shows as a growing mass of the likeliest token, and as texts falling that no loss speaks of.

Whether a step on a pair lifts its chosen and lowers its rejected answer follows, to first order, from the gradients s_w
and s_l of both log-probabilities: with the cosine rho between them and equal pushes, as DPO's are, both happen where
`rho |s_l| / |s_w| <= 1 <= |s_l| / (rho |s_w|)`, the disentanglement band (arXiv 2604.18239).  Measured here on the
output layer alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dpo.policies.divergence import ANSWER_TOKENS, log_probs, sampled_answers
from dpo.policies.families import Ids, output_head, prompt_of
from dpo.policies.loading import Policy
from dpo.training.precision import without_autocast


class Squeezing:
    """Measures of a policy on fixed texts: chosen, rejected, greedy (of the reference), and chosen ones shuffled.

    Args:
        policy: whose measures are asked for; it is read as it is at each call.
        pairs: the held-out pairs.
        reference: what the policy is before the first update.
        longest: tokens of an answer (EOS included) beyond which training cuts it.
        seed: of the shuffling.
    """

    def __init__(
        self, policy: Policy, pairs: Sequence[Mapping[str, Any]], reference: Policy, longest: int, seed: int
    ) -> None:
        self.policy = policy
        tokenizer, family = policy.tokenizer, policy.family
        self.prompts = family.encode_prompts(tokenizer, [prompt_of(tokenizer, pair) for pair in pairs])
        chosen, rejected = (
            [[*ids[: longest - 1], ids[-1]] for ids in family.encode_completions(tokenizer, texts)]
            for texts in ([str(pair[side]) for pair in pairs] for side in ("chosen", "rejected"))
        )
        room = min(ANSWER_TOKENS, *(policy.max_new_tokens(ids) for ids in self.prompts))
        training = reference.model.training
        reference.model.eval()
        try:
            with without_autocast(reference.model):
                greedy = sampled_answers(reference, self.prompts, room, None)
        finally:
            reference.model.train(training)
        draw = random.Random(seed)
        shuffled = [[*draw.sample(ids[:-1], len(ids) - 1), ids[-1]] for ids in chosen]
        self.answers = {"chosen": chosen, "rejected": rejected, "greedy": greedy, "shuffled": shuffled}

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """`squeeze/chosen`, `rejected`, `greedy`, `shuffled` in nats a token; the mean `squeeze/argmax_mass` and
        `squeeze/entropy` (nats) at the positions of both answers; the share of pairs `squeeze/in_band`."""
        head = output_head(self.policy.network)
        sums = {name: [0.0, 0] for name in self.answers}
        mass, entropy, inside = 0.0, 0.0, 0
        for prompt, *answers in zip(self.prompts, *self.answers.values(), strict=True):
            looked = []
            for name, states, answer in zip(sums, self._states(prompt, answers), answers, strict=True):
                logps = log_probs(states, *head)
                drawn = torch.tensor(answer, device=logps.device)[:, None]
                sums[name][0] += float(logps.gather(1, drawn).double().sum())
                sums[name][1] += len(answer)
                if name in ("chosen", "rejected"):
                    mass += float(logps.max(1).values.exp().sum())
                    entropy -= float((logps.exp() * logps).sum())
                    looked.append((_residuals(logps, drawn), states.float()))
            inside += in_band(*looked)
        positions = sums["chosen"][1] + sums["rejected"][1]
        means = {f"squeeze/{name}": total / tokens for name, (total, tokens) in sums.items()}
        return means | {
            "squeeze/argmax_mass": mass / positions, "squeeze/entropy": entropy / positions,
            "squeeze/in_band": inside / len(self.prompts),
        }  # fmt: skip

    def _states(self, prompt: Ids, answers: Sequence[Ids]) -> list[Tensor]:
        """`(tokens, d)` of each answer to a prompt."""
        policy = self.policy
        batch = policy.family.unshared.collate([prompt], answers, policy.pad_token_id, policy.decoder_start)
        batch = {name: value.to(policy.device) for name, value in batch.items()}
        mask = batch["completion_mask"][:, 1:].bool()
        states = policy.family.unshared.completion_states(policy.network, batch)
        return [row[kept] for row, kept in zip(states, mask, strict=True)]


def _residuals(logps: Tensor, drawn: Tensor) -> Tensor:
    """`(T, V)`: the gradient of the drawn tokens' log-probability with respect to the logits."""
    return -logps.exp().scatter_add(1, drawn, torch.full_like(logps[:, :1], -1.0))


def in_band(chosen: tuple[Tensor, Tensor], rejected: tuple[Tensor, Tensor]) -> bool:
    """Whether equal pushes lift the chosen and lower the rejected answer, to first order.

    Args:
        chosen, rejected: residuals `(T, V)` and states `(T, d)`; the gradient of the output layer is their product over
            T, `(V, d)`, of which only inner products are needed.
    """

    def inner(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
        return float(((a[0] @ b[0].T) * (a[1] @ b[1].T)).double().sum())

    # 1 >= rho |s_l| / |s_w| is <s_w, s_l> <= |s_w|^2; the other side likewise.
    both = inner(chosen, rejected)
    return both <= min(inner(chosen, chosen), inner(rejected, rejected)) and math.isfinite(both)
