"""Equal tensors of loaded policies are one: an adapter's base and that base, layers that training left alone.

It saves their memory (the lens and the engine each hold policies, and use them at the same time), and
rows of two policies that share weights read them once (`dpo.generation.fast_decoder`).
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch
from torch import Tensor, nn

# Of the process, not of an app: the point is to find what anybody has loaded.  A model that nobody holds is forgotten.
_lock = threading.Lock()
_known: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def share_weights(model: nn.Module) -> None:
    """Let the model's tensors be those of models loaded before, where they are equal.

    Its weights must not be changed in place from then on: gradients are switched off.
    """
    model.requires_grad_(False)
    with _lock:
        held: dict[tuple[Any, ...], list[Tensor]] = {}
        for other in _known:
            for tensor in other.parameters():
                held.setdefault(_sketch(tensor), []).append(tensor)
        for parameter in model.parameters():
            same = (tensor for tensor in held.get(_sketch(parameter), ()) if torch.equal(tensor, parameter))
            found = next(same, None)
            if found is not None:
                parameter.data = found.data
        _known.add(model)


def _sketch(tensor: Tensor) -> tuple[Any, ...]:
    """Equal for equal tensors, and rarely for others."""
    few = tensor.detach().reshape(-1)[:: max(1, tensor.numel() // 16)][:16]
    return tensor.shape, tensor.dtype, tensor.device, tuple(few.float().tolist())
