"""Stop before damage: a loss or gradient that is not a number, and memory that runs out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from dpo.errors import MemoryRunOutError, NonFiniteError
from dpo.policies.families import Batch

_SHOWN = 4


class FiniteSteps(Trainer):
    """A `Trainer` that stops at the step whose loss or gradient is not finite.

    Mixed in before the trainer proper.  Nothing is saved at that step, so the last checkpoint is from
    before; the batch's rows (the key `rows` that the collators add) are named in the error.
    """

    _rows: list[int] | None = None

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Tensor | None = None) -> Tensor:
        """One batch forward and backward, its loss checked."""
        if self._rows is None:
            self._rows = []
        self._rows += inputs["rows"].tolist()
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise self._not_finite("loss")
        return loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """A held-out pass, its loss checked: one update too large shows here before the next batch."""
        output = super().evaluation_loop(*args, **kwargs)
        for name, value in (output.metrics or {}).items():
            if name.endswith("_loss") and not math.isfinite(value):
                raise self._not_finite("held-out loss", updates=0)
        return output

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        # In fp16 an overflow is ordinary: the scaler skips that update and lowers its scale.
        if not self.args.fp16 and not torch.isfinite(torch.as_tensor(norm)):
            raise self._not_finite("gradient")
        self._rows = []
        return norm

    def _not_finite(self, what: str, updates: int = 1) -> NonFiniteError:
        step = self.state.global_step + updates
        bad = [name for name, value in self.model.named_parameters() if not torch.isfinite(value).all()]
        if bad and step <= 1:
            cause = f"the weights are damaged already ({bad[0]}): check the policy you started from"
        elif self.args.fp16 or self.args.bf16:
            cause = "low precision is the likely cause: use --precision fp32"
        else:
            cause = "a rate too high is the likely cause: lower --learning-rate or --max-grad-norm"
        return NonFiniteError(
            f"The {what} is not a number at step {step}, with {self._named_rows()}; {cause}. "
            "Nothing of this step was saved, the last checkpoint is from before it"
        )

    def _named_rows(self) -> str:
        rows = sorted(set(self._rows or []))
        if not rows:
            return "the batches before it"
        texts = []
        dataset: Any = self.train_dataset
        tokenizer: Any = self.processing_class
        wanted = {row: index for index, row in enumerate(dataset["row"]) if row in rows}
        for row in rows[:_SHOWN]:
            text = tokenizer.decode(dataset[wanted[row]]["prompt_ids"], skip_special_tokens=True).strip()
            texts.append(f"{row} ({text[:40]!r})")
        more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
        return f"training rows {', '.join(texts)}{more}"


@contextlib.contextmanager
def memory_explained() -> Iterator[None]:
    """Turn running out of memory, on a GPU or a CPU, into one line that says what to turn.

    Raises:
        MemoryRunOutError: in place of PyTorch's errors.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not any(
            sign in text for sign in ("out of memory", "can't allocate memory", "not enough memory")
        ):
            raise
        where = "The GPU" if isinstance(error, torch.OutOfMemoryError) or "CUDA" in text else "This machine"
        raise MemoryRunOutError(
            f"{where} is out of memory: halve --batch-size and double --gradient-accumulation (the same update), "
            "lower --max-completion-length, or add --gradient-checkpointing, --lora or --quantization 4bit"
        ) from error
