"""What happens around the updates: the record, the progress bar, stopping and saving."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dpo.runs import RunRecord

# Logged by the Trainer beside the measures; the record keeps time in one column of its own.
_NOT_MEASURES = ("runtime", "per_second", "total_flos", "step", "epoch")


class RecordCallback(TrainerCallback):
    """Writes the run's record: one row per logged step, held-out measures in the row of their step."""

    def __init__(self, record: RunRecord, rows_per_step: int, seconds_before: float = 0.0) -> None:
        self.record = record
        self.rows_per_step = rows_per_step
        self.began = time.monotonic() - seconds_before
        self._pending: dict[str, Any] = {}

    def begin(self, row: dict[str, float]) -> None:
        """Keep the step-0 row until the first held-out evaluation joins it."""
        self._pending = self._row(0, 0.0, row)

    def flush(self) -> None:
        """Write the row that still waits for held-out measures."""
        if self._pending:
            self.record.log(self._pending)
            self.record.update(progress=self._progress(self._pending))
            self._pending = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # How far the run is to go: what a viewer needs to say how much time is left.
        known = self.record.info.get("progress") or {}
        self.record.update(progress=known | {"max_steps": state.max_steps})

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # Sums since the last logged step are not in a checkpoint: logging at every save makes the
        # rows after a resume equal to those of a run that was never interrupted.
        if control.should_training_stop:
            control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"  # without held-out pairs there is nothing to evaluate
        if control.should_evaluate or control.should_save:
            control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is None or "train_runtime" in logs or not state.is_world_process_zero:
            return
        if self._pending and self._pending["step"] != state.global_step:
            self.flush()
        self._pending = self._pending | self._row(state.global_step, state.epoch or 0.0, logs)
        if state.global_step > 0 and not control.should_evaluate:
            self.flush()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.flush()  # every held-out set of the last step has been measured by now

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.flush()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.flush()

    def _row(self, step: int, epoch: float, logs: dict[str, float]) -> dict[str, Any]:
        measures = {
            name: value if math.isfinite(value) else None
            for name, value in logs.items()
            if isinstance(value, int | float) and not name.endswith(_NOT_MEASURES)
        }
        tokens = measures.pop("num_tokens", None)
        measures.pop("eval_num_tokens", None)
        head: dict[str, Any] = {
            "step": step,
            "epoch": epoch,
            "examples": step * self.rows_per_step,
            "time": round(time.monotonic() - self.began, 3),
        }
        return head | ({} if tokens is None else {"tokens": tokens}) | measures

    def _progress(self, row: dict[str, Any]) -> dict[str, Any]:
        known = self.record.info.get("progress") or {}
        return known | {"step": row["step"], "examples": row["examples"], "seconds": row["time"]}


class ProgressBar(TrainerCallback):
    """One line in the terminal: steps, rate, remaining time and the latest measures.

    During evaluations, which no step ends, it says so; the rate is measured from the first step on.
    """

    def __init__(self, what: str, shown: dict[str, str]) -> None:
        self.what, self.shown = what, shown
        self.bar: tqdm[Any] | None = None
        self.latest: dict[str, str] = {}
        self._stepped = False
        self._evaluating = False
        self._batches = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=self.what, unit="step", file=sys.stderr,
            dynamic_ncols=True, mininterval=0.5,
        )  # fmt: skip
        if args.eval_on_start:
            self._say("evaluating")

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is None:
            return
        if not self._stepped:
            # The evaluation before it is no step: counted in, the first estimate would be far too long.
            self.bar.start_t = self.bar.last_print_t = time.time()
        self._stepped = True
        if self._evaluating:
            self._say("")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is None:
            return
        self.bar.update(state.global_step - self.bar.n)
        if control.should_evaluate:
            self._say("evaluating")

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        self._batches += 1
        of = f"/{len(eval_dataloader)}" if isinstance(eval_dataloader, Sized) else ""
        self._say(f"evaluating {self._batches}{of}")

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._batches = 0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.bar is None or logs is None:
            return
        self.latest |= {label: f"{logs[name]:.4g}" for name, label in self.shown.items() if name in logs}
        self.bar.set_postfix(self.latest)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._say("")
        self.close()

    def close(self) -> None:
        """Leave the line; nothing happens if there is none."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _say(self, doing: str) -> None:
        self._evaluating = bool(doing)
        if self.bar is not None:
            self.bar.set_description(f"{self.what}, {doing}" if doing else self.what)


class SaveHook(TrainerCallback):
    """Calls a function with the step, before training and after every save."""

    def __init__(self, call: Callable[[int], None]) -> None:
        self.call = call

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step == 0:
            self.call(0)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.call(state.global_step)


class StopOnSignal(TrainerCallback):
    """Ctrl-C (or SIGTERM) once: finish the step, evaluate, save, stop.  Twice: stop now."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within this block (main thread only, as Python has it)."""
        try:
            previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever runs us there stops us another way
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._anyone():
            control.should_training_stop = control.should_save = control.should_log = True
            control.should_evaluate = args.eval_strategy != "no"

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
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nStopping after this step, saving first (once more to stop at once)", file=sys.stderr, flush=True)
