"""How many operations a step takes (no torch here): a product of an `(m, k)` and a `(k, n)` matrix is `2 m k n`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpo.training.plan.memory import Strategy, rows

if TYPE_CHECKING:
    from dpo.training.plan.sizes import Sizes


def forward(sizes: Sizes, prompt: int, answer: int) -> float:
    """Of one pair's forward pass.

    `2 N` a token (Kaplan et al. 2020, section 2.1) over the weights that are multiplied by, with attention's
    `4 s a` a token and layer, over whole rows of s tokens.  The output layer scores answers alone.  Of an
    encoder-decoder the encoder reads the prompt once, as do the keys and values of the decoder's cross-attention.
    """
    count, length = rows(sizes, prompt, answer)
    decoder = sizes.decoder
    tokens = count * length
    total = 4.0 * tokens * length * decoder.attention * decoder.layers
    if sizes.encoder is None:
        total += 2.0 * decoder.weights * tokens
    else:
        encoder = sizes.encoder
        once = 2 * decoder.width * decoder.attention * decoder.layers  # keys and values of the prompt
        total += 2.0 * (decoder.weights - once) * tokens + 2.0 * (encoder.weights + once) * prompt
        total += 4.0 * prompt * prompt * encoder.attention * encoder.layers
        total += 4.0 * tokens * prompt * decoder.attention * decoder.layers
    return total + _head(sizes, answer)


def step(sizes: Sizes, prompt: int, answer: int, strategy: Strategy, recompute: bool = False) -> float:
    """Of one pair's forward and backward pass, the reference's left out.

    The backward pass takes as much again for the gradients of the activations, and as much for those of the weights
    (together the `6 N D` of Kaplan et al.), which frozen weights do not need.  The scoring makes the gradient of
    the states while it has the softmaxes, in place of later: the sum is the same.  Recomputation adds one
    forward pass of the layers.
    """
    once = forward(sizes, prompt, answer)
    frozen = strategy in ("lora", "qlora")
    return once * (2 if frozen else 3) + (once - _head(sizes, answer) if recompute else 0.0)


def _head(sizes: Sizes, answer: int) -> float:
    return 2.0 * sizes.width * sizes.vocabulary * 2 * answer
