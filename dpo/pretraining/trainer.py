"""Language modelling from random weights: `SftTrainer`'s loss on batches that come ready made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import TrainingArguments

from dpo.policies.families import Batch
from dpo.policies.loading import Policy
from dpo.pretraining.batches import PretrainingBatches, Row
from dpo.pretraining.config import PretrainConfig
from dpo.pretraining.measure import bits_per_byte
from dpo.training.sft import SftTrainer
from dpo.training.trainer_arguments import run_arguments


class PretrainTrainer(SftTrainer):
    """Trains a policy on `PretrainingBatches` with Muon; held-out text is measured in bits per byte."""

    def __init__(
        self,
        policy: Policy,
        args: TrainingArguments,
        batches: PretrainingBatches,
        held_out: list[Row],
    ) -> None:
        rows: Any = held_out  # measured by `evaluate`; the Trainer only asks whether there are any
        super().__init__(policy, args, batches, rows or None, "muon")  # type: ignore[arg-type]
        self.policy, self.held_out = policy, held_out
        self.data_collator = _only
        self.tokens_seen = 0

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | None]:
        """The batches of one update and the number of learned tokens in them; those seen are counted."""
        batches, learned = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.tokens_seen += sum(int(batch.pop("tokens")) for batch in batches)
        return batches, learned

    def sums(self) -> dict[str, Any]:
        """See `StagedCheckpoints.sums`; with the count of tokens."""
        return super().sums() | {"tokens": self.tokens_seen}

    def restore_sums(self, sums: dict[str, Any]) -> None:
        """See `StagedCheckpoints.restore_sums`."""
        super().restore_sums(sums)
        self.tokens_seen = sums["tokens"]

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log with the count of tokens seen so far, as TRL's trainers do."""
        super().log(logs | {"num_tokens": float(self.tokens_seen)}, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Bits per byte and nats per token on the held-out text."""
        self.model.eval()
        bits, nats = bits_per_byte(self.policy, self.held_out)
        measured = {"eval_bits_per_byte": bits, "eval_loss": nats}
        self.log(measured)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, measured)
        return measured

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:  # type: ignore[override]
        return SequentialSampler(self.train_dataset)


def pretrain_arguments(
    config: PretrainConfig, directory: str, precision: str, with_eval: bool, resuming: bool
) -> TrainingArguments:
    """The Trainer's arguments for our settings: one ready batch an update, a rate that rises, stays and falls.

    A rate that falls to zero at the end does what averaging the last weights does (Hägele et al. 2024,
    arXiv 2405.18392), and a run may go on from any checkpoint before the fall.
    """
    shared = run_arguments(config, directory, precision, with_eval, resuming)
    return TrainingArguments(
        **shared,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        max_steps=config.steps,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": int(config.decay * config.steps), "decay_type": "linear"},
        warmup_steps=int(config.warmup * config.steps),
    )


def _only(examples: list[Batch]) -> Batch:
    """The one example, which is a whole batch."""
    (batch,) = examples
    return batch
