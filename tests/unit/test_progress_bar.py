"""The line in the terminal: it says when it evaluates, and its first estimate is of steps alone."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from dpo.training.callbacks import ProgressBar


def test_evaluations_are_named_and_kept_out_of_the_first_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, eval_strategy="steps", eval_on_start=True)
    state, control, line = TrainerState(max_steps=61), TrainerControl(), ProgressBar("dpo", {"loss": "loss"})

    def shown() -> str:
        return written.getvalue().rpartition("\r")[2]

    line.on_train_begin(args, state, control)
    assert line.bar is not None and shown().startswith("dpo, evaluating:")
    for batch in (1, 2):
        line.on_prediction_step(args, state, control, eval_dataloader=range(2))
        assert shown().startswith(f"dpo, evaluating {batch}/2:")
    line.on_evaluate(args, state, control)
    now = [line.bar.start_t + 400.0]  # the evaluation took so long
    monkeypatch.setattr(time, "time", lambda: now[0])
    line.bar._time = time.time
    line.on_step_begin(args, state, control)
    assert shown().startswith("dpo:")
    now[0] += 2.0
    state.global_step = 1
    line.on_step_end(args, state, control)
    assert "[00:02<02:00," in shown()  # 60 steps of 2 s are left, not 60 of 402 s
    control.should_evaluate = True
    now[0] += 2.0
    state.global_step = 2
    line.on_step_begin(args, state, control)
    line.on_step_end(args, state, control)
    assert shown().startswith("dpo, evaluating:")
    control.should_evaluate = False
    line.on_step_begin(args, state, control)
    assert shown().startswith("dpo:")
    line.on_train_end(args, state, control)
    assert line.bar is None
