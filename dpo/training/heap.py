"""Keeps the memory of a long training on a CPU flat, where the C library is glibc.

Batches differ in length, so each asks for blocks of other sizes.  glibc takes them from its heap, where a small block
that lives on keeps all the free ones below it: a training of an hour grows to several times what it uses.  Taking every
large block from the kernel instead (`M_MMAP_THRESHOLD`) is flat too, but its pages are cleared anew in every update,
which doubled the time of one; giving back what is free now and then costs almost nothing (docs/benchmarks.md).
"""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

EVERY = 10
"""Updates from one giving back to the next."""


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's `malloc_trim`; None where the C library is another one."""
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        trim: Callable[[int], int] = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):  # no such library, or one without the function
        return None
    return trim


def trim_heap() -> bool:
    """Give the free pages of glibc's heap back to the system; whether there were any.

    Does nothing elsewhere; an allocator that is preloaded (jemalloc, tcmalloc) goes on as it was.
    """
    trim = _malloc_trim()
    return bool(trim and trim(0))


class TrimHeap(TrainerCallback):
    """Calls `trim_heap` every `EVERY` updates and after an evaluation, whose batches are others than the training's."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called after an update."""
        if state.global_step % EVERY == 0:
            trim_heap()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Called after an evaluation."""
        trim_heap()
