"""The one definition of every training setting.

The command line, YAML files, the documentation and the dashboard's form are all made from these
dataclasses (and `dpo.pretraining.config`'s); nothing else names a setting.  This module imports no torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from dpo.errors import ConfigError
from dpo.families import CAUSAL, Facts
from dpo.losses import LOSSES, acting
from dpo.training.settings import check_range, setting

DIVERGENCES = ("reverse_kl", "forward_kl", "js_divergence", "alpha_divergence")
TRACKERS = ("wandb", "trackio", "mlflow")
# What `--keep-best` and `--early-stopping` judge by: the measure's name and whether more is better.
BEST_BY = {
    "margin": ("eval_rewards/margins", True),
    "accuracy": ("eval_rewards/accuracies", True),
    "loss": ("eval_loss", False),
    "win_rate": ("eval_win_rate", True),
}


@dataclass(kw_only=True)
class RunConfig:
    """Settings of everything that trains and leaves a run: the machine, and the record."""

    kind: ClassVar[str]
    """Of the run: `dpo`, `sft` or `pretrain`."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "machine",
        "auto: bf16 on a GPU that has it, else fp32 (T5 never fp16)",
        "auto",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "machine", "where to train", "auto", choices=("auto", "cpu", "cuda", "mps")
    )
    seed: int = setting("machine", "of everything random", 0, low=0, high=2**32 - 1)

    output_dir: str | None = setting("record", "the run's directory (default: runs/NAME)", None)
    resume: str | None = setting("record", "go on with the run in this directory", None)
    logging_steps: int = setting("record", "updates between two logged points", 5, low=1)
    eval_steps: int = setting("record", "updates between two held-out evaluations", 50, low=1)
    save_steps: int = setting("record", "updates between two checkpoints", 100, low=1)
    keep_checkpoints: int = setting("record", "how many checkpoints to keep", 2, low=1)
    report_to: list[str] = setting(
        "record", "trackers beside TensorBoard and the run's own record", [], choices=TRACKERS
    )
    probes: int = setting("record", "held-out prompts answered at step 0 and at each save", 4, low=0, high=32)

    @property
    def start(self) -> str | None:
        """The name of the policy that is trained further; None where the weights are random."""
        return None

    def validate(self) -> None:
        """Refuse values that are out of range or contradict each other.

        Raises:
            ConfigError: one line that names the setting, its value and what is allowed.
        """
        for spec in dataclasses.fields(self):
            check_range(spec.name, getattr(self, spec.name), spec.metadata)


@dataclass(kw_only=True)
class CommonConfig(RunConfig):
    """Settings that supervised fine-tuning and preference training share."""

    model: str = setting("model and data", "t5, gpt2, demo/t5, demo/gpt2, a directory, a run, or a hub id", "demo/gpt2")
    dataset: str = setting(
        "model and data",
        "human-like, hh-rlhf, ultrafeedback, synthetic-instruct, orca, sample, a file or a hub id; "
        "several with weights: NAME=2 (repeat the flag)",
        "sample",
    )
    split: str = setting("model and data", "split of a hub dataset", "train")
    num_samples: int | None = setting("model and data", "use this many pairs, drawn by --seed", None, low=2)
    prompt_column: str | None = setting("model and data", "column of the prompts, if not recognised", None)
    chosen_column: str | None = setting("model and data", "column of the preferred answers", None)
    rejected_column: str | None = setting("model and data", "column of the other answers", None)
    layout: str | None = setting("model and data", "how to read data that can be read in several ways", None)
    swap: bool = setting("model and data", "take the rejected answers for the chosen ones", False)
    eval_fraction: float = setting(
        "model and data", "share of the prompts held out for evaluation", 0.05, low=0.0, high=0.5
    )
    half: int | None = setting(
        "model and data", "train on half 1 or 2 of the prompts, by hash; a judge trained on the other saw none", None,
        low=1, high=2,
    )  # fmt: skip
    max_eval_pairs: int = setting("model and data", "evaluate at most this many of them", 256, low=1)
    max_prompt_length: int = setting("model and data", "tokens of a prompt; its end is kept", 256, low=2)
    max_completion_length: int = setting("model and data", "tokens of an answer, EOS included", 256, low=2)
    overlong: Literal["truncate", "drop"] = setting(
        "model and data", "what to do with answers over the limit", "truncate", choices=("truncate", "drop")
    )

    epochs: float = setting("optimisation", "passes over the training pairs", 1.0, above=0.0)
    max_steps: int | None = setting("optimisation", "stop after this many updates (overrides --epochs)", None, low=1)
    batch_size: int = setting("optimisation", "pairs (dpo train) or answers (dpo sft) per device and step", 8, low=1)
    gradient_accumulation: int = setting("optimisation", "batches per update", 1, low=1)
    learning_rate: float | None = setting("optimisation", "peak rate (default: by family and method)", None, above=0.0)
    weight_decay: float = setting("optimisation", "decoupled weight decay", 0.0, low=0.0)
    warmup: float = setting("optimisation", "share of the updates with a rising rate", 0.1, low=0.0, high=1.0)
    schedule: Literal["linear", "cosine", "constant"] = setting(
        "optimisation", "how the rate falls after the warm-up", "linear", choices=("linear", "cosine", "constant")
    )
    max_grad_norm: float = setting("optimisation", "clip the gradient's norm here", 1.0, above=0.0)
    gradient_checkpointing: bool = setting("optimisation", "less memory for about a third more time", False)

    @property
    def start(self) -> str | None:
        """The policy that is trained further."""
        return self.model

    def check_context(self, name: str, family: Facts | None, context: int | None) -> None:
        """Refuse lengths for which the policy `name` has too few positions; `context` None is no limit.

        Raises:
            ConfigError: they do not fit into it.
        """
        prompt, completion = self.max_prompt_length, self.max_completion_length
        needed = (family or CAUSAL).positions(prompt, completion)
        if context is not None and needed > context:
            raise ConfigError(
                f"--max-prompt-length {prompt} and --max-completion-length {completion} need {needed} tokens, "
                f"{name} has a context of {context}: lower one of them"
            )


@dataclass(kw_only=True)
class TrainConfig(CommonConfig):
    """Settings of `dpo train`: Direct Preference Optimization (Rafailov et al. 2023)."""

    kind = "dpo"

    beta: float = setting("preference loss", "strength of the pull towards the reference", 0.1, above=0.0)
    loss_type: list[str] = setting("preference loss", "one or more of TRL's losses", ["sigmoid"], choices=tuple(LOSSES))
    loss_weights: list[float] | None = setting("preference loss", "a weight for each loss", None)
    label_smoothing: float = setting(
        "preference loss", "share of labels taken as wrong (robust, exo_pair, aot)", 0.0, low=0.0, high=0.499
    )
    f_divergence_type: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = setting(
        "preference loss", "divergence that holds the policy to the reference (f-DPO)", "reverse_kl",
        choices=DIVERGENCES,
    )  # fmt: skip
    f_alpha_divergence_coef: float = setting("preference loss", "alpha of --f-divergence-type alpha_divergence", 0.5)
    discopop_tau: float = setting("preference loss", "temperature of --loss-type discopop", 0.05, above=0.0)
    ld_alpha: float | None = setting(
        "preference loss", "weight of what the longer answer says beyond the shorter one's length (LD-DPO)", None,
        low=0.0, high=1.0,
    )  # fmt: skip
    use_weighting: bool = setting("preference loss", "weight pairs by their probability under the policy (WPO)", False)
    sync_ref_model: bool = setting("preference loss", "let the reference follow the policy slowly (TR-DPO)", False)
    ref_model_mixup_alpha: float = setting(
        "preference loss", "share of the policy in the new reference (--sync-ref-model)", 0.6, above=0.0, high=1.0
    )
    ref_model_sync_steps: int = setting(
        "preference loss", "updates between two of its moves (--sync-ref-model)", 512, low=1
    )
    cache_reference: bool = setting(
        "preference loss", "keep the reference's log-probabilities on disk for later epochs, evaluations and runs", True
    )

    lora: bool = setting("adapters", "train a LoRA adapter instead of all weights", False)
    lora_rank: int = setting("adapters", "rank of the adapter", 16, low=1)
    lora_alpha: float | None = setting("adapters", "scale of the adapter (default: twice the rank)", None, above=0.0)
    lora_dropout: float = setting("adapters", "dropout within the adapter", 0.0, low=0.0, high=0.9)
    lora_targets: list[str] | None = setting("adapters", "modules to adapt (default: by architecture)", None)
    dora: bool = setting("adapters", "learn magnitudes apart from directions (DoRA)", False)
    quantization: Literal["none", "4bit", "8bit"] = setting(
        "adapters", "hold the frozen weights in few bits (QLoRA; needs bitsandbytes)", "none",
        choices=("none", "4bit", "8bit"),
    )  # fmt: skip

    keep_best: Literal["none", "margin", "accuracy", "loss", "win_rate"] = setting(
        "optimisation", "the policy that is kept at the end: the last, or the best on the held-out pairs by this",
        "none", choices=("none", *BEST_BY),
    )  # fmt: skip
    early_stopping: int | None = setting(
        "optimisation", "stop after this many evaluations without a better --keep-best measure", None, low=1
    )
    kl_budget: float | None = setting(
        "optimisation", "stop when the policy's own answers are this many nats from the reference", None, above=0.0
    )
    kl_prompts: int = setting(
        "optimisation", "held-out prompts on which that distance is measured at every evaluation", 8, low=0, high=256
    )
    eval_win_rate: int = setting(
        "optimisation", "held-out prompts whose answers --eval-judge compares with those of the run's start at "
        "every evaluation (0: not)", 0, low=0, high=2000,
    )  # fmt: skip
    eval_judge: str | None = setting(
        "optimisation", "who says which answer won: reward:POLICY, reward-per-token:POLICY, reward-model:NAME, "
        "endpoint:URL#MODEL, longer or emoji", None,
    )  # fmt: skip
    allow_step_zero: bool = setting("record", "go on even if the step-0 check fails", False)

    def validate(self) -> None:
        """See `CommonConfig.validate`; also the contradictions between losses and their settings."""
        super().validate()
        if not self.loss_type:
            raise ConfigError("--loss-type is empty: give one of " + ", ".join(LOSSES))
        if self.loss_weights is not None and len(self.loss_weights) != len(self.loss_type):
            raise ConfigError(
                f"--loss-weights has {len(self.loss_weights)} values for {len(self.loss_type)} losses: give one each"
            )
        self._check_loss_options()
        self._check_reference_options()
        self._check_adapter_options()
        if self.early_stopping is not None and self.keep_best == "none":
            raise ConfigError("--early-stopping needs a measure to stop by: add --keep-best margin, accuracy or loss")
        self._check_win_rate()
        if (self.early_stopping is not None or self.keep_best != "none") and self.eval_fraction == 0:
            raise ConfigError("--keep-best and --early-stopping need held-out pairs: set --eval-fraction above 0")
        if self.kl_budget is not None and (self.kl_prompts == 0 or self.eval_fraction == 0):
            raise ConfigError(
                "--kl-budget is measured on held-out prompts: set --kl-prompts and --eval-fraction above 0"
            )

    def _check_win_rate(self) -> None:
        if self.keep_best == "win_rate" and not self.eval_win_rate:
            raise ConfigError("--keep-best win_rate needs one: add --eval-win-rate 50 and --eval-judge")
        if self.eval_win_rate and not self.eval_judge:
            # None is usual: a rule such as "longer" would choose the longest policy, the run's own reward itself.
            raise ConfigError("--eval-win-rate needs a judge: add --eval-judge, such as reward:demo/gpt2-dpo")
        if self.eval_judge and not self.eval_win_rate:
            raise ConfigError("--eval-judge has nothing to judge: add --eval-win-rate, such as 50 prompts")
        if self.eval_win_rate and self.eval_fraction == 0:
            raise ConfigError("--eval-win-rate is measured on held-out prompts: set --eval-fraction above 0")

    def _changed(self, name: str) -> bool:
        """Whether a setting was given a value of its own."""
        return bool(getattr(self, name) != type(self).__dataclass_fields__[name].default)

    def _check_loss_options(self) -> None:
        """Refuse what TRL would accept and then ignore, or fail on only when training starts."""
        chosen, names = [LOSSES[name] for name in self.loss_type], set(self.loss_type)
        named = "--loss-type " + " ".join(self.loss_type)
        for loss in chosen:
            usual = loss.paper_smoothing
            if usual and self.label_smoothing == 0:
                raise ConfigError(f"--loss-type {loss.name} needs --label-smoothing above 0 (its paper uses {usual:g})")
        for name in ("label_smoothing", "discopop_tau"):
            if self._changed(name) and names.isdisjoint(acting(name)):
                raise ConfigError(
                    f"--{name.replace('_', '-')} does nothing with {named}: "
                    f"use --loss-type {' or '.join(sorted(acting(name)))}, or leave it out"
                )
        if self.f_divergence_type != "reverse_kl" and not names <= set(acting("f_divergence_type")):
            raise ConfigError(
                f"--f-divergence-type {self.f_divergence_type} has no meaning for {named}: "
                f"use {', '.join(sorted(acting('f_divergence_type')))}"
            )
        if self._changed("f_alpha_divergence_coef") and self.f_divergence_type != "alpha_divergence":
            raise ConfigError("--f-alpha-divergence-coef needs --f-divergence-type alpha_divergence")
        if self.use_weighting and not names <= set(acting("use_weighting")):
            raise ConfigError(f"--use-weighting weighs pairs, which {named} sorts apart: use another --loss-type")
        if self.batch_size == 1 and any(loss.compares_pairs for loss in chosen):
            raise ConfigError(f"{named} compares the pairs of a batch: set --batch-size to 2 or more")

    def _check_reference_options(self) -> None:
        """Refuse settings of the reference where there is none, or none that moves."""
        if (self.ld_alpha is not None or self.sync_ref_model) and not any(
            LOSSES[name].has_margin for name in self.loss_type
        ):
            raise ConfigError(
                f"--loss-type {self.loss_type[0]} alone has no reference and no margin: "
                "leave out --ld-alpha and --sync-ref-model"
            )
        for name in ("ref_model_mixup_alpha", "ref_model_sync_steps"):
            if self._changed(name) and not self.sync_ref_model:
                raise ConfigError(f"--{name.replace('_', '-')} needs --sync-ref-model")
        if self.sync_ref_model and self.lora:
            raise ConfigError("--sync-ref-model moves a reference of its own, an adapter has none: leave out --lora")

    def _check_adapter_options(self) -> None:
        given = {
            "--lora-alpha": self.lora_alpha is not None, "--lora-targets": self.lora_targets is not None,
            "--lora-dropout": self.lora_dropout > 0, "--dora": self.dora,
        }  # fmt: skip
        missing = [flag for flag, present in given.items() if present]
        if missing and not self.lora:
            raise ConfigError(f"{missing[0]} needs --lora")
        if self.quantization != "none" and not self.lora:
            raise ConfigError(
                f"--quantization {self.quantization} freezes the weights, so there is nothing to train: add --lora"
            )


@dataclass(kw_only=True)
class SftConfig(CommonConfig):
    """Settings of `dpo sft`: supervised fine-tuning on the answers of preference pairs."""

    kind = "sft"

    learn: Literal["chosen", "both"] = setting(
        "model and data", "train on the preferred answers, or on both alike", "chosen", choices=("chosen", "both")
    )
    optimizer: Literal["adamw", "muon"] = setting(
        "optimisation", "muon learns faster from random weights", "adamw", choices=("adamw", "muon")
    )
