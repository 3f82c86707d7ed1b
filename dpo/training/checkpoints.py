"""Saving so that nothing is ever half written, and finding what a resume can start from."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import Trainer, TrainerState
from transformers.trainer_pt_utils import nested_gather, safe_globals

from dpo.errors import RunError, StorageError, first_line
from dpo.files import flush, flush_folder
from dpo.policies.loading import save_tokenizer
from dpo.runs import manifest

STAGING = ".saving"
ROWS = "rows"  # the folder in a checkpoint with the rows of measures and answers up to it
_SUMS = "Sums"  # in trainer_state.json, beside what callbacks keep there
_WEIGHTS = ("model.safetensors", "adapter_model.safetensors", "model.safetensors.index.json")
# PyTorch has no exception of its own for a disk that is full.
_WRITE_FAILED = ("PytorchStreamWriter", "inline_container.cc")


@contextmanager
def staged(final: Path) -> Iterator[Path]:
    """A directory to write into that becomes `final` when the block ends well, and vanishes if not.

    Raises:
        StorageError: writing failed (disk full, no permission); what was there before is untouched.
    """
    staging = final.parent / STAGING / final.name
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        flush(staging)
        previous = final.parent / STAGING / f"{final.name}.previous"
        shutil.rmtree(previous, ignore_errors=True)
        if final.exists():
            os.replace(final, previous)
        os.replace(staging, final)
        flush_folder(final.parent)
        shutil.rmtree(final.parent / STAGING, ignore_errors=True)
    except Exception as error:
        shutil.rmtree(staging, ignore_errors=True)
        # safetensors and torch.save raise types of their own when a write fails, not only OSError.
        if isinstance(error, OSError | SafetensorError) or any(sign in str(error) for sign in _WRITE_FAILED):
            free = shutil.disk_usage(final.parent).free // 2**20
            raise StorageError(
                f"{final.name} could not be saved in {final.parent} ({first_line(error)}; {free} MiB free): make room, "
                f"then go on with --resume {final.parent}"
            ) from error
        raise


def tidy_staging(run: Path) -> None:
    """Remove what a process that was killed while saving left; what it had put aside comes back."""
    for previous in (run / STAGING).glob("*.previous"):
        final = run / previous.name.removesuffix(".previous")
        if not final.exists():
            os.replace(previous, final)
    shutil.rmtree(run / STAGING, ignore_errors=True)


def copy_tree(source: Path, target: Path) -> None:
    """The files of `source` also in `target`, as second names of the same bytes where the disk allows it."""
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """The checkpoints of a run by step, oldest first, whole or not."""
    found = []
    for path in run.glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-([0-9]{1,18})", path.name)
        if match and path.is_dir():
            found.append((int(match[1]), path))
    return sorted(found)


def newest_whole(run: Path, settings: Mapping[str, Any], say: Callable[[str], None]) -> tuple[int, Path | None]:
    """The newest checkpoint that is as it was saved, and its step; step 0 and None if there is none at all.

    Args:
        settings: those of the record; a checkpoint was saved with the same ones.
        say: gets a line for each newer one that is passed over, with the reason.

    Raises:
        RunError: there are checkpoints and none is whole, or the record's settings are not those they were saved with.
    """
    passed = []
    for step, path in reversed(checkpoints(run)):
        sealed = (path / manifest.MANIFEST).exists()
        problem = manifest.fault(path) if sealed else _load_fault(path)
        if problem is not None:
            passed.append(f"{path.name} ({problem})")
            continue
        if passed:
            say(f"Passed over {', '.join(passed)}: going on from {path.name}")
        if not sealed:
            say(f"{path.name} is of an older version, without a manifest: its files load, but cannot be checked")
        before = manifest.facts(path).get("settings")
        if isinstance(before, dict):
            differ = [name for name in before.keys() | settings.keys() if before.get(name) != settings.get(name)]
            if differ:
                raise RunError(
                    f"{run / 'run.json'} has other settings than {path.name} was saved with "
                    f"({', '.join(sorted(differ)[:4])}): restore it, or start a new run"
                )
        return step, path
    if passed:
        raise RunError(
            f"No checkpoint of {run} is whole: {', '.join(passed)}. Restore one, or remove them to train from the "
            "first update again"
        )
    return 0, None


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make the numbers: all but where the run lies."""
    return {name: value for name, value in config.items() if name not in ("output_dir", "resume")}


def _load_fault(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint that has no manifest, as far as loading its files tells."""
    try:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if not isinstance(state.global_step, int):
            return "trainer_state.json is damaged"
    except Exception as error:
        return f"trainer_state.json cannot be read ({type(error).__name__})"
    if any(path.is_dir() for path in checkpoint.iterdir()):
        return None  # sharded over several processes: whoever saved it so reads it so
    if not any((checkpoint / name).is_file() for name in _WEIGHTS):
        return "its weights are missing"
    states = sorted(checkpoint.glob("rng_state*.pth")) or [checkpoint / "rng_state.pth"]
    pickles = [checkpoint / "optimizer.pt", checkpoint / "scheduler.pt", *states]
    missing = next((path for path in pickles if not path.is_file()), None)
    if missing is not None:
        return f"{missing.name} is missing"
    for path in [*sorted(checkpoint.glob("*.safetensors")), *pickles]:
        try:
            _load(path)
        except Exception as error:
            return f"{path.name} cannot be read ({type(error).__name__})"
    return None


def _load(path: Path) -> None:
    """Read all of a file of tensors, and forget it."""
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 (not a mapping)
                tensors.get_tensor(key)
        return
    with safe_globals():
        torch.load(path, map_location="cpu", weights_only=True)


@dataclass(frozen=True)
class Checkpointing:
    """How a training's checkpoints are saved.

    Attributes:
        most: how many are kept, the newest ones.
        settings: written into each; a resume compares them with the record's.
        accompany: adds files to one before it counts; called with its directory, in the first process.
    """

    most: int = 2
    settings: Mapping[str, Any] = field(default_factory=dict)
    accompany: Callable[[Path], None] = lambda directory: None


class StagedCheckpoints(Trainer):
    """A `Trainer` whose checkpoints appear whole or not at all, the oldest ones giving way.

    Mixed in before the trainer proper.  A checkpoint holds also what the Trainer's own lacks, the sums since the
    last logged step, and what `checkpointing` adds, which may be replaced before `train`.
    """

    checkpointing = Checkpointing()
    _staging: str | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return self._staging or str(super()._get_output_dir(trial))

    def _run_epoch(self, *args: Any, resume_from_checkpoint: str | None = None, **kwargs: Any) -> None:
        # A run that died after its last update has nothing to learn: the Trainer would make one update more.
        if self.control.should_training_stop or self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        sums = self.state.stateful_callbacks.pop(_SUMS, None)
        if sums is not None and resume_from_checkpoint is not None:
            self.restore_sums(sums)
            self.restore_beside(Path(resume_from_checkpoint))
        super()._run_epoch(*args, resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def sums(self) -> dict[str, Any]:
        """What is summed up for the next logged row; every process calls it."""
        loss = nested_gather(self._tr_loss, self.args.parallel_mode).mean().item()
        return {"loss": loss, "logged": self._globalstep_last_logged}

    def restore_sums(self, sums: dict[str, Any]) -> None:
        """Go on summing from what `sums` returned when the checkpoint was saved."""
        self._tr_loss += float(sums["loss"])
        self._globalstep_last_logged = int(sums["logged"])

    def save_beside(self, checkpoint: Path) -> None:
        """Write what else a trainer needs to go on; the first process calls it."""

    def restore_beside(self, checkpoint: Path) -> None:
        """Read what `save_beside` wrote; every process calls it."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run = Path(str(self.args.output_dir))
        step = self.state.global_step
        final = run / f"checkpoint-{step}"
        self.state.stateful_callbacks[_SUMS] = self.sums()
        # Every process writes its part (random states, shards) into the directory that the first one opens.
        first = self.is_world_process_zero()
        with staged(final) if first else contextlib.nullcontext(run / STAGING / final.name) as directory:
            self.accelerator.wait_for_everyone()
            # The trainer appends checkpoint-N itself, so it is given the parent.
            self._staging = str(directory.parent)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self._staging = None
                del self.state.stateful_callbacks[_SUMS]
            self.accelerator.wait_for_everyone()
            if first:
                self.save_beside(directory)
                self.checkpointing.accompany(directory)
                manifest.seal(directory, step=step, settings=dict(self.checkpointing.settings))
        if first:
            # Those of later steps are what a resume passed over; they are replaced when their turn comes.
            for _, old in [found for found in checkpoints(run) if found[0] <= step][: -self.checkpointing.most]:
                shutil.rmtree(old, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        directory = Path(output_dir or str(self.args.output_dir))
        # A pickle that nothing here reads; the run's settings are in run.json.
        (directory / "training_args.bin").unlink(missing_ok=True)
        tokenizer: Any = self.processing_class
        if self.args.should_save:
            save_tokenizer(tokenizer, directory)


def say(line: str) -> None:
    """One line on standard error."""
    print(f"dpo: {line}", file=sys.stderr, flush=True)
