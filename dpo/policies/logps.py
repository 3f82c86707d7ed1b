"""Log-probabilities of chosen tokens from hidden states, without ever building all the logits.

For each row `log p(target) = (h . w_target) - logsumexp(h W^T)`.  Rows are taken in blocks whose
logits stay in a CPU's cache; the backward pass uses the closed form
`d log p / d z = onehot(target) - softmax(z)` kept from the forward pass (or computed again where
keeping it would take too much memory).  The result is exact: nothing is approximated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_CPU_ROWS = 128  # a block's logits stay in the L3 cache for vocabularies of 4k to 50k
_GPU_ROWS = 2048
_KEEP_BYTES = 1 << 30  # above this, softmaxes are computed again in the backward pass


@dataclass(frozen=True)
class TokenLogps:
    """Per-row results, each of shape `(rows,)`.

    Only `log_probs` carries a gradient.  `entropy` is in nats; `mean_logits` is the mean of the
    logits over the vocabulary; `is_top1` says whether the target is the most likely token;
    `log_sum_sq_probs` is `log(sum_v p_v^2)` (WPO's alignment term).
    """

    log_probs: Tensor
    entropy: Tensor | None = None
    mean_logits: Tensor | None = None
    is_top1: Tensor | None = None
    log_sum_sq_probs: Tensor | None = None


def token_logps(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None, details: bool = False
) -> TokenLogps:
    """Log-probability of `targets` under `softmax(hidden @ weight.T + bias)`.

    Args:
        hidden: `(rows, d)`, the states that predict `targets`.
        weight: `(vocabulary, d)`, the output embeddings.
        targets: `(rows,)`, token ids.
        bias: `(vocabulary,)`, added to the logits; treated as a constant (BART's buffer).
        details: also compute what is logged beside the loss.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    elif hidden.dtype != weight.dtype:
        hidden = hidden.to(weight.dtype)
    log_probs, entropy, top1, sum_sq = _Logps.apply(hidden, weight, targets, bias, details)
    if not details:
        return TokenLogps(log_probs)
    with torch.no_grad():
        mean_logits = hidden.float() @ weight.float().mean(0)
        if bias is not None:
            mean_logits = mean_logits + bias.float().mean()
    return TokenLogps(log_probs, entropy, mean_logits, top1, sum_sq)


def _softmax_block(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, target log-probabilities and `is_top1` of one block, in float32 or better."""
    logits = torch.mm(hidden, weight.t())
    logits = logits.to(_precision(logits))
    if bias is not None:
        logits += bias.reshape(-1)
    chosen = logits.gather(1, targets[:, None])
    top = logits.amax(1, keepdim=True)
    probabilities = logits.sub_(top).exp_()
    total = probabilities.sum(1, keepdim=True)
    log_probs = chosen - top - total.log()
    return probabilities.div_(total), log_probs[:, 0], (chosen >= top)[:, 0]


class _Logps(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, details: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        rows, vocabulary = hidden.size(0), weight.size(0)
        with torch.autocast(hidden.device.type, enabled=False):
            for_weight, for_hidden = ctx.needs_input_grad[1], ctx.needs_input_grad[0]
            keep = for_weight and rows * vocabulary * hidden.element_size() <= _KEEP_BYTES
            kept = hidden.new_empty((rows, vocabulary)) if keep else None
            # Where the head is frozen only the product with the weights is needed, not the softmax.
            slope = torch.empty_like(hidden) if for_hidden and not for_weight else None
            log_probs = hidden.new_empty(rows, dtype=_precision(hidden))
            entropy = torch.empty_like(log_probs) if details else None
            sum_sq = torch.empty_like(log_probs) if details else None
            top1 = torch.empty(rows, dtype=torch.bool, device=hidden.device) if details else None
            for start, end in _blocks(rows, hidden.device.type):
                block = slice(start, end)
                p, log_probs[block], is_top = _softmax_block(hidden[block], weight, targets[block], bias)
                if entropy is not None and sum_sq is not None and top1 is not None:
                    # sum p log p, with p log p = 0 where p underflows to 0
                    entropy[block] = torch.special.entr(p).sum(1)
                    sum_sq[block] = p.square().sum(1).log()
                    top1[block] = is_top
                if kept is None and slope is None:
                    continue
                p[torch.arange(end - start, device=p.device), targets[block]] -= 1.0
                if kept is not None:
                    kept[block] = p
                if slope is not None:
                    slope[block] = p.to(weight.dtype) @ weight
        ctx.save_for_backward(hidden, weight, targets, bias, kept, slope)
        ctx.mark_non_differentiable(*(x for x in (entropy, top1, sum_sq) if x is not None))
        return log_probs, entropy, top1, sum_sq

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, targets, bias, kept, slope = ctx.saved_tensors
        scale = -grad.to(hidden.dtype)[:, None]
        if slope is not None:
            return slope * scale, None, None, None, None
        if not ctx.needs_input_grad[1]:
            return None, None, None, None, None
        if kept is not None:
            scaled = hidden * scale
            grad_hidden = (kept @ weight).mul_(scale) if ctx.needs_input_grad[0] else None
            return grad_hidden, kept.t() @ scaled, None, None, None
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight)
        for start, end in _blocks(hidden.size(0), hidden.device.type):
            block = slice(start, end)
            p = _softmax_block(hidden[block], weight, targets[block], bias)[0]
            p[torch.arange(end - start, device=p.device), targets[block]] -= 1.0
            p = p.to(weight.dtype)
            grad_hidden[block] = (p @ weight) * scale[block]
            grad_weight.addmm_(p.t(), hidden[block] * scale[block])
        return grad_hidden, grad_weight, None, None, None


def _precision(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _blocks(rows: int, device: str) -> list[tuple[int, int]]:
    size = _CPU_ROWS if device == "cpu" else _GPU_ROWS
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]
