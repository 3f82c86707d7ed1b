"""The steps that every recipe takes in the same way."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from torch.utils.tensorboard import SummaryWriter
from transformers import Trainer, TrainerCallback
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks
from transformers.trainer_callback import PrinterCallback

from dpo.errors import ConfigError
from dpo.policies.loading import Policy, load_policy
from dpo.preferences import Preferences
from dpo.publishing.card import Publication, base_on_the_hub, model_card
from dpo.runs import open_run
from dpo.training.best_policy import BEST, POLICY, Watch, save_weights
from dpo.training.callbacks import FirstProbes, LogAtSaves, ProgressBar, RecordCallback
from dpo.training.checkpoints import ROWS, Checkpointing, StagedCheckpoints, copy_tree, settings_of, staged
from dpo.training.config import CommonConfig, RunConfig
from dpo.training.context import Context
from dpo.training.hardware import HardwareLog
from dpo.training.heap import TrimHeap
from dpo.training.precision import device_precision, training_device
from dpo.training.probes import Probes

Config = TypeVar("Config", bound=RunConfig)
Tuned = TypeVar("Tuned", bound=CommonConfig)


def load_trainable(config: CommonConfig, pairs: Preferences, *, stacking: str | None, quantization: str) -> Policy:
    """The policy to train, in memory.

    Args:
        stacking: what would put an adapter onto one that the policy may have already, by its name; None if nothing.
        quantization: none, 4bit or 8bit.

    Raises:
        PolicyError: it cannot be loaded.
        ConfigError: it is an adapter, and `stacking` would put another on it.
    """
    texts = (text for column in ("prompt", "chosen", "rejected") for text in pairs.train[column])
    # The Trainer moves the weights, quantised ones must be made where they stay; and attention must not
    # depend on gradients in 16 bits.
    policy = load_policy(
        config.model, device="cpu" if quantization == "none" else training_device(config), new_text=texts,
        trainable_adapter=True, eager_attention=device_precision(config) != "fp32", quantization=quantization,
    )  # fmt: skip
    if stacking and policy.model is not policy.network:
        raise ConfigError(
            f"{config.model} is an adapter already, {stacking} would stack another on it: "
            "leave --lora out to train it further, or start from its base"
        )
    return policy


def with_rate(config: Tuned, policy: Policy, adapter: bool) -> Tuned:
    """The settings with the learning rate that suits kind, family and method, if none was given."""
    if config.learning_rate is not None:
        return config
    return dataclasses.replace(config, learning_rate=policy.family.facts.rates[config.kind, adapter])


def check_batch(config: CommonConfig, rows: int) -> None:
    """Refuse a batch that the data cannot fill.

    Raises:
        ConfigError: there are fewer rows.
    """
    if rows < config.batch_size:
        raise ConfigError(f"--batch-size {config.batch_size} is more than the {rows} training rows: lower it")


def rows_of_update(config: CommonConfig, trainer: Trainer) -> int:
    """Pairs or answers of one update, over all processes."""
    return config.batch_size * config.gradient_accumulation * int(trainer.args.world_size)


def recorder(context: Context[Config], rows: int) -> RecordCallback:
    """The callback that writes `metrics.jsonl`; it counts the seconds on from those before a resume.

    `rows` are the examples of one update.
    """
    assert context.record is not None
    progress = context.record.info.get("progress") or {}
    seconds = float(progress.get("seconds") or 0.0) if context.step else 0.0
    return RecordCallback(context.record, rows, seconds)


def update(
    context: Context[Config],
    trainer: StagedCheckpoints,
    rows: RecordCallback,
    probes: Probes,
    shown: dict[str, str],
    extra: Sequence[TrainerCallback] = (),
) -> None:
    """Make all updates, with everything that is to happen around them.

    Args:
        shown: measures in the progress bar, by their names there.
        extra: callbacks of this recipe alone.
    """
    record, stop = context.record, context.stop
    assert record is not None

    def accompany(checkpoint: Path) -> None:
        # What was measured and answered up to here is on disk before the checkpoint counts.
        rows.flush()
        if not stop.unscheduled:
            probes(trainer.state.global_step)
        record.copy_rows(checkpoint / ROWS)
        if (context.directory / BEST).is_dir():
            copy_tree(context.directory / BEST, checkpoint / BEST / POLICY)

    settings = settings_of(record.info.get("config") or {})
    trainer.checkpointing = Checkpointing(context.config.keep_checkpoints, settings, accompany)
    with contextlib.ExitStack() as stack:
        callbacks: list[TrainerCallback] = [LogAtSaves(), stop, *extra]
        if training_device(context.config) == "cpu":
            callbacks.append(TrimHeap())
        if context.main:
            events = SummaryWriter(str(context.directory), purge_step=context.step + 1 if context.step else None)
            bar = ProgressBar(context.config.kind, shown)
            stack.callback(bar.close)  # or an error would be printed into its line
            hardware = stack.enter_context(HardwareLog(record, events, rows.began))
            callbacks += [rows, hardware, FirstProbes(probes), bar, TensorBoardCallback(events)]
            callbacks += [tracker() for tracker in get_reporting_integration_callbacks(context.config.report_to)]
        for callback in callbacks:
            trainer.add_callback(callback)
        trainer.remove_callback(PrinterCallback)
        stack.enter_context(stop.finishing("Stopping after this step, saving first"))
        started = time.monotonic()
        trainer.train(resume_from_checkpoint=str(context.checkpoint) if context.checkpoint else None)
        seconds = time.monotonic() - started
    record.update(progress=rows.progress(trainer.state), training_seconds=round(seconds, 1))


def save(context: Context[Config], trainer: Trainer, policy: Policy, watch: Watch | None = None) -> None:
    """Write the policy that is kept with its card, then how the training ended."""
    record, final = context.record, context.directory / POLICY
    assert record is not None
    best = watch.best if watch is not None else None
    with context.stop.finishing("Saving the policy first"):
        if best is None:
            save_weights(trainer, policy, final, lambda directory: _write_card(context, policy, directory))
        elif context.main:
            with staged(final) as directory:
                # Bytes of its own: what is written into the result later must not reach the checkpoints' best.
                shutil.copytree(context.directory / BEST, directory, dirs_exist_ok=True)
                _write_card(context, policy, directory)
        if not context.main:
            return
        # From here on it is in policy/, and in the last checkpoint for a resume.
        shutil.rmtree(context.directory / BEST, ignore_errors=True)
        shutil.rmtree(context.scratch, ignore_errors=True)  # nobody tidies up a run that is finished
        step = trainer.state.global_step if best is None else best["step"]
        reason = watch.reason if watch is not None else None
        stopped = context.stop.stopped_at is not None and reason is None
        if stopped:
            reason = f"stopped by the user at step {context.stop.stopped_at}"
        record.update(
            state="stopped" if stopped else "finished", reason=reason, policy=record.info["policy"] | {"step": step}
        )


def _write_card(context: Context[Config], policy: Policy, directory: Path) -> None:
    kind = "adapter" if policy.model is not policy.network else "full"
    publication = Publication(context.directory.name, kind, base_on_the_hub(context.config.start or ""))
    card = model_card(open_run(context.directory), publication)
    (directory / "README.md").write_text(card, encoding="utf-8")
