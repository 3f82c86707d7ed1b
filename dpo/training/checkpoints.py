"""Saving so that nothing is ever half written, and finding what a resume can start from."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import Trainer

from dpo.errors import StorageError
from dpo.policies.loading import first_line, save_tokenizer

STAGING = ".saving"


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
        previous = final.parent / STAGING / f"{final.name}.previous"
        shutil.rmtree(previous, ignore_errors=True)
        if final.exists():
            os.replace(final, previous)
        os.replace(staging, final)
        shutil.rmtree(final.parent / STAGING, ignore_errors=True)
    except Exception as error:
        shutil.rmtree(staging, ignore_errors=True)
        # safetensors and torch.save raise types of their own when a write fails, not only OSError.
        if isinstance(error, OSError | SafetensorError) or "PytorchStreamWriter" in str(error):
            free = shutil.disk_usage(final.parent).free // 2**20
            raise StorageError(
                f"{final.name} could not be saved in {final.parent} ({first_line(error)}; {free} MiB free): make room, "
                f"then go on with --resume {final.parent}"
            ) from error
        raise


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Complete checkpoints of a run, oldest first."""
    found = []
    for path in run.glob("checkpoint-*"):
        number = path.name.rpartition("-")[2]
        if number.isdigit() and _complete(path):
            found.append((int(number), path))
    return sorted(found)


class StagedCheckpoints(Trainer):
    """A `Trainer` whose checkpoints appear whole or not at all, the oldest ones giving way.

    Mixed in before the trainer proper.
    """

    keep_checkpoints: int = 2
    _staging: str | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return self._staging or str(super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run = Path(str(self.args.output_dir))
        final = run / f"checkpoint-{self.state.global_step}"
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
            self.accelerator.wait_for_everyone()
        if first:
            for _, old in checkpoints(run)[: -self.keep_checkpoints]:
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


def _complete(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
