"""CHES: which pairs will push their own chosen answer down, before anything is trained.

The centred hidden embedding similarity of a pair is `<H+, H-> - |H+|^2`, where `H` sums the hidden states that predict
an answer's tokens: the prompt's last one is in, the answer's last one is not (Razin et al. 2024, arXiv 2410.08847).
It is length-normalised here, `<H+, H-> / (T+ T-) - |H+|^2 / T+^2`, as in their code for real data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dpo.arrays import Floats
from dpo.errors import PromptError
from dpo.policies.families import Ids, prompt_of
from dpo.policies.loading import Policy

_BATCH = 16


@torch.no_grad()
def ches(
    policy: Policy,
    pairs: Sequence[Mapping[str, Any]],
    longest: tuple[int, int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Floats:
    """`(pairs,)`: the length-normalised CHES of each pair, no number where the policy cannot read it.

    Pairs that are the same to the policy, token by token, are scored once.

    Args:
        longest: tokens of a prompt (its end is kept) and of an answer (its beginning is kept, and EOS), as in training.
        progress: called with (done, total) after each batch.
    """
    scores = np.full(len(pairs), np.nan)
    ready: dict[str, tuple[list[int], tuple[Ids, Ids, Ids]]] = {}  # by what the policy reads: places and tokens
    for place, pair in enumerate(pairs):
        try:
            prompt = policy.encode_prompt(prompt_of(policy.tokenizer, pair))[-longest[0] :]
        except PromptError:
            continue
        sides = policy.family.encode_completions(policy.tokenizer, [pair["chosen"], pair["rejected"]])
        chosen, rejected = ([*ids[: longest[1] - 1], ids[-1]] for ids in sides)
        if max(len(chosen), len(rejected)) <= policy.max_new_tokens(prompt):
            tokens = prompt, chosen, rejected
            ready.setdefault(str(tokens), ([], tokens))[0].append(place)
    rows = sorted(ready.values(), key=lambda row: len(row[1][0]) + max(len(row[1][1]), len(row[1][2])))
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        made = _of_batch(policy, *zip(*(tokens for _, tokens in batch), strict=True))
        for (places, _), score in zip(batch, made, strict=True):
            scores[places] = score
        progress(min(start + _BATCH, len(rows)), len(rows))
    return scores


def _of_batch(policy: Policy, prompts: Sequence[Ids], chosen: Sequence[Ids], rejected: Sequence[Ids]) -> Floats:
    family = policy.family.unshared
    batch = family.collate(list(prompts), [*chosen, *rejected], policy.pad_token_id, policy.decoder_start)
    batch = {name: value.to(policy.device) for name, value in batch.items()}
    mask = batch["completion_mask"][:, 1:]
    states = family.completion_states(policy.network, batch).float() * mask[..., None]
    means = states.sum(1) / mask.sum(1, keepdim=True)
    own, other = means.double().chunk(2)
    made: Floats = ((own * other).sum(1) - (own * own).sum(1)).cpu().numpy()
    return made
