"""What a training holds from its first file to its last: the directory, the stop signal, the record."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib.metadata
import os
import platform
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import transformers

from dpo.errors import ConfigError, DpoError, RunError, StorageError
from dpo.policies.loading import Policy
from dpo.preferences import Preferences
from dpo.processes import process_count, process_index
from dpo.runs import Run, RunRecord, SilentRecord
from dpo.training.best_policy import restore_best
from dpo.training.checkpoints import ROWS, newest_whole, say, settings_of
from dpo.training.config import CommonConfig, RunConfig
from dpo.training.finite_checks import memory_explained
from dpo.training.pairs import load_pairs
from dpo.training.precision import check_device
from dpo.training.preconditions import (
    SCRATCH,
    check_launcher,
    check_trackers,
    claim,
    reference_kind,
    refuse_existing,
    release,
    with_resume,
)
from dpo.training.settings import COMMANDS
from dpo.training.stopping import StopOnSignal
from dpo.training.webhook import address, tell_end

Config = TypeVar("Config", bound=RunConfig)
_VERSIONED = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


@dataclass
class Context(Generic[Config]):
    """One training's directory and everything that belongs to it.

    Attributes:
        config: the settings, those of the run that is resumed if there is one.
        main: whether this process writes the record; of several that train together one does.
        scratch: a directory for tokenised data, removed at the end.
        resumed: the run to go on with, as it was found.
        checkpoint, step: what the training goes on from; None and 0 if from the start.
        record: opened by `open_record`.
    """

    config: Config
    main: bool
    directory: Path
    scratch: Path
    stop: StopOnSignal
    resumed: Run | None = None
    checkpoint: Path | None = None
    step: int = 0
    record: RunRecord | None = None

    @property
    def again(self) -> str:
        """The command that goes on with this run."""
        return f"dpo {COMMANDS[self.config.kind]} --resume {self.directory}"

    def load_pairs(self) -> Preferences:
        """The pairs that the settings name.

        Raises:
            DataError: see `load_preferences`.
            RunError: they are not those with which the run began.
        """
        assert isinstance(self.config, CommonConfig)
        pairs = load_pairs(self.config)
        self.check_fingerprint(self.config.dataset, pairs.info["fingerprint"])
        return pairs

    def check_fingerprint(self, data: str, fingerprint: str) -> None:
        """Make sure that a run goes on with the data with which it began.

        Raises:
            RunError: `data` has another fingerprint now.
        """
        before = self.resumed.info.get("dataset", {}).get("fingerprint") if self.resumed is not None else None
        if self.resumed is not None and before != fingerprint:
            raise RunError(
                f"{data} has changed since {self.directory} began (fingerprint {before}, now {fingerprint}): "
                "restore it, or start a new run"
            )

    def open_record(self, config: RunConfig, policy: Policy, dataset: dict[str, Any], precision: str) -> RunRecord:
        """Begin the record, or go on with it from the checkpoint; `config` has every default filled in."""
        if not self.main:
            self.record = SilentRecord(self.directory, self.resumed.info if self.resumed is not None else {})
        elif self.resumed is not None:
            # Step 0 is measured again when there is no checkpoint to go on from.
            rows = self.checkpoint / ROWS if self.checkpoint is not None else None
            self.record = RunRecord.resume(
                self.directory,
                self.step if self.checkpoint is not None else -1,
                rows if rows is not None and rows.is_dir() else None,
            )
            restore_best(self.record, self.checkpoint)
            self.record.update(pid=os.getpid(), host=socket.gethostname())
        else:
            self.record = RunRecord.create(self.directory, self._described(config, policy, dataset, precision))
        return self.record

    def _described(self, config: RunConfig, policy: Policy, dataset: dict[str, Any], precision: str) -> dict[str, Any]:
        network = policy.network
        return {
            "name": self.directory.name,
            "kind": self.config.kind,
            "family": policy.family.key,
            "state": "running",
            "reason": None,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "processes": process_count(),
            "config": dataclasses.asdict(config),
            "versions": {"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in _VERSIONED},
            "dataset": dataset,
            "policy": ({"model": config.start} if config.start else {})
            | {
                "architecture": type(network).__name__,
                "parameters": network.num_parameters(),
                "trainable": sum(p.numel() for p in policy.model.parameters() if p.requires_grad),
                "vocabulary": len(policy.tokenizer),
                "added_tokens": len(policy.added_token_ids),
                "precision": precision,
            },
            "reference": reference_kind(policy, config),
            "step_zero": None,
            "progress": {"step": 0, "max_steps": None, "examples": 0, "seconds": 0.0},
        }

    @property
    def running(self) -> bool:
        """Whether the record is open and does not yet say how the training ended."""
        return self.record is not None and self.record.info.get("state") == "running"

    def note_end(self, state: str, reason: str) -> None:
        """Say in the record, if there is one, how and why the training ended."""
        # The disk that failed the run may not hold the reason either; the error itself is raised.
        with contextlib.suppress(StorageError):
            if self.record is not None and self.running:
                self.record.update(state=state, reason=reason)


@contextlib.contextmanager
def opened(config: Config) -> Iterator[Context[Config]]:
    """Hold the directory of a training for as long as the block runs; what ends it early is in the record.

    Raises:
        DpoError: anything the user can mend, in one line.
    """
    transformers.logging.set_verbosity_error()
    config.validate()
    check_trackers(config.report_to)
    check_device(config)
    check_launcher()
    url = address()
    config, resumed = with_resume(config)
    if process_count() > 1 and not config.output_dir:
        raise ConfigError("Several processes need one directory by name: add --output-dir DIR")
    name = f"{Path(config.start or config.kind).name}-{config.kind}-{datetime.now():%Y%m%d-%H%M%S}"
    directory = Path(config.output_dir or Path("runs") / name)
    config = dataclasses.replace(config, output_dir=str(directory))
    main = process_index() == 0
    with contextlib.ExitStack() as stack:
        if main:
            if resumed is None:
                refuse_existing(directory, config)
            stack.callback(release, claim(directory), directory)
        # Beside the run rather than in the system's temporary files: what a kill leaves there, a resume removes.
        where: dict[str, Any] = {"dir": directory, "prefix": SCRATCH} if main else {"prefix": "dpo-"}
        stop = StopOnSignal()
        context = Context(config, main, directory, directory, stop, resumed)
        if main and url is not None:
            stack.callback(lambda: tell_end(url, context.record) if context.record is not None else None)
        stack.enter_context(_end_noted(context))
        stack.enter_context(stop.listening())
        stack.enter_context(memory_explained())
        context.scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True, **where)))
        if resumed is not None:
            settings = settings_of(resumed.config)
            context.step, context.checkpoint = newest_whole(directory, settings, say if main else lambda line: None)
        yield context


@contextlib.contextmanager
def _end_noted(context: Context[Any]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        if context.record is not None and not context.running:
            return  # it had come to its end
        context.note_end("stopped", "stopped at once by the user")
        if context.record is None and context.resumed is None:
            raise RunError("Stopped before the first update: nothing was written") from error
        raise RunError(f"Stopped at once; go on with: {context.again}") from error
    except DpoError as error:
        context.note_end("failed", str(error))
        raise
    except BaseException as error:
        context.note_end("failed", f"{type(error).__name__}: {error}".splitlines()[0])
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"The disk is full ({error}): make room, then "
                + (f"go on with: {context.again}" if context.record is not None else "start again")
            ) from error
        raise
