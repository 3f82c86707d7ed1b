"""A model's sizes from its config alone: it is built on PyTorch's meta device, where weights have no bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from dpo.errors import PolicyError
from dpo.families import FamilyKey
from dpo.hub import offline
from dpo.policies.families import family_of
from dpo.policies.loading import explained
from dpo.policies.names import MOST_ADAPTERS, T5_LIKE, base_of, resolve
from dpo.policies.sharing import may_share

# Tensors that an activation function keeps for its backward pass beside its result, which the next layer keeps anyway.
# NewGELU is written out in single operations; relu needs its result alone.
_KEPT_BY = {"relu": 0, "gelu_new": 4}
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_MOST_LAYERS = 2_000


@dataclass(frozen=True)
class Stack:
    """Equal layers on top of each other: an encoder or a decoder.

    Attributes:
        layers: how many.
        width: of the residual stream.
        attention: of queries, keys and values, all heads together.
        heads: of attention.
        feed_forward: width within the feed-forward part.
        feed_forward_kept: tensors of that width which the backward pass needs.
        norms: normalisations of a layer.
        norm_kept: tensors in single precision that each of them keeps (RMSNorm also its normalised input).
        cross: whether each layer attends to an encoder as well.
        biased: whether attention to itself adds a bias by position (T5's), so that it is never fused.
        weights: parameters in matrix products, over all layers.
    """

    layers: int
    width: int
    attention: int
    heads: int
    feed_forward: int
    feed_forward_kept: int
    norms: int
    norm_kept: int
    cross: bool
    biased: bool
    weights: int


@dataclass(frozen=True)
class Sizes:
    """What plans need to know of a model.

    Attributes:
        parameters: all of them, tied ones once.
        tensors: how many parameter tensors they are in.
        adapter: parameters of a LoRA adapter of the rank that was asked for, with the family's usual targets.
        in_blocks: parameters within the layers that FSDP splits on its own, and of the `largest_block` of them.
        quantised: parameters that 4 bits can hold: of linear layers other than the output's.
        shares: whether both answers to a prompt may share a row with it (`dpo.policies.sharing`).
    """

    architecture: str
    family: FamilyKey
    parameters: int
    tensors: int
    adapter: int
    in_blocks: int
    largest_block: int
    quantised: int
    vocabulary: int
    width: int
    shares: bool
    encoder: Stack | None
    decoder: Stack
    context: int | None


def config_of(name: str) -> PretrainedConfig:
    """The config of the policy called `name`, or of an adapter's base; from the hub nothing else is fetched.

    Raises:
        PolicyError: there is none of that name, or it cannot be read.
    """
    asked = name
    for _ in range(MOST_ADAPTERS):
        source = resolve(name)
        if source.kind == "hub":
            offline()  # tells the libraries
        if not source.adapter:
            with explained(source):
                return AutoConfig.from_pretrained(source.location, trust_remote_code=False)
        name = base_of(Path(source.location))
    raise PolicyError(f"{asked} is an adapter of an adapter of an adapter without end: name its base")


def sizes_of(name: str, config: PretrainedConfig, rank: int) -> Sizes:
    """The sizes of the policy called `name`, which has this config; `rank` is the LoRA adapter's.

    Raises:
        PolicyError: it generates no text, or is a mixture of experts, whose work this does not know.
    """
    if any((getattr(config, word, None) or 1) > 1 for word in _EXPERTS):
        raise PolicyError(f"{name} is a mixture of experts, which dpo plan cannot reckon: name a dense model")
    if not 0 < int(getattr(config, "num_hidden_layers", 0) or 0) <= _MOST_LAYERS:
        raise PolicyError(f"{name}: its config.json names no sensible number of layers")
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    try:
        with torch.device("meta"):
            model: PreTrainedModel = auto.from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        kind = getattr(config, "model_type", "unknown")
        raise PolicyError(f"{name} ({kind}) is no model that writes text, or its config.json is damaged") from error
    parameters = list(model.parameters())
    family, head = family_of(config), model.get_output_embeddings()
    blocks = _blocks(model)
    in_blocks = [sum(p.numel() for p in block.parameters()) for block in blocks]
    quantised = sum(_weights(module) for module in model.modules() if module is not head)
    encoder = _stack(model.get_encoder(), config, blocks) if config.is_encoder_decoder else None
    decoder = _stack(model.get_decoder() if config.is_encoder_decoder else model.base_model, config, blocks)
    sizes = {"parameters": sum(p.numel() for p in parameters), "tensors": len(parameters)}
    return Sizes(
        architecture=type(model).__name__, family=family.key, **sizes, adapter=_adapter(model, rank),
        in_blocks=sum(in_blocks), largest_block=max(in_blocks), quantised=quantised,
        vocabulary=model.get_input_embeddings().weight.size(0), width=decoder.width,
        shares=not family.has_encoder and may_share(config), encoder=encoder, decoder=decoder,
        context=family.context(config),
    )  # fmt: skip


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The layers, by the classes that transformers names as those which must stay together."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    found = [module for module in model.modules() if type(module).__name__ in names and _products(module)]
    return found or [model]


def _products(module: nn.Module) -> list[tuple[int, int]]:
    """Inputs and outputs of each matrix product within."""
    shapes = []
    for part in module.modules():
        if isinstance(part, nn.Linear):
            shapes.append((part.in_features, part.out_features))
        elif isinstance(part, Conv1D):
            shapes.append((part.nx, part.nf))
    return shapes


def _weights(module: nn.Module) -> int:
    return module.weight.numel() if isinstance(module, nn.Linear | Conv1D) else 0


def _stack(part: nn.Module, config: PretrainedConfig, blocks: list[nn.Module]) -> Stack:
    own = [block for block in blocks if block in set(part.modules())]
    block, width = own[0], int(config.hidden_size)
    heads = int(config.num_attention_heads)
    attention = heads * int(getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or width // heads)
    products = _products(block)
    # What leads back to the residual stream from the widest place is the feed-forward part.
    inner = max(inputs for inputs, outputs in products if outputs == width)
    gated = sum(outputs for inputs, outputs in products if inputs == width and outputs in (inner, 2 * inner)) > inner
    norms = [module for module in block.modules() if "norm" in type(module).__name__.lower()]
    names = ("hidden_act", "activation_function", "dense_act_fn", "activation")
    activation = next((str(getattr(config, name)) for name in names if getattr(config, name, None)), "")
    kept = _KEPT_BY.get(activation, 1) + (3 if gated else 1)
    plain = all(isinstance(module, nn.LayerNorm) for module in norms)
    cross = any(name.lower().endswith(("encdecattention", "encoder_attn")) for name, _ in block.named_modules())
    weights = sum(inputs * outputs for one in own for inputs, outputs in _products(one))
    return Stack(
        len(own), width, attention, heads, inner, kept, len(norms) or 2, 1 if plain else 2, cross,
        config.model_type in T5_LIKE, weights,
    )  # fmt: skip


def _adapter(model: PreTrainedModel, rank: int) -> int:
    """Parameters of a LoRA adapter; the model has it afterwards."""
    targets = family_of(model.config).lora_targets(model.config)
    transposed = any(isinstance(module, Conv1D) for module in model.modules())
    lora = LoraConfig(r=rank, target_modules=targets, fan_in_fan_out=transposed)
    inject_adapter_in_model(lora, model, low_cpu_mem_usage=True)
    return sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
