"""`train` and `sft`: from a config to a finished run on disk."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.metadata
import os
import platform
import shutil
import socket
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from torch.utils.tensorboard import SummaryWriter
from transformers import PreTrainedModel, Trainer, TrainerCallback, set_seed
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks
from transformers.trainer_callback import PrinterCallback

from dpo.errors import ConfigError, DpoError, RunError, StepZeroError, StorageError
from dpo.policies.families import prompt_of
from dpo.policies.loading import Policy, load_policy
from dpo.policies.names import portable_name
from dpo.policies.vocabulary import vocabulary_of
from dpo.preferences import Preferences
from dpo.publishing.card import Publication, base_on_the_hub, model_card
from dpo.runs import Run, RunRecord, SilentRecord, open_run
from dpo.training.callbacks import ProgressBar, RecordCallback, SaveHook, StopOnSignal
from dpo.training.checkpoints import checkpoints
from dpo.training.config import CommonConfig, SftConfig, TrainConfig
from dpo.training.data import Limits, count_rows, tokenize_answers, tokenize_pairs
from dpo.training.guard import memory_explained
from dpo.training.hardware import HardwareLog
from dpo.training.pairs import load_pairs, record_audit
from dpo.training.precision import check_device, resolved_precision
from dpo.training.probes import Probes, fitting
from dpo.training.processes import process_count, process_index
from dpo.training.sft import SftTrainer, sft_arguments
from dpo.training.start import (
    check_trackers,
    claim,
    reference_kind,
    refuse_existing,
    release,
    with_resume,
)
from dpo.training.trainer import PreferenceTrainer, lora_config, trl_arguments
from dpo.training.watch import Watch, drift_monitor, save_weights

STEP_ZERO_TOLERANCE = 1e-4
# Cautious peak rates, below those that suited the bundled policies (docs/training.md).
# T5 moves about eight times as far as GPT-2 at one rate; an adapter takes about ten times the rate
# of full fine-tuning.
DEFAULT_RATES = {
    ("dpo", "t5", False): 2e-5,
    ("dpo", "gpt2", False): 5e-5,
    ("dpo", "t5", True): 2e-4,
    ("dpo", "gpt2", True): 5e-4,
    ("sft", "t5", False): 3e-4,
    ("sft", "gpt2", False): 3e-4,
}
_VERSIONED = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


def train(config: TrainConfig) -> Run:
    """Tune a policy with DPO and return its run.

    >>> import tempfile
    >>> from dpo import TrainConfig, train
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     config = TrainConfig(model="demo/gpt2", dataset="sample", num_samples=40, max_steps=1, batch_size=2,
    ...                          probes=0, device="cpu", output_dir=directory)
    ...     train(config).state
    'finished'

    Raises:
        DpoError: anything the user can mend (settings, data, policy, disk), in one line.
    """
    return _Session(config, "dpo").run()


def sft(config: SftConfig) -> Run:
    """Fine-tune a policy on the answers of preference pairs and return its run.

    Raises:
        DpoError: anything the user can mend, in one line.
    """
    return _Session(config, "sft").run()


class _Session:
    """One training: the steps of `run` in the order in which they can fail."""

    bar: ProgressBar | None = None
    hardware: HardwareLog | None = None
    watch: Watch | None = None

    def __init__(self, config: CommonConfig, kind: str) -> None:
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        config.validate()
        check_trackers(config.report_to)
        check_device(config)
        self.kind = kind
        self.main = process_index() == 0
        self.config, self.resumed = with_resume(config)
        if process_count() > 1 and not self.config.output_dir:
            raise ConfigError("Several processes need one directory by name: add --output-dir DIR")
        name = f"{Path(self.config.model).name}-{kind}-{datetime.now():%Y%m%d-%H%M%S}"
        self.directory = Path(self.config.output_dir or Path("runs") / name)
        self.config = dataclasses.replace(self.config, output_dir=str(self.directory))

    def run(self) -> Run:
        """Train, holding the directory; one process writes the record, all of them compute."""
        with contextlib.ExitStack() as stack:
            if self.main:
                if self.resumed is None:
                    refuse_existing(self.directory, self.config)
                lock = claim(self.directory)
                stack.callback(release, lock, self.directory)
            self.scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dpo-")))
            stack.enter_context(memory_explained())
            self._run()
        return open_run(self.directory)

    def _run(self) -> None:
        config = self.config
        set_seed(config.seed)
        pairs = load_pairs(config)
        self._same_data(pairs)
        policy = self._load_policy(pairs)
        config = self.config = self._with_rate(policy)
        precision = resolved_precision(config, policy.family.key)
        limits = Limits.for_policy(policy, config)
        evaluated = pairs.evaluated
        trainer, reference, cut = self._trainer(policy, pairs.train, evaluated, limits, precision)
        held_out = count_rows(trainer.eval_dataset)
        self.record = self._open_record(policy, pairs, cut, len(trainer.train_dataset), held_out, precision)
        prompts = fitting(policy, evaluated, config.probes, limits.prompt)
        drifting = fitting(policy, evaluated, getattr(config, "kl_prompts", 0), limits.prompt)
        try:
            if self.kind == "dpo" and self.main:
                record_audit(self.directory, pairs, config, [vocabulary_of(policy.tokenizer, config.model)])
            with torch.random.fork_rng(devices=[]):
                self._prepare(trainer, policy, reference, prompts, drifting)
            self._train(trainer)
            self._save(trainer, policy)
        except (DpoError, KeyboardInterrupt) as error:
            self._fail(str(error) or "interrupted at once")
            if isinstance(error, KeyboardInterrupt):
                again = f"dpo {self._command()} --resume {self.directory}"
                raise RunError(f"Stopped at once; go on with: {again}") from error
            raise
        except BaseException as error:
            self._fail(f"{type(error).__name__}: {error}".splitlines()[0])
            raise

    def _trainer(
        self, policy: Policy, train: Dataset, evaluated: Dataset, limits: Limits, precision: str
    ) -> tuple[Trainer, PreTrainedModel | None, dict[str, int]]:
        """The trainer with its tokenised data, the frozen reference if it is a model of its own, what was cut."""
        config = self.config
        arguments = (str(self.directory), precision, len(evaluated) > 0, self.resumed is not None)
        if isinstance(config, SftConfig):
            sides = ("chosen", "rejected") if config.learn == "both" else ("chosen",)
            answers, cut = tokenize_answers(policy, train, sides, limits, self.scratch)
            names = ("chosen", "rejected") if len(evaluated) else ()
            sets = {name: tokenize_answers(policy, evaluated, [name], limits)[0] for name in names}
            self._enough(len(answers))
            made = SftTrainer(
                policy, sft_arguments(config, *arguments), answers, sets or None, config.optimizer,
                config.keep_checkpoints,
            )  # fmt: skip
            return made, None, cut
        assert isinstance(config, TrainConfig)
        pairs, cut = tokenize_pairs(policy, train, limits, self.scratch)
        held_out = tokenize_pairs(policy, evaluated, limits)[0] if len(evaluated) else None
        self._enough(len(pairs))
        reference: PreTrainedModel | None = None
        if not config.lora and policy.model is policy.network:
            # A copy of the policy in memory: TRL would load whatever the config's path names now.
            reference = copy.deepcopy(policy.network)
        trainer = PreferenceTrainer(
            policy, reference, trl_arguments(config, *arguments), pairs, held_out,
            lora_config(policy, config) if config.lora else None, config.keep_checkpoints, config.cache_reference,
        )  # fmt: skip
        policy.model = trainer.model
        if config.lora:
            # PEFT notes the path the base was loaded from; a name outlives a move to another machine.
            policy.model.peft_config["default"].base_model_name_or_path = portable_name(config.model)
        return trainer, reference, cut

    def _enough(self, rows: int) -> None:
        if rows < self.config.batch_size:
            raise ConfigError(f"--batch-size {self.config.batch_size} is more than the {rows} training rows: lower it")

    def _load_policy(self, pairs: Preferences) -> Policy:
        config = self.config
        texts = (text for column in ("prompt", "chosen", "rejected") for text in pairs.train[column])
        # The device is the Trainer's business; attention must not depend on gradients in bf16.
        low = config.precision not in ("fp32",) and (config.precision != "auto" or torch.cuda.is_available())
        quantization = getattr(config, "quantization", "none")
        policy = load_policy(
            config.model, device="cpu", new_text=texts, trainable_adapter=True, eager_attention=low,
            quantization=quantization,
        )  # fmt: skip
        adapter = policy.model is not policy.network
        if adapter and (self.kind == "sft" or (isinstance(config, TrainConfig) and config.lora)):
            option = "dpo sft" if self.kind == "sft" else "--lora"
            raise ConfigError(
                f"{config.model} is an adapter already, {option} would stack another on it: "
                "leave --lora out to train it further, or start from its base"
            )
        return policy

    def _with_rate(self, policy: Policy) -> CommonConfig:
        if self.config.learning_rate is not None:
            return self.config
        adapter = bool(getattr(self.config, "lora", False)) or policy.model is not policy.network
        rate = DEFAULT_RATES[self.kind, policy.family.key, adapter]
        return dataclasses.replace(self.config, learning_rate=rate)

    def _same_data(self, pairs: Preferences) -> None:
        if self.resumed is None:
            return
        before = self.resumed.info.get("dataset", {}).get("fingerprint")
        if before != pairs.info["fingerprint"]:
            raise RunError(
                f"{self.config.dataset} has changed since {self.directory} began (fingerprint {before}, now "
                f"{pairs.info['fingerprint']}): restore it, or start a new run"
            )

    def _open_record(
        self, policy: Policy, pairs: Preferences, cut: dict[str, int], train: int, held_out: int, precision: str
    ) -> RunRecord:
        saved = checkpoints(self.directory)
        if not self.main:
            self.checkpoint = saved[-1][1] if saved and self.resumed is not None else None
            self.step = saved[-1][0] if self.checkpoint else 0
            return SilentRecord(self.directory, self.resumed.info if self.resumed is not None else {})
        if self.resumed is not None:
            self.checkpoint = saved[-1][1] if saved else None
            self.step = saved[-1][0] if saved else 0
            # Step 0 is measured again when there is no checkpoint to go on from.
            record = RunRecord.resume(self.directory, self.step if saved else -1)
            record.update(pid=os.getpid(), host=socket.gethostname())
            return record
        self.checkpoint, self.step = None, 0
        network = policy.network
        dataset = pairs.info | {"train": train, "held_out": held_out, "cut": cut}
        return RunRecord.create(
            self.directory,
            {
                "name": self.directory.name,
                "kind": self.kind,
                "family": policy.family.key,
                "state": "running",
                "reason": None,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "config": dataclasses.asdict(self.config),
                "versions": {"python": platform.python_version()}
                | {name: importlib.metadata.version(name) for name in _VERSIONED},
                "dataset": dataset,
                "policy": {
                    "model": self.config.model,
                    "architecture": type(network).__name__,
                    "parameters": network.num_parameters(),
                    "trainable": sum(p.numel() for p in policy.model.parameters() if p.requires_grad),
                    "vocabulary": len(policy.tokenizer),
                    "added_tokens": len(policy.added_token_ids),
                    "precision": precision,
                },
                "reference": reference_kind(policy, self.config),
                "step_zero": None,
                "progress": {"step": 0, "max_steps": None, "examples": 0, "seconds": 0.0},
            },
        )

    def _prepare(
        self,
        trainer: Trainer,
        policy: Policy,
        reference: PreTrainedModel | None,
        prompts: list[dict[str, Any]],
        drifting: list[dict[str, Any]],
    ) -> None:
        """Step-0 check, probes and callbacks."""
        config = self.config
        seconds = float((self.record.info.get("progress") or {}).get("seconds") or 0.0) if self.step else 0.0
        rows = config.batch_size * config.gradient_accumulation * trainer.args.world_size
        recorder = RecordCallback(self.record, rows, seconds)
        probes = Probes(policy, prompts if self.main else [], self.record, config.seed)
        shown = {"loss": "loss"}
        self.stop = StopOnSignal()
        callbacks: list[TrainerCallback] = [self.stop]
        if isinstance(trainer, PreferenceTrainer):
            assert isinstance(config, TrainConfig)
            shown |= {"rewards/margins": "margin", "rewards/accuracies": "accuracy"}
            with trainer.as_reference(policy) as frozen:
                probes.answer_reference(frozen)
            trainer.open_reference_cache()
            if self.step == 0:
                recorder.begin(self._check_step_zero(trainer))
            else:
                trainer.continue_from(open_run(self.directory).metrics().last("tokens"))
            self.watch = self._watch(trainer, policy, drifting)
            callbacks.append(self.watch)
        if self.main:
            events = SummaryWriter(str(self.directory), purge_step=self.step + 1 if self.step else None)
            self.hardware = HardwareLog(self.record, events, recorder.began)
            self.bar = ProgressBar(self.kind, shown)
            callbacks += [recorder, self.hardware, SaveHook(probes), self.bar, TensorBoardCallback(events)]
            callbacks += [tracker() for tracker in get_reporting_integration_callbacks(config.report_to)]
        for callback in callbacks:
            trainer.add_callback(callback)
        trainer.remove_callback(PrinterCallback)

    def _watch(self, trainer: PreferenceTrainer, policy: Policy, drifting: list[dict[str, Any]]) -> Watch:
        config = self.config
        assert isinstance(config, TrainConfig)
        drift = None
        # A sharded model answers only when every process asks it: not measured there.
        if drifting and not trainer.is_fsdp_enabled and not trainer.is_deepspeed_enabled:
            asked = [prompt_of(policy.tokenizer, pair) for pair in drifting]
            ids = policy.family.encode_prompts(policy.tokenizer, asked)
            drift = drift_monitor(policy, trainer.as_reference, ids, config.seed)

        def log(measured: dict[str, float]) -> None:
            trainer.model.eval()  # TRL would take training measures that are still being summed along
            trainer.log(measured)

        return Watch(config, self.record, lambda path: save_weights(trainer, policy, path), drift, log)

    def _check_step_zero(self, trainer: PreferenceTrainer) -> dict[str, float]:
        rows = trainer.train_dataset
        count = min(len(rows), max(8, self.config.batch_size))
        first = process_index() * count
        measured = trainer.step_zero([rows[(first + row) % len(rows)] for row in range(count)])
        loss, expected = measured["loss"], measured.pop("expected")
        gap = measured.pop("max_logp_gap")
        passed = abs(loss - expected) < STEP_ZERO_TOLERANCE * max(1.0, abs(expected))
        self.record.update(step_zero={"loss": loss, "expected": expected, "passed": passed, "max_logp_gap": gap})
        if not passed and not getattr(self.config, "allow_step_zero", False):
            raise StepZeroError(
                f"Step-0 check failed: the loss is {loss:.5f} where policy and reference agree at {expected:.5f} "
                f"(they differ by up to {gap:.3g} nats an answer); use --precision fp32, "
                "or --allow-step-zero to go on all the same"
            )
        return measured

    def _train(self, trainer: Trainer) -> None:
        with self.stop.listening(), self.hardware or contextlib.nullcontext():
            started = time.monotonic()
            trainer.train(resume_from_checkpoint=str(self.checkpoint) if self.checkpoint else None)
            seconds = time.monotonic() - started
        progress = (self.record.info.get("progress") or {}) | {"max_steps": trainer.state.max_steps}
        self.record.update(progress=progress, training_seconds=round(seconds, 1))

    def _save(self, trainer: Trainer, policy: Policy) -> None:
        best = self.directory / "best"
        kept = self.watch is not None and self.watch.best is not None and best.is_dir()
        if not kept:
            save_weights(trainer, policy, self.directory / "policy")
        if not self.main:
            return
        if kept:
            shutil.rmtree(self.directory / "policy", ignore_errors=True)
            os.replace(best, self.directory / "policy")
        kind = "adapter" if policy.model is not policy.network else "full"
        publication = Publication(self.directory.name, kind, base_on_the_hub(self.config.model))
        card = model_card(open_run(self.directory), publication)
        (self.directory / "policy" / "README.md").write_text(card, encoding="utf-8")
        stopped = self.stop.requested and trainer.state.global_step < trainer.state.max_steps
        reason = f"stopped by the user at step {trainer.state.global_step}" if stopped else None
        if self.watch is not None and self.watch.reason is not None:
            reason = self.watch.reason
        self.record.update(state="stopped" if stopped else "finished", reason=reason)

    def _fail(self, reason: str) -> None:
        if self.bar is not None:
            self.bar.close()  # or the error would be printed into its line
        # The disk that failed the run may not hold the reason either; the error itself is raised.
        with contextlib.suppress(StorageError):
            self.record.update(state="failed", reason=reason)

    def _command(self) -> str:
        return "train" if self.kind == "dpo" else "sft"
