"""Keeps the memory of a long training on a CPU flat, where the C library is glibc.

Batches differ in length, so each asks for blocks of other sizes.  glibc takes them from its heap, where a small block
that lives on keeps all the free ones below it: a training of an hour grows to several times what it uses.  Taking every
large block from the kernel instead (`M_MMAP_THRESHOLD`) is flat too, but its pages are cleared anew in every update,
which doubled the time of one; giving back what is free now and then costs almost nothing (docs/benchmarks.md).
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dpo.heap import trim_heap

EVERY = 10
"""Updates from one giving back to the next."""


class TrimHeap(TrainerCallback):
    """Calls `trim_heap` every `EVERY` updates and after an evaluation, whose batches are others than the training's."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called after an update."""
        if state.global_step % EVERY == 0:
            trim_heap()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called after an evaluation."""
        trim_heap()
