"""What Hugging Face's Trainer leaves beside the curves: its settings, the model's, and whether it came to its end.

Its TensorBoard callback writes the arguments as text (`args/text_summary`) and the model's
configuration (`model_config/text_summary`) before the first step, and `train/train_runtime` when
`train()` returns.  Both are at the ends of a file, so that a long one need not be read for them.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard

from dpo.families import family_key
from dpo.runs.files import MOST_LOG_BYTES, MOST_STATE_BYTES, identity, open_file, parse, read_object
from dpo.runs.schema import MOST_STEP, fit_config
from dpo.runs.tfevents import read_events

_HEAD_BYTES, _TAIL_BYTES = 1 << 18, 1 << 17
_RECENT_SECONDS = 600.0  # nobody can tell a training that pauses from one that is gone
_ARGUMENTS, _MODEL, _RUNTIME = "args/text_summary", "model_config/text_summary", "train_runtime"
# Our names of the Trainer's and TRL's arguments.
_SETTINGS = {
    "beta": "beta", "learning_rate": "learning_rate", "loss_type": "loss_type", "label_smoothing": "label_smoothing",
    "num_train_epochs": "epochs", "per_device_train_batch_size": "batch_size", "max_steps": "max_steps",
    "gradient_accumulation_steps": "gradient_accumulation", "weight_decay": "weight_decay", "seed": "seed",
    "max_grad_norm": "max_grad_norm", "logging_steps": "logging_steps", "lr_scheduler_type": "schedule",
    "max_prompt_length": "max_prompt_length", "max_completion_length": "max_completion_length",
    "gradient_checkpointing": "gradient_checkpointing",
}  # fmt: skip


@dataclass(frozen=True)
class Logged:
    """What is known of a Trainer's run beside its curves.

    `epochs` are (step, epoch) pairs as they were logged, `ended` says that `train()` returned, and
    `most` is the number of steps that a `trainer_state.json` names.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    step: int = 0
    epochs: tuple[tuple[int, float], ...] = ()
    ended: bool = False
    most: int | None = None

    def and_then(self, later: Logged) -> Logged:
        """Both together; of what both say the later one counts."""
        return Logged(
            later.arguments or self.arguments, later.model or self.model, max(self.step, later.step),
            self.epochs + later.epochs, later.ended, later.most or self.most,
        )  # fmt: skip

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments under our names, as far as they fit."""
        found = {ours: self.arguments[name] for name, ours in _SETTINGS.items() if self.arguments.get(name) is not None}
        if "bf16" in self.arguments or "fp16" in self.arguments:
            kinds = [kind for kind in ("bf16", "fp16") if self.arguments.get(kind) is True]
            found["precision"] = kinds[0] if kinds else "fp32"
        if found.get("max_steps") == -1:  # the Trainer's word for none
            del found["max_steps"]
        model = self.model.get("_name_or_path") or self.arguments.get("model_name_or_path")
        return fit_config(found | ({"model": model} if model else {}))

    @property
    def family(self) -> str | None:
        """Its key, as the model's configuration says."""
        return family_key(self.model) if self.model else None

    @property
    def total(self) -> int | None:
        """Steps that were to be made; None where nothing says it for certain.

        Epochs are logged with two digits: each pair leaves an interval for the steps of an epoch, and
        all of them together mostly one whole number.
        """
        asked, epochs = self.arguments.get("max_steps"), self.arguments.get("num_train_epochs")
        for most in (self.most, asked):
            if _whole(most) and most > 0:
                return most
        pairs = [(step, epoch) for step, epoch in self.epochs if step > 0 and epoch > 0.01]
        if not pairs or not isinstance(epochs, int | float) or not 0 < epochs < 1e6:
            return None
        low = math.ceil(max(step / (epoch + 0.005) for step, epoch in pairs))
        high = math.floor(min(step / (epoch - 0.005) for step, epoch in pairs))
        return math.ceil(epochs * low) if low == high else None


def read_logs(files: Sequence[Path]) -> Logged:
    """What a run's event files say, the later ones after the earlier."""
    found = Logged()
    for file in files:
        known_by = identity(file)
        if known_by is not None:
            found = found.and_then(_of_events(file, known_by))
    return found


def read_state(path: Path) -> tuple[Logged, int | None]:
    """What a `trainer_state.json` says, and the batch size if it does."""
    known_by = identity(path)
    try:
        return _of_state(path, known_by) if known_by is not None else (Logged(), None)
    except (OSError, ValueError):
        return Logged(), None


def state_of(logged: Logged, written: float) -> tuple[str, str | None]:
    """How such a run ended, and why one thinks so; `written` is when something was last added to it (Unix time)."""
    total, step = logged.total, logged.step
    at = f"step {step} of {total}" if total else f"step {step}"
    if total is not None and step >= total:
        return "finished", None
    if logged.ended:
        return ("finished", None) if total is None else ("stopped", f"ended at {at}")
    if abs(time.time() - written) < _RECENT_SECONDS:  # a clock that was set back makes it no younger
        return "unknown", f"{at} was reached, and it may still be going on"
    if total is not None:
        return "interrupted", f"the last one logged is {at}"
    return "unknown", f"{at} was reached; nothing says how many there were to be"


@lru_cache(maxsize=1024)
def _of_events(path: Path, known_by: tuple[int, int, int]) -> Logged:
    """What the beginning and the end of the file of that inode, size and time say."""
    try:
        with open_file(path, MOST_LOG_BYTES) as file:
            head = file.read(_HEAD_BYTES)
            rest = max(len(head), known_by[1] - _TAIL_BYTES)
            file.seek(rest)
            tail = file.read(_TAIL_BYTES)
    except OSError:
        return Logged()
    first = read_events(head)
    # Cut out of the middle, its first bytes are no record; the next sound one is found.
    parts = [first, read_events(head + tail, first.end)] if rest == len(head) else [first, read_events(tail)]
    step, epochs, ended = 0, list[tuple[int, float]](), False
    for part in parts:
        for tag, scalars in part.tags.items():
            name = tag.rpartition("/")[2]
            sound = [pair for pair in zip(scalars.steps, scalars.values, strict=True) if 0 <= pair[0] <= MOST_STEP]
            if not sound:
                continue
            step = max(step, max(at for at, _ in sound))
            ended |= name == _RUNTIME
            if name == "epoch":
                epochs += sound
    return Logged(
        _object(first.texts.get(_ARGUMENTS)), _object(first.texts.get(_MODEL)), step,
        tuple(pair for pair in epochs if math.isfinite(pair[1])), ended,
    )  # fmt: skip


@lru_cache(maxsize=256)
def _of_state(path: Path, known_by: tuple[int, int, int]) -> tuple[Logged, int | None]:
    read = read_object(path, MOST_STATE_BYTES)
    rows = read.get("log_history")
    history = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    most: Any = read.get("max_steps")
    steps = [row.get(name) for row in (read, *history) for name in ("global_step", "step")]
    step = max(filter(_whole, steps), default=0)
    batch: Any = read.get("train_batch_size")
    ended = any(_RUNTIME in row for row in history)
    return Logged({}, {}, step, (), ended, most if _whole(most) else None), batch if _whole(batch) else None


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_STEP


def _object(text: str | None) -> dict[str, Any]:
    """The JSON object in a text; the Trainer's callback may put it between marks of code."""
    if text is None:
        return {}
    begin, end = text.find("{"), text.rfind("}")
    try:
        read = parse(text[begin : end + 1])
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def written(files: Sequence[Path]) -> float:
    """When the newest of the files was last written, as Unix time; 0 if there is none."""
    times = []
    for file in files:
        try:
            times.append(os.stat(file).st_mtime)
        except OSError:
            continue
    return max(times, default=0.0)
