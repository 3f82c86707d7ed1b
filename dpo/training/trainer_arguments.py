"""Our settings as the Trainer, TRL and PEFT take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig
from transformers.pytorch_utils import Conv1D
from trl import DPOConfig

from dpo.policies.loading import Policy
from dpo.training.config import CommonConfig, RunConfig, TrainConfig
from dpo.training.precision import training_device

# Settings that TRL has by the same names.
_TRLS = (
    "beta", "loss_type", "loss_weights", "label_smoothing", "f_divergence_type", "f_alpha_divergence_coef",
    "discopop_tau", "ld_alpha", "use_weighting", "sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps",
)  # fmt: skip


def trl_arguments(config: TrainConfig, directory: str, precision: str, with_eval: bool, resuming: bool) -> DPOConfig:
    """TRL's arguments for our settings (`precision` is resolved: fp32, bf16 or fp16)."""
    return DPOConfig(
        **trainer_arguments(config, directory, precision, with_eval, resuming),
        **{name: getattr(config, name) for name in _TRLS},
        max_length=None,  # cut already, with EOS kept
        disable_dropout=True,
    )


def trainer_arguments(
    config: CommonConfig, directory: str, precision: str, with_eval: bool, resuming: bool
) -> dict[str, Any]:
    """`TrainingArguments` that preference training and supervised fine-tuning share."""
    return run_arguments(config, directory, precision, with_eval, resuming) | {
        "per_device_train_batch_size": config.batch_size,
        "per_device_eval_batch_size": config.batch_size * 2,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps or -1,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "lr_scheduler_type": config.schedule if config.schedule != "constant" else "constant_with_warmup",
        # A float below 1 is a share of all updates.
        "warmup_steps": config.warmup if config.warmup < 1 else 0.999,
        "max_grad_norm": config.max_grad_norm,
        "activation_checkpointing": config.gradient_checkpointing,
    }


def run_arguments(config: RunConfig, directory: str, precision: str, with_eval: bool, resuming: bool) -> dict[str, Any]:
    """`TrainingArguments` of everything that trains: the machine and the record."""
    device = training_device(config)
    return {
        "output_dir": directory,
        "logging_steps": config.logging_steps,
        "eval_strategy": "steps" if with_eval else "no",
        "eval_steps": config.eval_steps,
        "eval_on_start": with_eval and not resuming,
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "seed": config.seed,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "use_cpu": device == "cpu",
        # Found by name alone: a run's directory is the name that people know.
        "run_name": Path(directory).name,
        "project": "dpo",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": [],
        "logging_nan_inf_filter": False,
        "dataloader_pin_memory": device == "cuda",
        "log_level": "error",
    }


def lora_config(policy: Policy, config: TrainConfig) -> LoraConfig:
    """A fresh LoRA adapter; tokens added to the vocabulary train their own embeddings.

    Without the latter a LoRA run could never say an emoji that T5's vocabulary lacks.
    """
    rows: dict[str, list[int]] | None = None
    if policy.added_token_ids:
        network = policy.network
        embeddings = network.get_input_embeddings()
        name = next(name for name, module in network.named_modules() if module is embeddings)
        rows = {name: list(policy.added_token_ids)}
    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha if config.lora_alpha is not None else 2 * config.lora_rank,
        lora_dropout=config.lora_dropout,
        use_dora=config.dora,
        # GPT-2's weights lie the other way round; PEFT would find out module by module, with a warning.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in policy.network.modules()),
        target_modules=config.lora_targets or policy.family.lora_targets(policy.network.config),
        trainable_token_indices=rows,
        task_type=policy.family.facts.task_type,
    )
