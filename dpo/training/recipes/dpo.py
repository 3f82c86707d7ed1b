"""Direct Preference Optimization, from a config to a finished run on disk.

This is the order of things.  The formula of each loss is in `dpo/losses.py`, reference and update in
`dpo/training/trainer.py`, what every recipe does alike in `dpo/training/recipes/steps.py`.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, set_seed

from dpo.errors import ConfigError, StepZeroError
from dpo.policies.families import prompt_of
from dpo.policies.loading import Policy
from dpo.policies.names import BUNDLED, portable_name
from dpo.policies.vocabulary import vocabulary_of
from dpo.processes import process_index
from dpo.runs import Run, RunRecord, open_run
from dpo.training.best_policy import Watch, drift_monitor, save_weights
from dpo.training.config import TrainConfig
from dpo.training.context import Context, opened
from dpo.training.data import Limits, count_rows, tokenize_pairs
from dpo.training.pairs import record_audit
from dpo.training.precision import resolved_precision
from dpo.training.probes import Probes, fitting
from dpo.training.recipes.steps import check_batch, load_trainable, recorder, rows_of_update, save, update, with_rate
from dpo.training.squeezing import Squeezing
from dpo.training.trainer import PreferenceTrainer
from dpo.training.trainer_arguments import lora_config, trl_arguments
from dpo.training.win_rate import WinsOverStart, judge_of, wins_over_start

STEP_ZERO_TOLERANCE = 1e-4
_SHOWN = {"loss": "loss", "rewards/margins": "margin", "rewards/accuracies": "accuracy"}


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
    with opened(config) as context:
        config = context.config
        set_seed(config.seed)
        judge = judge_of(config)

        # Read the pairs, load the policy.
        pairs = context.load_pairs()
        policy = load_trainable(
            config, pairs, stacking="--lora" if config.lora else None, quantization=config.quantization
        )
        config = with_rate(config, policy, config.lora or policy.model is not policy.network)
        precision = resolved_precision(config, policy.family.facts)

        # Tokenise, and put policy and frozen reference into a trainer.
        limits = Limits.for_policy(policy, config)
        rows, cut = tokenize_pairs(policy, pairs.train, limits, context.scratch)
        held_out = tokenize_pairs(policy, pairs.evaluated, limits)[0] if len(pairs.evaluated) else None
        check_batch(config, len(rows))
        trainer = _trainer(context, config, policy, precision, rows, held_out)

        # Open the record.
        sizes = {"train": len(trainer.train_dataset), "held_out": count_rows(trainer.eval_dataset), "cut": cut}
        record = context.open_record(config, policy, pairs.info | sizes, precision)
        if context.main:
            record_audit(context.directory, pairs, config, [vocabulary_of(policy.tokenizer, config.model)])

        # Before the first update: the reference's answers, and a loss that must be what it is without a difference.
        with torch.random.fork_rng(devices=[]):
            prompts = fitting(policy, pairs.evaluated, config.probes, limits.prompt)
            probes = Probes(policy, prompts * (context.main and not is_sharded(trainer)), record, config.seed)
            with trainer.as_reference(policy) as frozen:
                probes.answer_reference(frozen)
                wins = wins_over_start(policy, frozen, pairs.evaluated, limits, judge, config, record)
            trainer.open_reference_cache()
            logged = recorder(context, rows_of_update(config, trainer))
            if context.step == 0:
                logged.begin(check_step_zero(trainer, record, config))
            else:
                trainer.continue_from(open_run(context.directory).metrics().last("tokens"))
            drifting = fitting(policy, pairs.evaluated, config.kl_prompts, limits.prompt)
            watch = _watch(trainer, policy, record, config, drifting, wins)

        # Train and save.
        update(context, trainer, logged, probes, _SHOWN, [watch])
        save(context, trainer, policy, watch)
    return open_run(context.directory)


def _trainer(
    context: Context[TrainConfig],
    config: TrainConfig,
    policy: Policy,
    precision: str,
    rows: Dataset,
    held_out: Dataset | None,
) -> PreferenceTrainer:
    reference: PreTrainedModel | None = None
    if not config.lora and policy.model is policy.network:
        # A copy of the policy in memory: TRL would load whatever the config's path names now.
        reference = copy.deepcopy(policy.network)
    resuming = context.checkpoint is not None
    trainer = PreferenceTrainer(
        policy, reference, trl_arguments(config, str(context.directory), precision, held_out is not None, resuming),
        rows, held_out, lora_config(policy, config) if config.lora else None, config.cache_reference,
    )  # fmt: skip
    if config.eval_win_rate and is_sharded(trainer):
        raise ConfigError("--eval-win-rate is not measured where the model is sharded: leave it out")
    policy.model = trainer.model
    if config.lora:
        # PEFT notes the path the base was loaded from; a name outlives a move to another machine.
        policy.model.peft_config["default"].base_model_name_or_path = portable_name(config.model)
        if config.model in BUNDLED:
            # At every save PEFT would ask the hub for the base of this name, to see whether its vocabulary has grown;
            # rows of new tokens are in the adapter by themselves (`lora_config`).
            policy.model.save_pretrained = partial(policy.model.save_pretrained, save_embedding_layers=False)
    return trainer


def is_sharded(trainer: PreferenceTrainer) -> bool:
    """Whether no process holds the whole model."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def check_step_zero(trainer: PreferenceTrainer, record: RunRecord, config: TrainConfig) -> dict[str, float]:
    """Measure the loss before the first update and compare it with what it must be; returns the measures.

    Raises:
        StepZeroError: it differs, and `--allow-step-zero` was not given.
    """
    rows = trainer.train_dataset
    count = min(len(rows), max(8, config.batch_size))
    first = process_index() * count
    measured = trainer.step_zero([rows[(first + row) % len(rows)] for row in range(count)])
    loss, expected = measured["loss"], measured.pop("expected")
    gap = measured.pop("max_logp_gap")
    passed = abs(loss - expected) < STEP_ZERO_TOLERANCE * max(1.0, abs(expected))
    record.update(step_zero={"loss": loss, "expected": expected, "passed": passed, "max_logp_gap": gap})
    if not passed and not config.allow_step_zero:
        raise StepZeroError(
            f"Step-0 check failed: the loss is {loss:.5f} where policy and reference agree at {expected:.5f} "
            f"(they differ by up to {gap:.3g} nats an answer); use --precision fp32, "
            "or --allow-step-zero to go on all the same"
        )
    return measured


def _watch(
    trainer: PreferenceTrainer,
    policy: Policy,
    record: RunRecord,
    config: TrainConfig,
    prompts: list[dict[str, Any]],
    wins: WinsOverStart | None,
) -> Watch:
    drift = None
    # A sharded model answers only when every process asks it: not measured there.
    if prompts and not is_sharded(trainer):
        asked = [prompt_of(policy.tokenizer, pair) for pair in prompts]
        ids = policy.family.encode_prompts(policy.tokenizer, asked)
        with trainer.as_reference(policy) as frozen:
            squeezing = Squeezing(policy, prompts, frozen, config.max_completion_length, config.seed)
        drift = drift_monitor(policy, trainer.as_reference, ids, config.seed, squeezing)

    def log(measured: dict[str, float]) -> None:
        trainer.model.eval()  # TRL would take training measures that are still being summed along
        trainer.log(measured)

    return Watch(config, record, lambda path: save_weights(trainer, policy, path), drift, wins, log)
