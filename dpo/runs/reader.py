"""Reading a run back: ours, and any Hugging Face or TRL output directory."""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from dpo.errors import RunError
from dpo.families import architecture_label, facts_of
from dpo.notebook import NotebookView, PlotLine, Sheet
from dpo.processes import living, lock_is_held
from dpo.runs.cursor import LineMetrics, Lines, MeasureReader
from dpo.runs.files import Identity, checkpoint_step, identity, one_line, read_object, reason, whole_characters
from dpo.runs.foreign import STATE, describe, measure_files, source
from dpo.runs.manifest import MANIFEST, fault
from dpo.runs.metrics import Metrics
from dpo.runs.newest import newest
from dpo.runs.record import AUDIT, EVALUATION, EVALUATIONS, HARDWARE, LOCK, NOTE, RUN, SAMPLES, read_json
from dpo.runs.schema import fit_audit, fit_frontiers, fit_run, fit_sample, left_out

_MOST_EVALUATIONS = 50
MOST_TAGS, LONGEST_TAG = 12, 40
_DRAWN = {"loss": "loss", "eval_loss": "held-out loss", "rewards/chosen": "chosen", "rewards/rejected": "rejected"}


@dataclass(frozen=True)
class Sample:
    """What policy and reference answered to a probe prompt at a step."""

    step: int
    index: int
    prompt: str
    policy: str
    reference: str | None = None


@dataclass(frozen=True)
class Run(NotebookView):
    """A run on disk, which shows its curves in a notebook.

    `info` is what its record says as far as it fits (see `dpo.runs.schema`); `problem` says in one
    line what of the record could not be read, if anything.
    """

    path: Path
    info: dict[str, Any]
    problem: str | None = None

    def sheet(self) -> Sheet:
        """Its logged measures by step, as a notebook shows them."""
        metrics = self.metrics()
        lines = [PlotLine(name, *metrics.series(key)) for key, name in _DRAWN.items()]
        columns = {key: metrics.columns[key] for key in metrics.keys()}  # noqa: SIM118
        return Sheet(
            f"{self.name}, {self.state}", columns, [line for line in lines if line.y], "step", "loss and rewards"
        )

    @property
    def damaged(self) -> bool:
        """Whether nothing at all is known of it: its record cannot be read."""
        return self.info.get("state") == "damaged"

    @property
    def name(self) -> str:
        """The directory's name, unless the run has one of its own."""
        return str(self.info.get("name") or one_line(self.path.name) or self.path)

    @property
    def kind(self) -> str:
        """`dpo` or `sft`."""
        return str(self.info.get("kind") or "dpo")

    @property
    def family(self) -> str | None:
        """`seq2seq` or `causal`; None if the record does not say."""
        facts = facts_of(self.info.get("family"))
        return None if facts is None else facts.key

    @property
    def architecture(self) -> str | None:
        """The class of its model, such as `BartForConditionalGeneration`; None if the record does not say."""
        return (self.info.get("policy") or {}).get("architecture") or None

    @property
    def label(self) -> str | None:
        """What people call its model: by its architecture (BART, Llama), else after its family's best known one."""
        facts = facts_of(self.info.get("family"))
        if self.architecture:
            return architecture_label(self.architecture)
        return None if facts is None else facts.label

    @property
    def state(self) -> str:
        """How far it is.

        `running`, `finished`, `stopped`, `failed`, `interrupted` (its process is gone), `unknown`
        (another tool's, or the record does not say) or `damaged` (the record cannot be read).
        """
        state = str(self.info.get("state") or "finished")
        return "interrupted" if state == "running" and not self._trains() else state

    def _trains(self) -> bool:
        """A training holds its directory's lock as long as it lives, whatever its number or the clock says."""
        held = lock_is_held(self.path / LOCK)
        if held or self.info.get("host") != socket.gethostname():  # elsewhere nobody here can tell that it is gone
            return True
        pid, born, boot = (self.info.get(name) for name in ("pid", "born", "boot"))
        return held is None and pid is not None and living(pid, born, boot) is not None

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
        policy = self.info.get("policy")
        if isinstance(policy, dict) and isinstance(policy.get("step"), int):
            return int(policy["step"])
        best, step = self.info.get("best"), self.progress.get("step")
        if isinstance(best, dict) and isinstance(best.get("step"), int):
            return int(best["step"])
        return step if isinstance(step, int) else next(iter(self.metrics().steps[-1:]), 0)

    @property
    def checkpoints(self) -> list[tuple[int, Path]]:
        """Complete checkpoints, oldest first: all files of their manifest are there in their sizes.

        Those of other tools and of earlier versions have no manifest: with a `trainer_state.json` they count.
        """
        found = ((checkpoint_step(path), path) for path in self.path.glob("checkpoint-*"))
        return sorted((step, path) for step, path in found if step is not None and _is_whole(path))

    @cached_property
    def _samples(self) -> Lines[Sample]:
        return Lines(self.path / SAMPLES, _sample)

    @cached_property
    def _hardware(self) -> LineMetrics:
        return LineMetrics(self.path / HARDWARE)

    def with_record(self, other: Run) -> Run:
        """The same run with another `run.json`; what was read of its measures stays."""
        run = replace(self, info=other.info, problem=other.problem)
        for name in ("_source", "_samples", "_hardware"):
            if name in self.__dict__:
                run.__dict__[name] = self.__dict__[name]
        return run

    def metrics(self) -> Metrics:
        """The measures as far as they are good; a later call reads only what was added since."""
        files = measure_files(self.path)
        known: tuple[tuple[Path, ...], MeasureReader] | None = self.__dict__.get("_source")
        if known is None or known[0] != files:  # it was opened before its first row, or goes on in another file
            known = self.__dict__["_source"] = (files, source(files))
        return known[1].read()

    def samples(self) -> list[Sample]:
        """Probe answers in the order they were written."""
        return self._samples.read()

    def hardware(self) -> Metrics:
        """Utilisation, memory, power and energy by step, if they were logged."""
        return self._hardware.read()

    def note(self) -> tuple[str, str | None]:
        """What someone noted about the run (empty if nobody did), and what of that could not be read."""
        read, problem = self._beside(NOTE)
        note = read.get("note", "")
        if not isinstance(note, str):
            return "", f"{NOTE} cannot be read (its note is no text)"
        return whole_characters(note), problem

    def marks(self) -> dict[str, Any]:
        """What someone put beside the run, as far as it fits: `note`, `tags` (texts) and `pinned`."""
        read, tags = self._beside(NOTE)[0], []
        if isinstance(read.get("tags"), list):
            tags = [whole_characters(tag)[:LONGEST_TAG] for tag in read["tags"][:MOST_TAGS] if isinstance(tag, str)]
        return {"note": self.note()[0], "tags": tags, "pinned": read.get("pinned") is True}

    def audit(self) -> tuple[dict[str, Any], str | None]:
        """The audit of the run's data (empty if there is none), and what of that could not be read."""
        read, problem = self._beside(AUDIT)
        fitted, problems = fit_audit(read)
        return (fitted, left_out(AUDIT, problems) or problem) if read else ({}, problem)

    def frontiers(self) -> list[dict[str, Any]]:
        """Of the evaluations in the run's directory, where a policy is past the hump (`fit_frontiers`)."""
        found: list[dict[str, Any]] = []
        for path in sorted(self.path.glob(f"{EVALUATIONS}/*/{EVALUATION}"))[:_MOST_EVALUATIONS]:
            try:
                found += fit_frontiers(read_object(path))
            except (OSError, ValueError):
                continue  # the evaluation's own page says so
        return found

    def _beside(self, name: str) -> tuple[dict[str, Any], str | None]:
        try:
            return read_object(self.path / name), None
        except FileNotFoundError:
            return {}, None
        except (OSError, ValueError) as error:
            return {}, f"{name} cannot be read ({reason(error)})"

    def problems(self) -> list[str]:
        """In a line each, what could not be read of the record and of the files beside it."""
        measures, readings = self.metrics().problems, self.hardware().problems
        self.samples()
        found = [self.problem, *measures, *self._samples.problems, *readings, self.note()[1], self.audit()[1]]
        return [problem for problem in found if problem]


def open_run(path: str | Path) -> Run:
    """The run in a directory: ours, any Hugging Face or TRL output directory, or TensorBoard event files.

    >>> from dpo.runs import BUNDLED_RUNS
    >>> run = open_run(BUNDLED_RUNS / "Llama-3-t5-dpo-high-rate")
    >>> round(run.metrics().columns["loss"][0], 4)
    0.6931

    Raises:
        RunError: there is no run.
    """
    path = Path(path)
    known_by = identity(path / RUN)
    if known_by is not None:
        # An unchanged record is not read again: a page asks for all of them every second.
        info, problem = _record(path, known_by)
        return Run(path, dict(info), problem)
    known = describe(path)
    if known is None:
        raise RunError(
            f"{path.absolute()} holds no run (no {RUN}, no trainer_state.json, no TensorBoard event file): "
            "give a run's directory"
        )
    return Run(path, known)


def summarise(run: Run) -> dict[str, Any]:
    """What a list of runs shows of one; `over` says whether its measures are of held-out or of training pairs."""
    metrics = run.metrics()
    reached = newest(metrics)
    return {
        "name": run.name,
        "kind": run.kind,
        "family": run.family,
        "architecture": run.architecture,
        "state": run.state,
        "step": metrics.steps[-1] if metrics.steps else 0,
        "loss": reached.loss,
        "margin": reached.margin,
        "accuracy": reached.accuracy,
        "over": reached.over,
        "path": str(run.path),
    }


def _is_whole(checkpoint: Path) -> bool:
    if not (checkpoint / STATE).is_file():
        return False
    return not (checkpoint / MANIFEST).exists() or fault(checkpoint, hashed=False) is None


@lru_cache(maxsize=16_384)  # ten thousand runs, and some
def _record(path: Path, known_by: Identity) -> tuple[dict[str, Any], str | None]:
    """What the `run.json` of that inode, size and time says, and what had to be left out of it."""
    info, problems = fit_run(read_json(path / RUN))
    return info, left_out(f"{one_line(str(path))}/{RUN}", problems)


def _sample(row: dict[str, Any]) -> Sample | None:
    made = fit_sample(row)
    return None if made is None else Sample(
        made["step"], made.get("index", 0), made["prompt"], made["policy"], made.get("reference")
    )  # fmt: skip
