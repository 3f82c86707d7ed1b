"""Reading a run back: ours, and any Hugging Face or TRL output directory."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dpo.errors import RunError
from dpo.runs.record import METRICS, RUN, SAMPLES, read_json, read_lines


@dataclass(frozen=True)
class Sample:
    """What policy and reference answered to a probe prompt at a step."""

    step: int
    index: int
    prompt: str
    policy: str
    reference: str | None = None


@dataclass(frozen=True)
class Metrics:
    """Rows of measures as columns.

    `columns["step"]` is ascending; a measure that a row lacks is None there.
    """

    columns: dict[str, list[float | None]] = field(default_factory=dict)

    @classmethod
    def of_rows(cls, rows: list[dict[str, Any]]) -> Metrics:
        """Columns of numbers; other values are left out, and the last row of a step counts."""
        by_step: dict[float, dict[str, Any]] = {}
        for row in rows:
            step = row.get("step")
            if isinstance(step, int | float):
                by_step[step] = by_step.get(step, {}) | row
        ordered = [by_step[step] for step in sorted(by_step)]
        names = list(dict.fromkeys(name for row in ordered for name in row))
        return cls({name: [_number(row.get(name)) for row in ordered] for name in names})

    @property
    def steps(self) -> list[int]:
        """Every logged step."""
        return [int(step) for step in self.columns.get("step", []) if step is not None]

    def keys(self) -> list[str]:
        """Names of the measures that have at least one value."""
        return [name for name, values in self.columns.items() if any(value is not None for value in values)]

    def series(self, key: str, x: str = "step") -> tuple[list[float], list[float]]:
        """The points at which both `x` and `key` exist."""
        pairs = zip(self.columns.get(x, []), self.columns.get(key, []), strict=False)
        points = [(a, b) for a, b in pairs if a is not None and b is not None]
        return [a for a, _ in points], [b for _, b in points]

    def last(self, key: str) -> float | None:
        """The newest value of a measure."""
        return next((value for value in reversed(self.columns.get(key, [])) if value is not None), None)


@dataclass(frozen=True)
class Run:
    """A run on disk.  `problem` says in one line what could not be read, if anything."""

    path: Path
    info: dict[str, Any]
    problem: str | None = None

    @property
    def name(self) -> str:
        """The directory's name, unless the run has one of its own."""
        return str(self.info.get("name") or self.path.name)

    @property
    def kind(self) -> str:
        """`dpo` or `sft`."""
        return str(self.info.get("kind") or "dpo")

    @property
    def family(self) -> str | None:
        """`t5` or `gpt2`; None if the record does not say."""
        family = self.info.get("family")
        return family if family in ("t5", "gpt2") else None

    @property
    def state(self) -> str:
        """`running`, `finished`, `stopped`, `failed`, or `interrupted` (its process is gone)."""
        state = str(self.info.get("state") or "finished")
        if state == "running" and self.info.get("host") == socket.gethostname() and not _alive(self.info.get("pid")):
            return "interrupted"
        return state

    @property
    def config(self) -> dict[str, Any]:
        """The resolved settings."""
        return dict(self.info.get("config") or {})

    @property
    def step_zero(self) -> dict[str, Any] | None:
        """The step-0 check, if there was one."""
        return self.info.get("step_zero")

    @property
    def progress(self) -> dict[str, Any]:
        """`step`, `max_steps`, `examples`, `seconds`."""
        return dict(self.info.get("progress") or {})

    @property
    def policy_path(self) -> Path | None:
        """Where the tuned policy is, if it was saved."""
        path = self.path / "policy"
        return path if path.is_dir() else None

    @property
    def checkpoints(self) -> list[tuple[int, Path]]:
        """Complete checkpoints, oldest first."""
        found = [
            (int(path.name.rpartition("-")[2]), path)
            for path in self.path.glob("checkpoint-*")
            if path.name.rpartition("-")[2].isdigit() and (path / "trainer_state.json").is_file()
        ]
        return sorted(found)

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        if (self.path / METRICS).is_file():
            return read_lines(self.path / METRICS)
        return _foreign_rows(self.path)

    def metrics(self) -> Metrics:
        """The measures as far as they are good."""
        return Metrics.of_rows(self._rows)

    def samples(self) -> list[Sample]:
        """Probe answers in the order they were written."""
        path = self.path / SAMPLES
        if not path.is_file():
            return []
        return [
            Sample(int(row["step"]), int(row.get("index", 0)), row["prompt"], row["policy"], row.get("reference"))
            for row in read_lines(path)
            if {"step", "prompt", "policy"} <= row.keys()
        ]


def open_run(path: str | Path) -> Run:
    """The run in a directory: ours, or a Hugging Face output directory with a `trainer_state.json`.

    >>> from dpo.runs import BUNDLED_RUNS
    >>> run = open_run(BUNDLED_RUNS / "Llama-3-gpt2-dpo")
    >>> round(run.metrics().columns["loss"][0], 4)
    0.6931

    Raises:
        RunError: there is no run.
    """
    path = Path(path)
    if (path / RUN).is_file():
        return Run(path, read_json(path / RUN))
    state = _newest_state(path)
    if state is None:
        raise RunError(f"{path.absolute()} holds no run (no {RUN}, no trainer_state.json): give a run's directory")
    return Run(path, _foreign_info(path, state))


def summarise(run: Run) -> dict[str, Any]:
    """What a list of runs shows of one."""
    metrics = run.metrics()

    def newest(name: str) -> float | None:
        held_out = metrics.last(f"eval_{name}")
        return held_out if held_out is not None else metrics.last(name)

    return {
        "name": run.name,
        "kind": run.kind,
        "family": run.family,
        "state": run.state,
        "step": metrics.steps[-1] if metrics.steps else 0,
        "loss": newest("loss"),
        "margin": newest("rewards/margins"),
        "accuracy": newest("rewards/accuracies"),
        "path": str(run.path),
    }


def _newest_state(path: Path) -> Path | None:
    direct = path / "trainer_state.json"
    found = [direct] if direct.is_file() else []
    found += [p for p in path.glob("checkpoint-*/trainer_state.json") if p.parent.name[11:].isdigit()]
    return max(found, key=lambda p: int(p.parent.name[11:]) if p != direct else 1 << 60) if found else None


def _foreign_info(path: Path, state: Path) -> dict[str, Any]:
    config_path = state.parent / "config.json"
    family = None
    if config_path.is_file():
        try:
            config = json.loads(config_path.read_text(encoding="utf-8"))
            family = "t5" if config.get("is_encoder_decoder") else "gpt2"
        except (OSError, ValueError):
            family = None
    return {"name": path.name, "kind": "dpo", "family": family, "state": "finished"}


def _foreign_rows(path: Path) -> list[dict[str, Any]]:
    state = _newest_state(path)
    if state is None:
        return []
    try:
        history = json.loads(state.read_text(encoding="utf-8")).get("log_history", [])
    except (OSError, ValueError):
        return []
    return [row for row in history if isinstance(row, dict) and "train_runtime" not in row]


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
