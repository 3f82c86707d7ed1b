"""Supervised fine-tuning, from a config to a finished run on disk."""

from __future__ import annotations

import torch
from transformers import set_seed

from dpo.runs import Run, open_run
from dpo.training.config import SftConfig
from dpo.training.context import opened
from dpo.training.data import Limits, count_rows, tokenize_answers
from dpo.training.precision import resolved_precision
from dpo.training.probes import Probes, fitting
from dpo.training.recipes.steps import check_batch, load_trainable, recorder, rows_of_update, save, update, with_rate
from dpo.training.sft import SftTrainer, sft_arguments


def sft(config: SftConfig) -> Run:
    """Fine-tune a policy on the answers of preference pairs and return its run.

    Raises:
        DpoError: anything the user can mend, in one line.
    """
    with opened(config) as context:
        config = context.config
        set_seed(config.seed)

        # Read the pairs, load the policy.
        pairs = context.load_pairs()
        policy = load_trainable(config, pairs, stacking="dpo sft", quantization="none")
        config = with_rate(config, policy, adapter=False)
        precision = resolved_precision(config, policy.family.facts)

        # Tokenise.
        limits = Limits.for_policy(policy, config)
        sides = ("chosen", "rejected") if config.learn == "both" else ("chosen",)
        answers, cut = tokenize_answers(policy, pairs.train, sides, limits, context.scratch)
        names = ("chosen", "rejected") if len(pairs.evaluated) else ()
        held_out = {name: tokenize_answers(policy, pairs.evaluated, [name], limits)[0] for name in names}
        check_batch(config, len(answers))
        resuming = context.checkpoint is not None
        trainer = SftTrainer(
            policy, sft_arguments(config, str(context.directory), precision, bool(held_out), resuming), answers,
            held_out or None, config.optimizer,
        )  # fmt: skip

        # Train and save.
        sizes = {"train": len(trainer.train_dataset), "held_out": count_rows(trainer.eval_dataset), "cut": cut}
        record = context.open_record(config, policy, pairs.info | sizes, precision)
        with torch.random.fork_rng(devices=[]):
            prompts = fitting(policy, pairs.evaluated, config.probes, limits.prompt)
            probes = Probes(policy, prompts if context.main else [], record, config.seed)
        update(context, trainer, recorder(context, rows_of_update(config, trainer)), probes, {"loss": "loss"})
        save(context, trainer, policy)
    return open_run(context.directory)
