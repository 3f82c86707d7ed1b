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
from dpo.pretraining.measure import bits_per_byte
from dpo.training.sft import SftTrainer


class PretrainTrainer(SftTrainer):
    """Trains a policy on `PretrainingBatches` with Muon; held-out text is measured in bits per byte."""

    def __init__(
        self,
        policy: Policy,
        args: TrainingArguments,
        batches: PretrainingBatches,
        held_out: list[Row],
        keep_checkpoints: int = 2,
    ) -> None:
        rows: Any = held_out  # measured by `evaluate`; the Trainer only asks whether there are any
        super().__init__(policy, args, batches, rows or None, "muon", keep_checkpoints)  # type: ignore[arg-type]
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

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log with the count of tokens seen so far, as TRL's trainers do."""
        super().log(logs | {"num_tokens": float(self.tokens_seen)}, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Bits per byte and nats per token on the held-out text."""
        self.model.eval()
        bits, nats = bits_per_byte(self.policy, self.held_out)
        measured = {"eval_bits_per_byte": bits, "eval_loss": nats}
        self.log(measured)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, measured)
        return measured

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:  # type: ignore[override]
        return SequentialSampler(self.train_dataset)


def _only(examples: list[Batch]) -> Batch:
    """The one example, which is a whole batch."""
    (batch,) = examples
    return batch
