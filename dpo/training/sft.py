"""Supervised fine-tuning on answers: the usual step before DPO, and how the bundled bases are made.

The loss is the mean negative log-probability (nats) of the completion's tokens, EOS included, given
the prompt; prompts are not learned.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import Trainer, TrainingArguments

from dpo.policies.families import Batch
from dpo.policies.loading import Policy
from dpo.policies.scoring import install_scoring_head
from dpo.training.checkpoints import StagedCheckpoints
from dpo.training.config import SftConfig
from dpo.training.data import AnswerCollator, LengthGroupedSampler
from dpo.training.finite_checks import FiniteSteps
from dpo.training.measures import AnswerLoss
from dpo.training.optimizers import MuonWithAdamW
from dpo.training.trainer_arguments import trainer_arguments


class SftTrainer(FiniteSteps, StagedCheckpoints, Trainer):
    """Fine-tunes a policy on completions; held-out measures for each named set (chosen, rejected)."""

    def __init__(
        self,
        policy: Policy,
        args: TrainingArguments,
        train: Dataset,
        held_out: dict[str, Dataset] | None,
        optimizer: str,
    ) -> None:
        self.optimizer_name = optimizer
        self._held_out = AnswerLoss()
        super().__init__(
            model=policy.network,
            args=args,
            data_collator=AnswerCollator(policy.family, policy.pad_token_id, policy.decoder_start),
            train_dataset=train,
            eval_dataset=held_out,
            processing_class=policy.tokenizer,
        )
        # Our mean is over the tokens of the whole update, which the Trainer counts from `labels`.
        self.model_accepts_loss_kwargs = True
        install_scoring_head(policy.network, policy.family, details=False)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW as the Trainer makes it, or Muon with AdamW."""
        if self.optimizer_name == "muon":
            self.optimizer: Any = MuonWithAdamW(
                self.model, self.args.learning_rate, self.args.weight_decay, low_precision=bool(self.args.bf16)
            )
            return self.optimizer
        return super().create_optimizer(model)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | None]:
        """The batches of one update and the number of completion tokens in them."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        tokens = torch.stack([batch["completion_mask"][:, 1:].sum() for batch in batches]).sum() if batches else None
        return batches, None if tokens is None else tokens.to(device)

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Tensor | None = None
    ) -> Any:
        """Mean negative log-probability over the tokens of the update (or of the batch, in evaluation)."""
        output = self._scored(model, inputs)
        tokens = num_items_in_batch if num_items_in_batch is not None else output.label_mask.sum()
        loss = -output.log_probs.sum() / tokens
        return (loss, output) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: Batch, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor, None, None]:
        """Held-out loss of one batch; its answers are noted for the loss over all of them."""
        with torch.no_grad(), self.compute_loss_context_manager():
            inputs = self._prepare_inputs(inputs)
            output = self._scored(model, inputs)
            sums, tokens = output.log_probs.sum(1), output.label_mask.sum(1)
            table = torch.stack([sums.float(), tokens.float()], 1)
        self._held_out.add(self.accelerator.gather(inputs["rows"]), self.accelerator.gather(table))
        return (-sums.sum() / tokens.sum()).detach(), None, None

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """A held-out pass; its loss is over tokens, as that of the updates, not over batches."""
        self._held_out.clear()
        output = super().evaluation_loop(*args, **kwargs)
        for name in output.metrics or ():
            if name.endswith("_loss"):
                output.metrics[name] = self._held_out.mean()
        return output

    def _scored(self, model: Any, inputs: Batch) -> Any:
        """The policy's scores of a batch."""
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        given = {name: value for name, value in inputs.items() if name not in ("completion_mask", "rows")}
        return model(**given, labels=labels, fused_lm_head=True)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthGroupedSampler:
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        return LengthGroupedSampler(
            dataset["length"], self.args.train_batch_size * self.args.world_size, self.args.seed
        )


def sft_arguments(config: SftConfig, directory: str, precision: str, with_eval: bool, resuming: bool) -> Any:
    """The Trainer's arguments for our settings."""
    shared = trainer_arguments(config, directory, precision, with_eval, resuming)
    return TrainingArguments(**shared)
