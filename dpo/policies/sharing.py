"""One pass over a prompt for both of its answers, in decoder-only models.

A pair becomes one row `prompt + chosen + rejected`.  The attention mask keeps the two answers from
seeing each other and the position ids make both follow the prompt directly, so every state is what
it would be in two separate rows, while the prompt is computed once and the last tokens (whose
states predict nothing) not at all.  An encoder-decoder model gets the same from its encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

Ids = list[int]
_PADDING = -1
# Largest difference of a state, relative to the largest state, that rounding explains.
_TOLERANCE = 1e-3


def worth_packing(prompts: Sequence[Ids], completions: Sequence[Ids], width: int) -> bool:
    """Whether packing takes fewer operations than two rows, for a model of that width.

    A layer costs `24 d^2 + 4 d n` operations a token in rows of n tokens: packing saves the second
    prompt and pays with longer rows (n = P + 2C instead of P + C).
    """
    prompt = max(map(len, prompts))
    completion = max(map(len, completions))
    return 6 * width * prompt + prompt**2 > 2 * completion**2


def pack(prompts: Sequence[Ids], completions: Sequence[Ids], pad: int) -> dict[str, Tensor]:
    """Rows `prompt + completion + completion...`; completion `i` belongs to prompt `i % len(prompts)`.

    Returns `packed_ids`, `packed_positions`, `packed_segments` (0 for the prompt, 1, 2, ... for its
    completions, -1 for padding), each `(prompts, n)`, and `packed_index`
    `(completions, longest completion)`: where in the flattened rows the state lies that predicts a token.
    """
    count, longest = len(prompts), max(map(len, completions))
    ids: list[Ids] = []
    positions: list[Ids] = []
    segments: list[Ids] = []
    starts: list[int] = [0] * len(completions)
    for row, prompt in enumerate(prompts):
        packed, where, segment = list(prompt), list(range(len(prompt))), [0] * len(prompt)
        for number, mine in enumerate(range(row, len(completions), count), start=1):
            tokens = completions[mine][:-1]  # nothing is predicted from the last one
            starts[mine] = len(packed)
            packed += tokens
            where += range(len(prompt), len(prompt) + len(tokens))
            segment += [number] * len(tokens)
        ids.append(packed)
        positions.append(where)
        segments.append(segment)
    length = max(map(len, ids))
    index = torch.zeros(len(completions), longest, dtype=torch.long)
    for i, completion in enumerate(completions):
        owner = i % count
        places = torch.arange(len(completion)) + (starts[i] - 1)
        places[0] = len(prompts[owner]) - 1
        index[i, : len(completion)] = owner * length + places
    return {
        "packed_ids": _padded(ids, length, pad),
        "packed_positions": _padded(positions, length, 0),
        "packed_segments": _padded(segments, length, _PADDING),
        "packed_index": index,
    }


def packed_states(model: PreTrainedModel, batch: dict[str, Any]) -> Tensor:
    """`(completions, longest completion, d)`: the states that predict each completion's tokens."""
    backbone: Any = model.base_model
    states = backbone(
        input_ids=batch["packed_ids"],
        position_ids=batch["packed_positions"],
        attention_mask=_attention_mask(batch["packed_segments"], model),
        use_cache=False,
    ).last_hidden_state
    index: Tensor = batch["packed_index"]
    picked: Tensor = states.flatten(0, 1).index_select(0, index.flatten())
    return picked.view(*index.shape, -1)


def may_share(config: PretrainedConfig) -> bool:
    """Whether the architecture attends fully and causally, by positions that may repeat."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and set(kinds) != {"full_attention"}:
        return False
    window = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    # `window_size`: GPT-Neo's local layers.  `alibi`: positions come from the mask (BLOOM, MPT).
    return not (window or getattr(config, "window_size", None) or getattr(config, "alibi", False))


@torch.no_grad()
def shares_exactly(model: PreTrainedModel) -> bool:
    """Whether packed rows give this very model the states of separate rows (tried on a few tokens).

    Architectures are many, and one that ignores a 4-D mask or position ids would train on wrong
    log-probabilities without a word; so it is measured.
    """
    size = model.get_input_embeddings().weight.size(0)
    tokens = [(7 * i + 3) % size for i in range(12)]
    prompts, completions = [tokens[:5], tokens[2:5]], [tokens[5:9], tokens[4:10], tokens[6:12], tokens[1:4]]
    device = model.get_input_embeddings().weight.device
    packed = {name: value.to(device) for name, value in pack(prompts, completions, 0).items()}
    training = model.training
    model.eval()
    try:
        together = packed_states(model, packed)
        for i, completion in enumerate(completions):
            row = torch.tensor([prompts[i % 2] + completion], device=device)
            states = model.base_model(input_ids=row, use_cache=False).last_hidden_state
            alone = states[0, len(prompts[i % 2]) - 1 : -1]
            if (together[i, : len(completion)] - alone).abs().max() > _TOLERANCE * alone.abs().max():
                return False
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False  # it takes no such mask or positions
    finally:
        model.train(training)
    return True


def _attention_mask(segments: Tensor, model: PreTrainedModel) -> Tensor:
    """`(prompts, 1, n, n)`: each token sees the prompt and its own completion up to itself."""
    order = torch.arange(segments.size(1), device=segments.device)
    earlier = order[None, :] <= order[:, None]
    keys, queries = segments[:, None, :], segments[:, :, None]
    # Padding sees itself: a row of nothing would be NaN.
    allowed = (earlier & ((keys == 0) | (keys == queries)))[:, None]
    if model.config._attn_implementation == "sdpa":
        return allowed
    dtype = model.get_input_embeddings().weight.dtype
    return torch.zeros(allowed.shape, dtype=dtype, device=segments.device).masked_fill(~allowed, torch.finfo(dtype).min)


def _padded(rows: list[Ids], length: int, value: int) -> Tensor:
    return torch.tensor([row + [value] * (length - len(row)) for row in rows], dtype=torch.long)
