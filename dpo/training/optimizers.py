"""Muon for matrices with AdamW for the rest, as one optimizer.

Muon orthogonalises the momentum of matrices (Jordan et al. 2024; update scale of Liu et al. 2025,
arXiv 2502.16982, so that AdamW's rates carry over); embeddings and vectors stay with AdamW, as its
authors advise.  From random weights it needs far fewer steps than AdamW at these sizes; for
fine-tuning of trained weights AdamW is the safe choice.

`torch.optim.Muon` always computes in bfloat16, which is 80 times slower than float32 on a CPU that
lacks it: hence the few lines of our own, in bfloat16 only where the training is (on a CPU that has it,
four times as quick) or on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Rates relative to the matrices' rate.  A T5 whose input and output embeddings are tied starts with
# rows of unit variance instead of 0.02, so their rate is larger by about as much.
VECTOR_RATE = 0.5
TIED_EMBEDDING_RATE = 13.0
_MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic Newton-Schulz iteration (Jordan et al.)


class MuonWithAdamW(torch.optim.Optimizer):
    """One optimizer to schedulers and checkpoints; each group says which rule moves it.

    `low_precision`: orthogonalise in bfloat16 on a CPU too.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float, low_precision: bool = False) -> None:
        self.low_precision = low_precision
        matrices, embeddings, vectors = split_parameters(model)
        tied = bool(getattr(getattr(model, "config", None), "scale_decoder_outputs", False))
        embedding_rate = lr * (TIED_EMBEDDING_RATE if tied else VECTOR_RATE)
        groups = [
            {"params": matrices, "lr": lr, "weight_decay": weight_decay, "muon": True},
            {"params": embeddings, "lr": embedding_rate, "weight_decay": 0.0, "muon": False},
            {"params": vectors, "lr": lr * VECTOR_RATE, "weight_decay": 0.0, "muon": False},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if group["muon"]:
                    _muon(parameter, state, group["lr"], group["weight_decay"], self.low_precision)
                else:
                    _adam(parameter, state, group["lr"])


def orthogonalise(matrix: Tensor, steps: int = 5, low_precision: bool = False) -> Tensor:
    """The nearest semi-orthogonal matrix, about (singular values in 0.7 to 1.2)."""
    a, b, c = _COEFFICIENTS
    x = matrix if matrix.device.type == "cpu" and not low_precision else matrix.bfloat16()
    tall = x.size(0) > x.size(1)
    x = x.t() if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.t()
        x = a * x + torch.addmm(gram, gram, gram, beta=b, alpha=c) @ x
    return (x.t() if tall else x).to(matrix.dtype)


def split_parameters(
    model: nn.Module,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as (matrices of layers, embeddings, everything else)."""
    embedded = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices, embeddings, vectors = [], [], []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in embedded:
            embeddings.append(parameter)
        elif parameter.ndim == 2:
            matrices.append(parameter)
        else:
            vectors.append(parameter)
    return matrices, embeddings, vectors


def _muon(parameter: Tensor, state: dict[str, Any], lr: float, weight_decay: float, low_precision: bool) -> None:
    assert parameter.grad is not None
    if "momentum" not in state:
        state["momentum"] = torch.zeros_like(parameter)
    momentum: Tensor = state["momentum"].lerp_(parameter.grad, 1 - _MOMENTUM)
    update = orthogonalise(parameter.grad.lerp(momentum, _MOMENTUM), low_precision=low_precision)  # Nesterov
    scale = 0.2 * max(parameter.shape) ** 0.5  # an update of AdamW's usual size
    parameter.mul_(1 - lr * weight_decay).add_(update, alpha=-lr * scale)


def _adam(parameter: Tensor, state: dict[str, Any], lr: float, betas: tuple[float, float] = (0.9, 0.95)) -> None:
    assert parameter.grad is not None
    if "step" not in state:
        state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
    state["step"] += 1
    mean: Tensor = state["mean"].lerp_(parameter.grad, 1 - betas[0])
    square: Tensor = state["square"].mul_(betas[1]).addcmul_(parameter.grad, parameter.grad, value=1 - betas[1])
    correction = [1 - beta ** state["step"] for beta in betas]
    parameter.addcdiv_(mean, square.sqrt().div_(correction[1] ** 0.5).add_(1e-8), value=-lr / correction[0])
