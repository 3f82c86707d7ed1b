"""Log-probabilities of chosen tokens from hidden states, without ever building all the logits.

For each row `log p(target) = (h . w_target) - logsumexp(h W^T)`.  Rows are taken in blocks whose
logits stay in a CPU's cache; the backward pass uses the closed form
`d log p / d z = onehot(target) - softmax(z)`, whose parts are kept from the forward pass (or computed
again where keeping them would take too much memory).  The result is exact: nothing is approximated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_CPU_ROWS = 512  # measured from 32 to 2048: fewer leave the matrix product short, more leave the cache
_GPU_ROWS = 1024
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
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    details: bool = False,
    alignment: bool = False,
) -> TokenLogps:
    """Log-probability of `targets` under `softmax(hidden @ weight.T + bias)`.

    Args:
        hidden: `(rows, d)`, the states that predict `targets`.
        weight: `(vocabulary, d)`, the output embeddings.
        targets: `(rows,)`, token ids.
        bias: `(vocabulary,)`, added to the logits; treated as a constant (BART's buffer).
        details: also compute what is logged beside the loss.
        alignment: also `log_sum_sq_probs`, which only WPO's weights need.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    elif hidden.dtype != weight.dtype:
        hidden = hidden.to(weight.dtype)
    log_probs, entropy, top1, sum_sq = _Logps.apply(hidden, weight, targets, bias, details, alignment)
    if not details:
        return TokenLogps(log_probs, log_sum_sq_probs=sum_sq)
    with torch.no_grad():
        mean_logits = hidden.float() @ weight.float().mean(0)
        if bias is not None:
            mean_logits = mean_logits + bias.float().mean()
    return TokenLogps(log_probs, entropy, mean_logits, top1, sum_sq)


def _exponentials(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, logits: Tensor, out: Tensor
) -> tuple[Tensor, Tensor]:
    """`out = exp(z - max z)` of one block; returns the row maxima and the row sums `(rows, 1)`.

    `logits` is left holding `z - max z`.  Both are given so that no memory is asked for in the loop.
    """
    if logits.dtype == hidden.dtype:
        torch.mm(hidden, weight.t(), out=logits)
    else:
        logits.copy_(torch.mm(hidden, weight.t()))
    if bias is not None:
        logits += bias.reshape(-1)
    top = logits.amax(1, keepdim=True)
    logits.sub_(top)
    torch.exp(logits, out=out)
    return top, out.sum(1, keepdim=True)


def _dots(a: Tensor, b: Tensor) -> Tensor:
    """Row by row `sum(a * b)`, in one pass over memory."""
    return torch.bmm(a[:, None, :], b[:, :, None]).flatten()


class _Logps(torch.autograd.Function):
    """With e = exp(z - max z) and s = sum(e): log p = z_t - max z - log s, entropy = log s - sum(e (z - max z)) / s.

    d log p / d h = w_t - e W / s is all that the states' gradient needs, and is made in the forward pass
    while e is in the cache; the head's gradient needs e itself, which is kept, unnormalised.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, details: bool, alignment: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        rows, vocabulary = hidden.size(0), weight.size(0)
        with torch.autocast(hidden.device.type, enabled=False):
            for_hidden, for_weight = ctx.needs_input_grad[:2]
            keep = for_weight and rows * vocabulary * hidden.element_size() <= _KEEP_BYTES
            saved = hidden.new_empty((rows, vocabulary)) if keep else None
            slope = torch.empty_like(hidden) if for_hidden else None
            log_probs = hidden.new_empty(rows, dtype=_precision(hidden))
            total = torch.empty_like(log_probs)
            entropy = torch.empty_like(log_probs) if details else None
            sum_sq = torch.empty_like(log_probs) if alignment else None
            top1 = torch.empty(rows, dtype=torch.bool, device=hidden.device) if details else None
            blocks = _blocks(rows, hidden.device.type)
            size = max((end - start for start, end in blocks), default=0)
            logits_buffer, e_buffer = log_probs.new_empty((2, size, vocabulary))
            for start, end in blocks:
                block = slice(start, end)
                logits = logits_buffer[: end - start]
                direct = saved is not None and saved.dtype == logits.dtype
                e = saved[block] if saved is not None and direct else e_buffer[: end - start]
                _, sums = _exponentials(hidden[block], weight, bias, logits, e)
                chosen = logits.gather(1, targets[block, None])
                total[block] = sums[:, 0]
                log_probs[block] = (chosen - sums.log())[:, 0]
                if entropy is not None and top1 is not None:
                    entropy[block] = total[block].log() - _dots(e, logits) / total[block]
                    top1[block] = chosen[:, 0] >= 0  # the maximum was subtracted
                if sum_sq is not None:
                    sum_sq[block] = _dots(e, e).log() - 2 * total[block].log()
                if saved is not None and not direct:
                    saved[block] = e
                if slope is not None:
                    expected = (e.to(weight.dtype) @ weight).to(sums.dtype) / sums
                    slope[block] = (expected - weight[targets[block]]).to(slope.dtype)
        ctx.save_for_backward(hidden, weight, targets, bias, saved, slope, total)
        ctx.mark_non_differentiable(*(x for x in (entropy, top1, sum_sq) if x is not None))
        return log_probs, entropy, top1, sum_sq

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, targets, bias, saved, slope, total = ctx.saved_tensors
        for_hidden, for_weight = ctx.needs_input_grad[:2]
        scale = -grad.to(hidden.dtype)[:, None]
        grad_hidden = slope * scale if for_hidden else None
        if not for_weight:
            return grad_hidden, None, None, None, None, None
        scaled = hidden * scale
        shares = (scaled / total[:, None]).to(hidden.dtype)
        if saved is not None:
            grad_weight = saved.t() @ shares
        else:
            grad_weight = torch.zeros_like(weight)
            blocks = _blocks(hidden.size(0), hidden.device.type)
            size = max((end - start for start, end in blocks), default=0)
            logits_buffer, e_buffer = total.new_empty((2, size, weight.size(0)))
            for start, end in blocks:
                block = slice(start, end)
                e = e_buffer[: end - start]
                _exponentials(hidden[block], weight, bias, logits_buffer[: end - start], e)
                grad_weight.addmm_(e.to(weight.dtype).t(), shares[block])
        grad_weight.index_add_(0, targets, scaled, alpha=-1)
        return grad_hidden, grad_weight, None, None, None, None


def _precision(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _blocks(rows: int, device: str) -> list[tuple[int, int]]:
    size = _CPU_ROWS if device == "cpu" else _GPU_ROWS
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]
