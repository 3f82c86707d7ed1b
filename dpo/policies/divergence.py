"""How far a policy's own answers are from its reference: KL(policy || reference) in nats per answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from dpo.policies.caches import cached, empty_cache
from dpo.policies.families import Ids, output_head
from dpo.policies.loading import Policy

ANSWER_TOKENS = 64
"""Tokens of an answer over which its KL is summed."""
_ROWS = 64  # whose logits are in memory at once


@torch.no_grad()
def sampled_answers(policy: Policy, prompts: Sequence[Ids], tokens: int, seed: int | None) -> list[Ids]:
    """An answer to each prompt, drawn from the policy's own distribution (temperature 1, nothing cut).

    Without a seed it is the greedy one, of the likeliest token each time.  The caller's random state is left as it
    was.  An answer that does not end within `tokens` is cut.
    """
    pad = policy.pad_token_id
    longest = max(map(len, prompts))
    left, encodes = policy.family.facts.padding_side == "left", policy.family.has_encoder
    rows, masks = [], []
    for ids in prompts:
        padding, ones = [pad] * (longest - len(ids)), [1] * len(ids)
        rows.append(padding + ids if left else ids + padding)
        masks.append([0] * len(padding) + ones if left else ones + [0] * len(padding))
    device = policy.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        drawing: dict[str, Any] = {"do_sample": False}
        if seed is not None:
            torch.manual_seed(seed)
            drawing = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        out = policy.network.generate(
            input_ids=torch.tensor(rows, device=device), attention_mask=torch.tensor(masks, device=device),
            **drawing, max_new_tokens=tokens, num_beams=1,
            pad_token_id=pad, eos_token_id=policy.eos_token_id, use_cache=True,
            **cached(empty_cache(encodes)),
        )  # fmt: skip
    end = policy.eos_token_id
    answers = []
    for row in out[:, 1 if encodes else longest :].tolist():
        answers.append(row[: row.index(end) + 1] if end in row else row)
    return answers


def divergence(
    policy: Policy, prompts: Sequence[Ids], answers: Sequence[Ids], reference: AbstractContextManager[Policy]
) -> Tensor:
    """`(answers,)`: for each answer the sum over its positions of KL(policy || reference), in nats (`estimates`)."""
    return estimates(policy, prompts, answers, reference)[:, 0]


@torch.no_grad()
def estimates(
    policy: Policy, prompts: Sequence[Ids], answers: Sequence[Ids], reference: AbstractContextManager[Policy]
) -> Tensor:
    """`(answers, 3)`: three estimates of KL(policy || reference) in nats, each summed over an answer's positions.

    The first sums over the vocabulary at each position: with answers drawn from the policy its mean is an unbiased
    estimate of the sequence-level KL, of lower variance than the log-ratio of the drawn tokens (Amini, Vieira and
    Cotterell 2025, arXiv 2504.10637).  The others look at the drawn tokens alone, with `r = reference / policy`: `k1 =
    -log r`, and `k3 = r - 1 - log r`, which is never negative (Schulman 2020, "Approximating KL Divergence").

    Args:
        reference: entered to get the reference, which may be the same model with its adapter off.
    """
    batch = policy.family.collate(list(prompts), list(answers), policy.pad_token_id, policy.decoder_start)
    batch = {name: value.to(policy.device) for name, value in batch.items()}
    mask = batch["completion_mask"][:, 1:].bool()
    drawn = batch["input_ids"][:, 1:][mask]
    own, own_head = policy.family.completion_states(policy.network, batch)[mask], output_head(policy.network)
    with reference as other:
        theirs = other.family.completion_states(other.network, batch)[mask]
        head = output_head(other.network)
        values = own.new_zeros((own.size(0), 3), dtype=torch.float32)
        for start in range(0, own.size(0), _ROWS):
            block = slice(start, start + _ROWS)
            log_p, log_q = log_probs(own[block], *own_head), log_probs(theirs[block], *head)
            values[block, 0] = (log_p.exp() * (log_p - log_q)).sum(1)
            log_r = (log_q - log_p).gather(1, drawn[block, None])[:, 0]
            values[block, 1], values[block, 2] = -log_r, log_r.expm1() - log_r
    spread = torch.zeros((*mask.shape, 3), device=values.device)
    return spread.masked_scatter(mask[..., None], values).sum(1)


def log_probs(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`(rows, vocabulary)`: log-probabilities at states `(rows, d)`, by an output layer (`output_head`)."""
    logits = (states.to(weight.dtype) @ weight.t()).float()
    return (logits if bias is None else logits + bias.reshape(-1).float()).log_softmax(-1)
