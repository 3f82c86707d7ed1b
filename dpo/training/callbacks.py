"""What happens around the updates: the record, the progress bar, the first answers."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sized
from typing import Any

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
        self._evaluated = False

    def begin(self, row: dict[str, float]) -> None:
        """Keep the step-0 row until the first held-out evaluation joins it."""
        self._pending = self._row(0, 0.0, row)

    def flush(self) -> None:
        """Write the row that still waits for held-out measures."""
        if self._pending:
            self.record.log(self._pending)
            self.record.update(progress=self._progress(self._pending))
            self._pending = {}
        self._evaluated = False

    def progress(self, state: TrainerState) -> dict[str, Any]:
        """Where the run is and how far it is to go: what a viewer needs to say how much time is left."""
        known = self.record.info.get("progress") or {}
        step = state.global_step
        return known | {"step": step, "max_steps": state.max_steps, "examples": step * self.rows_per_step}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.record.update(progress=self.progress(state))

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
        # What an evaluation measures comes in several logs, of which the later ones no longer say so.
        self._evaluated |= control.should_evaluate
        if state.global_step > 0 and not self._evaluated:
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


class LogAtSaves(TrainerCallback):
    """Logs a row at every evaluation and every save that is due, in every process that trains.

    Sums since the last logged row are gathered from all processes, so all must log at the same steps.
    """

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if control.should_evaluate or control.should_save:
            control.should_log = True


class FirstProbes(TrainerCallback):
    """Answers the probe prompts before the first update; later answers belong to checkpoints."""

    def __init__(self, answer: Callable[[int], None]) -> None:
        self.answer = answer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step == 0:
            self.answer(0)
