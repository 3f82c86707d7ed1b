"""Which device trains, in which precision, and how to measure a policy outside of it.

In bf16 and fp16 the weights stay in fp32 and only the passes are cast (autocast).  A saved policy is
those fp32 weights, so whatever asks a policy for text during training asks without the cast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from transformers.utils import is_torch_bf16_gpu_available

from dpo.errors import ConfigError
from dpo.families import FAMILIES, Facts
from dpo.policies.loading import pick_device
from dpo.processes import process_count
from dpo.training.config import RunConfig


def training_device(config: RunConfig) -> str:
    """`cpu`, `cuda` or `mps`: where this config trains on this machine."""
    return pick_device(config.device).type


def check_device(config: RunConfig) -> None:
    """Refuse a device that is not there, and several GPUs without a process for each.

    Raises:
        ConfigError: with what to do.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch sees no CUDA device; use --device cpu")
    if config.device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("--device mps: PyTorch sees no Apple GPU; use --device cpu")
    # The Trainer would split every batch between them in one process (`DataParallel`), which TRL cannot.
    if training_device(config) == "cuda" and torch.cuda.device_count() > 1 and process_count() == 1:
        raise ConfigError(
            f"{torch.cuda.device_count()} GPUs are visible to one process: choose one with CUDA_VISIBLE_DEVICES=0, "
            "or start a process for each with: torchrun --nproc-per-node=gpu -m dpo ..."
        )


def resolved_precision(config: RunConfig, family: Facts) -> str:
    """fp32, bf16 or fp16 for this device and family.

    Raises:
        ConfigError: the device or the family cannot do what was asked.
    """
    if config.precision == "fp16" and not family.fp16_safe:
        raise ConfigError(f"--precision fp16: {family.label}'s activations overflow in fp16; use bf16 or fp32")
    return device_precision(config)


def device_precision(config: RunConfig) -> str:
    """fp32, bf16 or fp16 for this device, whatever the family.

    Raises:
        ConfigError: the device cannot do what was asked.
    """
    device = training_device(config)
    # Older GPUs imitate bf16 in software, which is slower than fp32.
    native = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if config.precision == "auto":
        return "bf16" if native else "fp32"
    if config.precision == "bf16" and device == "cuda" and not native:
        able = " and ".join(facts.label for facts in FAMILIES if facts.fp16_safe)
        raise ConfigError(f"--precision bf16: this GPU has no bf16; use fp32, or fp16 for {able}")
    if config.precision == "bf16" and device != "cpu" and not is_torch_bf16_gpu_available():
        raise ConfigError("--precision bf16: this device has no bf16; use fp32")
    if config.precision == "fp16" and device != "cuda":
        raise ConfigError("--precision fp16 needs a CUDA device; use bf16 or fp32")
    return config.precision


@contextlib.contextmanager
def without_autocast(model: nn.Module) -> Iterator[None]:
    """Within this context `model` computes in the type of its weights, as it will once it is saved.

    accelerate casts by putting a function of its own in place of `forward` when training begins.
    """
    cast = model.__dict__.get("forward")
    original = model.__dict__.get("_original_forward")
    if cast is None or original is None:
        yield
        return
    model.forward = original
    try:
        yield
    finally:
        model.forward = cast
