"""The weights of GPT-2 and T5 by the part they play in a decoding step, adapters included, nothing large copied.

Models of another architecture, or changed in ways not known here, raise `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from dpo.policies.families import output_head

Parts = dict[str, Any]  # the weights of one model, by their role
_GELU_TANH = ("gelu_new", "gelu_pytorch_tanh")
# Smaller weights take less time than the calls for a low-rank product beside them; larger ones are
# worth reading once for all rows.
_MERGED_BELOW = 1_000_000
# Merged weights by the tensor they were made from, with which they go: of the process, as shared weights are.
_sums = WeakTensorKeyDictionary()


class Unsupported(Exception):
    """This model must be stepped by transformers."""


@dataclass(frozen=True)
class Affine:
    """`x @ weight + bias`, and a LoRA adapter's `(x @ down) @ up * scale` where there is one."""

    weight: Tensor
    bias: Tensor | None
    down: Tensor | None = None
    up: Tensor | None = None
    scale: float = 1.0


def affine(module: Any) -> Affine:
    """What a Linear or Conv1D computes now, its adapter included if it is on."""
    low: dict[str, Any] = {}
    if isinstance(module, LoraLayer):
        if not module.disable_adapters and not module.merged:
            names = [name for name in module.active_adapters if name in module.lora_A]
            if len(names) > 1 or any(name in module.lora_variant or module.lora_bias[name] for name in names):
                raise Unsupported
            for name in names:
                down, up = module.lora_A[name].weight.t(), module.lora_B[name].weight.t()
                low = {"down": down, "up": up, "scale": float(module.scaling[name])}
        elif module.merged and module.disable_adapters:
            raise Unsupported
        module = module.get_base_layer()
    kind = type(module).__name__
    if kind not in ("Linear", "Conv1D"):
        raise Unsupported
    weight = module.weight if kind == "Conv1D" else module.weight.t()
    if low and low["down"].dtype != weight.dtype:
        raise Unsupported
    if low and weight.numel() <= _MERGED_BELOW:
        return Affine(_merged(weight, **low), module.bias)
    return Affine(weight, module.bias, **low)


def _merged(weight: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """The sum of a weight and its adapter, kept until one of them changes.

    The adapter is compared by its values: a fused optimizer changes them without counting their version up.
    """
    # A view shares its base's version.
    now = (weight.data_ptr(), 0 if weight.is_inference() else weight._version, scale)
    owner = down if down._base is None else down._base
    known = _sums.get(owner)
    if (
        known is None
        or known[0] != now
        or weight.is_inference()
        or not (torch.equal(known[1], down) and torch.equal(known[2], up))
    ):
        known = _sums[owner] = (now, down.clone(), up.clone(), torch.addmm(weight, down, up, alpha=scale))
    return known[3]


def plain_weight(module: Any, kinds: Sequence[str]) -> Tensor:
    """The weight of a module that is exactly one of `kinds`."""
    if type(module).__name__ not in kinds:
        raise Unsupported
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def _head(network: Any) -> Affine:
    if hasattr(network.get_output_embeddings(), "token_adapter"):
        raise Unsupported
    weight, bias = output_head(network)
    return Affine(weight.t(), bias)


def read(network: Any) -> Parts:
    """The weights of a network as they act now.

    Raises:
        Unsupported: an architecture, or a change to it, that is not known here.
    """
    kind = type(network).__name__
    if kind == "GPT2LMHeadModel":
        return _gpt2_parts(network)
    if kind in ("T5ForConditionalGeneration", "MT5ForConditionalGeneration"):
        return _t5_parts(network)
    raise Unsupported


def _gpt2_parts(network: Any) -> Parts:
    config = network.config
    plain = not (config.scale_attn_by_inverse_layer_idx or config.reorder_and_upcast_attn or config.add_cross_attention)
    if not plain or not config.scale_attn_weights or config.activation_function not in _GELU_TANH:
        raise Unsupported
    body = network.transformer

    def norm(module: Any) -> list[Tensor]:
        return [plain_weight(module, ["LayerNorm"]), module.bias]

    return {
        "config": config,
        "tokens": plain_weight(body.wte, ["Embedding"]),
        "positions": plain_weight(body.wpe, ["Embedding"]),
        "layers": [
            {
                "norm1": norm(block.ln_1),
                "qkv": affine(block.attn.c_attn),
                "out": affine(block.attn.c_proj),
                "norm2": norm(block.ln_2),
                "up": affine(block.mlp.c_fc),
                "down": affine(block.mlp.c_proj),
            }
            for block in body.h
        ],
        "norm": norm(body.ln_f),
        "head": _head(network),
    }


def _t5_parts(network: Any) -> Parts:
    config = network.config
    if network.dtype != torch.float32:
        raise Unsupported  # T5 keeps parts of itself in float32 then
    body = network.get_decoder()

    def norm(module: Any) -> list[Tensor]:
        return [plain_weight(module, ["T5LayerNorm", "MT5LayerNorm"])]

    layers = []
    for block in body.block:
        own, cross, dense = block.layer
        forward = dense.DenseReluDense
        gate = {"up": affine(forward.wi_0), "gate": affine(forward.wi_1)} if config.is_gated_act else {}
        layers.append(
            {
                "norm1": norm(own.layer_norm),
                **{name: affine(getattr(own.SelfAttention, name)) for name in "qkvo"},
                "norm2": norm(cross.layer_norm),
                "cross_q": affine(cross.EncDecAttention.q),
                "cross_o": affine(cross.EncDecAttention.o),
                "norm3": norm(dense.layer_norm),
                **(gate or {"up": affine(forward.wi)}),
                "down": affine(forward.wo),
            }
        )
    attention = body.block[0].layer[0].SelfAttention
    return {
        "config": config,
        "tokens": plain_weight(body.embed_tokens, ["Embedding"]),
        "layers": layers,
        "norm": norm(body.final_layer_norm),
        "head": _head(network),
        "attention": attention,
        "bias": plain_weight(attention.relative_attention_bias, ["Embedding"]),
    }
