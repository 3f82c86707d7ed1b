"""Runs that are not ours: Hugging Face and TRL output directories, and bare TensorBoard logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpo.families import CAUSAL, SEQ2SEQ, architecture_of, family_key
from dpo.runs.cursor import EventMetrics, LineMetrics, MeasureReader, StateMetrics
from dpo.runs.files import MOST_STATE_BYTES, checkpoint_step, read_object
from dpo.runs.metrics import Metrics
from dpo.runs.record import METRICS, RUN
from dpo.runs.trainer_logs import Logged, read_logs, read_state, state_of, written

EVENTS, STATE = "*tfevents*", "trainer_state.json"
# Where Trainers put their logs below an output directory.
_LOG_FOLDERS = ("runs", "logs", "tensorboard", "tb_logs")
_OUTPUTS = (STATE, "training_args.bin", "config.json", "adapter_config.json")
_DATED = re.compile(r"[A-Z][a-z]{2}\d{2}_\d{2}-\d{2}-\d{2}_")
_SEQ2SEQ = re.compile(r"t5|bart", re.IGNORECASE)
_CAUSAL = re.compile(r"gpt|llama|mistral|qwen|pythia|gemma", re.IGNORECASE)


def newest_state(path: Path) -> Path | None:
    """The `trainer_state.json` that knows most: the directory's own, else the newest checkpoint's."""
    direct = path / STATE
    if direct.is_file():
        return direct
    found = [
        (step, state)
        for state in path.glob(f"checkpoint-*/{STATE}")
        if (step := checkpoint_step(state.parent)) is not None and state.is_file()
    ]
    return max(found)[1] if found else None


def event_files(path: Path) -> list[Path]:
    """TensorBoard's event files of a run, oldest first."""
    if path.is_file():
        return [path]
    found = list(path.glob(EVENTS))
    if any((path / name).exists() for name in _OUTPUTS) or any(path.glob("checkpoint-*")):
        # Elsewhere a folder of logs may hold several runs, which are found one by one.
        for folder in _LOG_FOLDERS:
            found += (path / folder).glob(EVENTS)
            found += (path / folder).glob(f"*/{EVENTS}")
    if not found:
        # TensorBoard's own habit: one folder for train, one for validation.
        found = [file for name in ("train", "eval", "validation") for file in (path / name).glob(EVENTS)]
    return sorted((file for file in set(found) if file.is_file()), key=lambda file: (file.name, str(file)))


def measure_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a run's measures, in the order of their weight; they change as a run goes on.

    A directory with `run.json` is read from `metrics.jsonl` alone, whether its first row is written
    yet or not: the event files beside it lack step 0 and the examples, and a resume begins another one.
    """
    if (path / RUN).is_file() or (path / METRICS).is_file():
        return (path / METRICS,)
    state = newest_state(path) if path.is_dir() else None
    return (*([] if state is None else [state]), *event_files(path))


def source(files: Sequence[Path]) -> MeasureReader:
    """What reads a run's `measure_files`."""
    first = files[0] if files else None
    if first is None:
        return Nothing()
    if first.name == METRICS:
        return LineMetrics(first)
    if first.name == STATE:
        return StateMetrics(first, EventMetrics(files[1:]) if len(files) > 1 else None)
    return EventMetrics(files)


class Nothing:
    """A run without any measures yet."""

    def read(self) -> Metrics:
        """No measures."""
        return Metrics()


def describe(path: Path) -> dict[str, Any] | None:
    """What is known of a run that is not ours, in the words of `run.json`; None if there is no run."""
    state = newest_state(path) if path.is_dir() else None
    files = event_files(path)
    if state is None and not files:
        return None
    events = read_logs(files)
    saved, batch = read_state(state) if state is not None else (Logged(), None)
    logged = Logged(
        events.arguments, events.model, max(events.step, saved.step), events.epochs, events.ended or saved.ended,
        saved.most,
    )  # fmt: skip
    newest = written([*files, *([state] if state else [])])
    ended, reason = state_of(logged, newest)
    config = _object(state.parent / "config.json" if state else path / "config.json") or _object(path / "config.json")
    family = family_key(config) if config else logged.family
    architecture = architecture_of(config or logged.model)
    progress = {"step": logged.step, "max_steps": logged.total}
    settings = ({"batch_size": batch} if batch else {}) | logged.settings
    known = {"config": settings, "policy": {"architecture": architecture} if architecture else {}}
    return {
        "name": _name(path), "kind": "dpo", "family": family or family_of(path), "state": ended, "reason": reason,
        "foreign": True, "progress": {name: value for name, value in progress.items() if value},
        "created": datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds"),
    } | {name: part for name, part in known.items() if part}  # fmt: skip


def _name(path: Path) -> str:
    """The folder's name; for `<name>/runs/<date>_<host>`, which a Trainer writes, the output directory's."""
    folder = path.parent if path.is_file() else path
    if folder.parent.name in _LOG_FOLDERS and _DATED.match(folder.name):
        return folder.parent.parent.name
    return folder.name


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where it is missing or damaged."""
    try:
        return read_object(path, MOST_STATE_BYTES)
    except (OSError, ValueError):
        return {}


def family_of(path: Path) -> str | None:
    """A guess by the names of the folders, where no file says it."""
    for name in (path.name, *(parent.name for parent in list(path.parents)[:3])):
        if _SEQ2SEQ.search(name):
            return SEQ2SEQ.key
        if _CAUSAL.search(name):
            return CAUSAL.key
    return None
