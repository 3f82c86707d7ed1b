"""Preference training for both families on TRL's `DPOTrainer`.

Losses, metric names, reference handling, PEFT and resume are TRL's.  Ours are the two things it
lacks: encoder-decoder models (dropped in TRL 0.29) and a scoring head that is exact and quick on a
CPU.  Everything that leans on TRL's insides is in this file; `tests/training/test_trl_contract.py`
says what moved when a new release breaks it.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel
from trl import DPOConfig, DPOTrainer

from dpo.policies.families import Batch, disable_dropout
from dpo.policies.loading import Policy
from dpo.policies.scoring import install_scoring_head
from dpo.training.checkpoints import StagedCheckpoints
from dpo.training.config import TrainConfig
from dpo.training.data import LengthGroupedSampler, PairCollator


class PreferenceTrainer(StagedCheckpoints, DPOTrainer):  # type: ignore[misc]
    """DPO on T5-like and GPT-2-like policies.

    Args:
        policy: trained in place.
        reference: the frozen reference of full fine-tuning; None for adapters, whose reference is
            the policy with the adapter off (or as it came, if it came with one).
        args: from `trl_arguments`.
        train, held_out: datasets of `tokenize_pairs`.
        lora: a fresh adapter to train instead of the weights.
    """

    def __init__(
        self,
        policy: Policy,
        reference: PreTrainedModel | None,
        args: DPOConfig,
        train: Dataset,
        held_out: Dataset | None,
        lora: LoraConfig | None = None,
        keep_checkpoints: int = 2,
    ) -> None:
        self.keep_checkpoints = keep_checkpoints
        self.family = policy.family
        super().__init__(
            model=policy.model,
            ref_model=reference,
            args=args,
            data_collator=PairCollator(policy.family, policy.pad_token_id, policy.decoder_start),
            train_dataset=train,
            eval_dataset=held_out,
            processing_class=policy.tokenizer,
            peft_config=lora,
        )
        # TRL has just patched its own head onto the models; ours takes its place behind the same call.
        trained = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        disable_dropout(trained)
        install_scoring_head(trained, self.family, details=True)
        if self.ref_model is not None:
            frozen = self.accelerator.unwrap_model(self.ref_model)
            frozen.requires_grad_(False)
            install_scoring_head(frozen, self.family, details=False)

    def step_zero(self, examples: list[dict[str, Any]]) -> dict[str, float]:
        """Measure the loss before the first update, in training mode, beside what it must be.

        Policy and reference are the same model then, so the loss must be what it is when the
        reference's log-probabilities are the policy's own: ln 2 for the sigmoid loss.  `expected`
        is computed that way, so it holds for every loss type.  `max_logp_gap` is the largest
        difference between policy and reference, in nats per answer.
        """
        inputs: Batch = self._prepare_inputs(self.data_collator(examples))
        self.model.train()
        self._metrics["train"].clear()
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = float(self._compute_loss(self.model, inputs, return_outputs=False))
            measured = {name: sum(values) / len(values) for name, values in self._metrics["train"].items()}
            labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
            own = self.model(**_model_inputs(inputs), labels=labels, fused_lm_head=True).log_probs.sum(1)
            reference = torch.cat(self.compute_ref_log_probs(self.ref_model or self.model, inputs))
            own_chosen, own_rejected = own.chunk(2)
            expected = float(self._loss_against(own_chosen, own_rejected, inputs))
        self._metrics["train"].clear()
        self._total_train_tokens = 0
        measured.pop("num_tokens", None)
        gap = float((own - reference).abs().max())
        return {"loss": loss, "expected": expected, "max_logp_gap": gap, **measured}

    def continue_from(self, tokens: float | None) -> None:
        """Go on counting training tokens after a resume: TRL's count is not in its checkpoints."""
        self._total_train_tokens = int(tokens or 0)

    def _loss_against(self, chosen: torch.Tensor, rejected: torch.Tensor, inputs: Batch) -> torch.Tensor:
        """The loss with these reference log-probabilities, through TRL's own formula."""
        precomputed: bool = self.args.precompute_ref_log_probs
        self.precompute_ref_logps = True
        try:
            given = inputs | {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
            loss = self._compute_loss(self.model, given, return_outputs=False)
        finally:
            self.precompute_ref_logps = precomputed
        assert isinstance(loss, torch.Tensor)
        return loss

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        # Tokenised by `training.data`: TRL's truncation cuts EOS off and drops rows in silence.
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthGroupedSampler:
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        return LengthGroupedSampler(dataset["length"], self.args.train_batch_size, self.args.seed)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        # TRL writes one into the run at every save; ours is written beside the policy, once.
        return


def trl_arguments(config: TrainConfig, directory: str, precision: str, with_eval: bool, resuming: bool) -> DPOConfig:
    """TRL's arguments for our settings (`precision` is resolved: fp32, bf16 or fp16)."""
    return DPOConfig(
        **trainer_arguments(config, directory, precision, with_eval, resuming),
        beta=config.beta,
        loss_type=config.loss_type,
        loss_weights=config.loss_weights,
        label_smoothing=config.label_smoothing,
        max_length=None,  # cut already, with EOS kept
        disable_dropout=True,
    )


def trainer_arguments(config: Any, directory: str, precision: str, with_eval: bool, resuming: bool) -> dict[str, Any]:
    """`TrainingArguments` that both trainers share."""
    return {
        "output_dir": directory,
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
        "logging_steps": config.logging_steps,
        "eval_strategy": "steps" if with_eval else "no",
        "eval_steps": config.eval_steps,
        "eval_on_start": with_eval and not resuming,
        "save_strategy": "steps",
        "save_steps": config.save_steps,
        "seed": config.seed,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "gradient_checkpointing": config.gradient_checkpointing,
        "use_cpu": config.device == "cpu",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": [],
        "logging_nan_inf_filter": False,
        "dataloader_pin_memory": config.device != "cpu" and torch.cuda.is_available(),
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
        target_modules=config.lora_targets or policy.family.lora_targets(policy.network.config),
        trainable_token_indices=rows,
        task_type="SEQ_2_SEQ_LM" if policy.family.key == "t5" else "CAUSAL_LM",
    )


def _model_inputs(inputs: Batch) -> Batch:
    return {name: value for name, value in inputs.items() if name != "completion_mask"}
