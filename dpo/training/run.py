"""`train` and `sft`: from a config to a finished run on disk."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.metadata
import os
import platform
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from torch.utils.tensorboard import SummaryWriter
from transformers import PreTrainedModel, Trainer, TrainerCallback, set_seed
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback

from dpo.errors import ConfigError, DpoError, RunError, StepZeroError, StorageError
from dpo.policies.loading import Policy, load_policy, save_tokenizer
from dpo.policies.names import portable_name
from dpo.preferences import Preferences, load_preferences
from dpo.runs import Run, RunRecord, open_run
from dpo.training.callbacks import ProgressBar, RecordCallback, SaveHook, StopOnSignal
from dpo.training.card import model_card
from dpo.training.checkpoints import checkpoints, staged
from dpo.training.config import CommonConfig, SftConfig, TrainConfig, make
from dpo.training.data import Limits, tokenize_answers, tokenize_pairs
from dpo.training.probes import Probes, fitting
from dpo.training.sft import SftTrainer, sft_arguments
from dpo.training.trainer import PreferenceTrainer, lora_config, trl_arguments

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


def resolved_precision(config: CommonConfig, family: str) -> str:
    """fp32, bf16 or fp16 for this device and family.

    Raises:
        ConfigError: the device or the family cannot do what was asked.
    """
    cuda = torch.cuda.is_available() and config.device in ("auto", "cuda")
    if config.device == "cuda" and not cuda:
        raise ConfigError("--device cuda: PyTorch sees no CUDA device; use --device cpu")
    if config.device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("--device mps: PyTorch sees no Apple GPU; use --device cpu")
    if config.precision == "auto":
        return "bf16" if cuda and torch.cuda.is_bf16_supported() else "fp32"
    if config.precision == "fp16" and family == "t5":
        raise ConfigError("--precision fp16: T5's activations overflow in fp16; use bf16 or fp32")
    if config.precision == "fp16" and not cuda:
        raise ConfigError("--precision fp16 needs a CUDA device; use bf16 or fp32")
    return config.precision


class _Session:
    """One training: the steps of `run` in the order in which they can fail."""

    bar: ProgressBar | None = None

    def __init__(self, config: CommonConfig, kind: str) -> None:
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        config.validate()
        self.kind = kind
        self.config, self.resumed = _with_resume(config)
        name = f"{Path(self.config.model).name}-{kind}-{datetime.now():%Y%m%d-%H%M%S}"
        self.directory = Path(self.config.output_dir or Path("runs") / name)
        self.config = dataclasses.replace(self.config, output_dir=str(self.directory))
        if self.resumed is None:
            _refuse_existing(self.directory, self.config)

    def run(self) -> Run:
        config, kind = self.config, self.kind
        set_seed(config.seed)
        pairs = load_preferences(
            config.dataset,
            split=config.split,
            num_samples=config.num_samples,
            eval_fraction=config.eval_fraction,
            seed=config.seed,
            prompt_column=config.prompt_column,
            chosen_column=config.chosen_column,
            rejected_column=config.rejected_column,
            layout=config.layout,
            swap=config.swap,
        )
        self._same_data(pairs)
        policy = self._load_policy(pairs)
        config = self.config = self._with_rate(policy)
        precision = resolved_precision(config, policy.family.key)
        limits = Limits.for_policy(policy, config)
        sides = ("chosen", "rejected") if getattr(config, "learn", "both") == "both" else ("chosen",)
        held_out: Dataset | dict[str, Dataset] | None
        if kind == "dpo":
            train_set, cut = tokenize_pairs(policy, pairs.train, limits)
            held_out = tokenize_pairs(policy, pairs.held_out, limits)[0] if len(pairs.held_out) else None
        else:
            train_set, cut = tokenize_answers(policy, pairs.train, sides, limits)
            names = ("chosen", "rejected") if len(pairs.held_out) else ()
            held_out = {name: tokenize_answers(policy, pairs.held_out, [name], limits)[0] for name in names} or None
        probes = fitting(policy, pairs.held_out["prompt"], config.probes, limits.prompt)
        if len(train_set) < config.batch_size:
            raise ConfigError(
                f"--batch-size {config.batch_size} is more than the {len(train_set)} training rows: lower it"
            )
        resuming = self.resumed is not None
        arguments = (str(self.directory), precision, held_out is not None, resuming)
        reference: PreTrainedModel | None = None
        trainer: Trainer
        if isinstance(config, TrainConfig):
            assert not isinstance(held_out, dict)
            adapter = policy.model is not policy.network
            if not config.lora and not adapter:
                # A copy of the policy in memory: TRL would load whatever the config's path names now.
                reference = copy.deepcopy(policy.network)
            trainer = PreferenceTrainer(
                policy,
                reference,
                trl_arguments(config, *arguments),
                train_set,
                held_out,
                lora_config(policy, config) if config.lora else None,
                config.keep_checkpoints,
            )
            policy.model = trainer.model
            if config.lora:
                # PEFT notes the path the base was loaded from; a name outlives a move to another machine.
                policy.model.peft_config["default"].base_model_name_or_path = portable_name(config.model)
        else:
            assert isinstance(config, SftConfig) and not isinstance(held_out, Dataset)
            trainer = SftTrainer(
                policy,
                sft_arguments(config, *arguments),
                train_set,
                held_out,
                config.optimizer,
                config.keep_checkpoints,
            )
        self.record = self._open_record(policy, pairs, cut, len(train_set), _count(held_out), precision)
        try:
            with torch.random.fork_rng(devices=[]):
                self._prepare(trainer, policy, reference, probes, train_set)
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
        return open_run(self.directory)

    def _load_policy(self, pairs: Preferences) -> Policy:
        config = self.config
        texts = (text for column in ("prompt", "chosen", "rejected") for text in pairs.train[column])
        # The device is the Trainer's business; attention must not depend on gradients in bf16.
        low = config.precision not in ("fp32",) and (config.precision != "auto" or torch.cuda.is_available())
        policy = load_policy(config.model, device="cpu", new_text=texts, trainable_adapter=True, eager_attention=low)
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
                "reference": self._reference(policy),
                "step_zero": None,
                "progress": {"step": 0, "max_steps": None, "examples": 0, "seconds": 0.0},
            },
        )

    def _reference(self, policy: Policy) -> dict[str, Any] | None:
        if self.kind == "sft":
            return None
        adapter = policy.model is not policy.network
        kind = "adapter off" if adapter and getattr(self.config, "lora", False) else "copy of the adapter"
        return {"kind": kind if adapter else "frozen copy", "identity": self.config.model}

    def _prepare(
        self, trainer: Trainer, policy: Policy, reference: PreTrainedModel | None, prompts: list[str], train_set: Any
    ) -> None:
        """Step-0 check, probes and callbacks."""
        seconds = float((self.record.info.get("progress") or {}).get("seconds") or 0.0) if self.step else 0.0
        rows = self.config.batch_size * self.config.gradient_accumulation * trainer.args.world_size
        recorder = RecordCallback(self.record, rows, seconds)
        probes = Probes(policy, prompts, self.record, self.config.seed)
        shown = {"loss": "loss"}
        if isinstance(trainer, PreferenceTrainer):
            shown |= {"rewards/margins": "margin", "rewards/accuracies": "accuracy"}
            frozen = reference if reference is not None else policy.model
            probes.answer_reference(dataclasses.replace(policy, model=frozen))
            if self.step == 0:
                recorder.begin(self._check_step_zero(trainer, train_set))
            else:
                trainer.continue_from(open_run(self.directory).metrics().last("tokens"))
        self.stop = StopOnSignal()
        events = SummaryWriter(str(self.directory), purge_step=self.step + 1 if self.step else None)
        self.bar = ProgressBar(self.kind, shown)
        callbacks: list[TrainerCallback] = [
            self.stop, recorder, SaveHook(probes), self.bar, TensorBoardCallback(events)
        ]  # fmt: skip
        for callback in callbacks:
            trainer.add_callback(callback)
        trainer.remove_callback(PrinterCallback)

    def _check_step_zero(self, trainer: PreferenceTrainer, train_set: Any) -> dict[str, float]:
        count = min(len(train_set), max(8, self.config.batch_size))
        measured = trainer.step_zero([train_set[row] for row in range(count)])
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
        with self.stop.listening():
            started = time.monotonic()
            trainer.train(resume_from_checkpoint=str(self.checkpoint) if self.checkpoint else None)
            seconds = time.monotonic() - started
        progress = (self.record.info.get("progress") or {}) | {"max_steps": trainer.state.max_steps}
        self.record.update(progress=progress, training_seconds=round(seconds, 1))

    def _save(self, trainer: Trainer, policy: Policy) -> None:
        stopped = self.stop.requested and trainer.state.global_step < trainer.state.max_steps
        with staged(self.directory / "policy") as directory:
            trainer.accelerator.unwrap_model(trainer.model).save_pretrained(directory)
            save_tokenizer(policy.tokenizer, directory)
            (directory / "README.md").write_text(model_card(self.record.info, self.directory), encoding="utf-8")
        self.record.update(
            state="stopped" if stopped else "finished",
            reason=f"stopped by the user at step {trainer.state.global_step}" if stopped else None,
        )

    def _fail(self, reason: str) -> None:
        if self.bar is not None:
            self.bar.close()  # or the error would be printed into its line
        # The disk that failed the run may not hold the reason either; the error itself is raised.
        with contextlib.suppress(StorageError):
            self.record.update(state="failed", reason=reason)

    def _command(self) -> str:
        return "train" if self.kind == "dpo" else "sft"


def _count(held_out: Dataset | dict[str, Dataset] | None) -> int:
    """Rows that are evaluated: what the limits dropped is not among them."""
    if isinstance(held_out, dict):
        return sum(map(len, held_out.values()))
    return len(held_out) if held_out is not None else 0


def _with_resume(config: CommonConfig) -> tuple[CommonConfig, Run | None]:
    """The config to run and the run to go on with, if any.

    Raises:
        RunError: there is nothing to resume.
    """
    if config.resume is None:
        return config, None
    directory = Path(config.resume)
    run = open_run(directory)
    if not run.info.get("config"):
        raise RunError(f"{directory} was not made by dpo train: only its own runs can be resumed")
    if run.state == "running":
        raise RunError(f"{directory} is running now (process {run.info.get('pid')}): wait, or stop it first")
    if run.state == "finished":
        raise RunError(f"{directory} is finished: start a new run from it with --model {directory}")
    stored = dict(run.info["config"]) | {"resume": str(directory), "output_dir": str(directory)}
    return make(type(config), stored), run


def _refuse_existing(directory: Path, config: CommonConfig) -> None:
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not (directory / "run.json").is_file():
        raise RunError(f"--output-dir {directory} exists and is not a run: name a new or empty directory")
    run = open_run(directory)
    stored = run.info.get("config") or {}
    current = dataclasses.asdict(config)
    # A rate that was not given is filled in by family later on.
    same = {"learning_rate"} if config.learning_rate is None else set()
    differing = [name for name in current if name in stored and stored[name] != current[name] and name not in same]
    if differing:
        raise RunError(
            f"--output-dir {directory} belongs to a run with another config ({', '.join(differing[:4])} differ): "
            "name another directory"
        )
    raise RunError(
        f"--output-dir {directory} holds this run already ({run.state}): add --resume to go on, or name another"
    )
