"""Ending a training by a signal, from the moment it holds its directory to its last write."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class StopOnSignal(TrainerCallback):
    """Ctrl-C, SIGTERM or SIGHUP (the terminal is gone) once: finish the step, save, stop.  Twice: stop now.

    A stop writes nothing that the run would not have written without it, so that a resumed run's rows are those
    of one that was never stopped: no evaluation and no row that is not due at that step.

    Attributes:
        requested: whether a signal has come.
        stopped_at: the step after which the training was stopped by it.
        unscheduled: whether the checkpoint of that step is there only because of the stop.
    """

    def __init__(self) -> None:
        self.requested = False
        self.stopped_at: int | None = None
        self.unscheduled = False
        self._promise: str | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within this block (main thread only, as Python has it): at once, or see `finishing`."""
        previous = {}
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            # Under nohup a training is meant to outlive its terminal.
            if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                continue
            with contextlib.suppress(ValueError):  # not the main thread: whoever runs us there stops us another way
                previous[number] = signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def finishing(self, promise: str) -> Iterator[None]:
        """Within this block the first signal only asks; `promise` is what the user reads will be done first."""
        self._promise = promise
        try:
            yield
        finally:
            self._promise = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._anyone() and not control.should_training_stop:
            self.stopped_at = state.global_step
            self.unscheduled = not control.should_save
            control.should_training_stop = control.should_save = True

    def _anyone(self) -> bool:
        """Whether this process or one that trains with it was asked: all must stop at the same step."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self.requested
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        flag = torch.tensor([float(self.requested)], device=device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        self.requested = bool(flag.item())
        return self.requested

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == getattr(signal, "SIGHUP", None):
            _leave_terminal()
            if self.requested:  # a closed terminal's shell passes on what the kernel has sent already
                return
        asked, self.requested = self.requested, True
        if asked or self._promise is None:
            raise KeyboardInterrupt
        # Not through sys.stderr: the signal may have come in the middle of a write to it.
        with contextlib.suppress(OSError):
            os.write(2, f"\n{self._promise} (once more to stop at once)\n".encode())


def _leave_terminal() -> None:
    """Let output go nowhere where it went to a terminal: writing to one that is gone fails."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            number = stream.fileno()
            if stat.S_ISCHR(os.fstat(number).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
