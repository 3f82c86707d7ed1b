"""Reading a run back: ours, and any Hugging Face or TRL output directory."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dpo.errors import RunError
from dpo.runs.cursor import LineMetrics, Lines, Source
from dpo.runs.foreign import describe, measure_files, source
from dpo.runs.metrics import Metrics
from dpo.runs.record import HARDWARE, RUN, SAMPLES, read_json


@dataclass(frozen=True)
class Sample:
    """What policy and reference answered to a probe prompt at a step."""

    step: int
    index: int
    prompt: str
    policy: str
    reference: str | None = None


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
    def policy_step(self) -> int:
        """The step at which `policy/` was taken: the best one where that was kept (`--keep-best`), else the last."""
        best, step = self.info.get("best"), self.progress.get("step")
        if isinstance(best, dict) and isinstance(best.get("step"), int):
            return int(best["step"])
        return step if isinstance(step, int) else next(iter(self.metrics().steps[-1:]), 0)

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
    def _samples(self) -> Lines:
        return Lines(self.path / SAMPLES)

    @cached_property
    def _hardware(self) -> LineMetrics:
        return LineMetrics(self.path / HARDWARE)

    def with_info(self, info: dict[str, Any]) -> Run:
        """The same run with another `run.json`; what was read of its measures stays."""
        run = replace(self, info=info)
        for name in ("_source", "_samples", "_hardware"):
            if name in self.__dict__:
                run.__dict__[name] = self.__dict__[name]
        return run

    def metrics(self) -> Metrics:
        """The measures as far as they are good; a later call reads only what was added since."""
        files = measure_files(self.path)
        known: tuple[tuple[Path, ...], Source] | None = self.__dict__.get("_source")
        if known is None or known[0] != files:  # it was opened before its first row, or goes on in another file
            known = self.__dict__["_source"] = (files, source(files))
        return known[1].read()

    def samples(self) -> list[Sample]:
        """Probe answers in the order they were written."""
        return [
            Sample(int(row["step"]), int(row.get("index", 0)), row["prompt"], row["policy"], row.get("reference"))
            for row in self._samples.read()
            if isinstance(row.get("step"), int) and {"prompt", "policy"} <= row.keys()
        ]

    def hardware(self) -> Metrics:
        """Utilisation, memory, power and energy by step, if they were logged."""
        return self._hardware.read()


def open_run(path: str | Path) -> Run:
    """The run in a directory: ours, any Hugging Face or TRL output directory, or TensorBoard event files.

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
    info = describe(path)
    if info is None:
        raise RunError(
            f"{path.absolute()} holds no run (no {RUN}, no trainer_state.json, no TensorBoard event file): "
            "give a run's directory"
        )
    return Run(path, info)


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
