"""A language model from random weights, from a config to a finished run on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, set_seed

from dpo.errors import ConfigError
from dpo.families import facts_of
from dpo.policies.families import CAUSAL, SEQ2SEQ
from dpo.policies.loading import save_tokenizer
from dpo.policies.text import is_lossless
from dpo.pretraining.batches import Lengths, PretrainingBatches
from dpo.pretraining.config import PretrainConfig
from dpo.pretraining.documents import Corpus, read_corpus
from dpo.pretraining.measure import continuations
from dpo.pretraining.shapes import Shape, random_policy
from dpo.pretraining.tokenizers import train_bpe, train_unigram
from dpo.pretraining.trainer import PretrainTrainer, pretrain_arguments
from dpo.runs import Run, open_run
from dpo.training.checkpoints import staged
from dpo.training.context import Context, opened
from dpo.training.precision import resolved_precision
from dpo.training.probes import Probes
from dpo.training.recipes.steps import recorder, save, update

TOKENIZER = "tokenizer"
_FOR_TOKENIZER = 20_000_000  # characters of text that a tokenizer is trained on, spread over all of it


def pretrain(config: PretrainConfig) -> Run:
    """Train a small language model on text from random weights and return its run.

    The policy can be tuned further with `dpo sft --model RUN` and `dpo train --model RUN`.

    Raises:
        DpoError: anything the user can mend (settings, text, disk), in one line.
    """
    with opened(config) as context:
        config = context.config
        set_seed(config.seed)
        family = SEQ2SEQ if facts_of(config.family) is SEQ2SEQ.facts else CAUSAL
        precision = resolved_precision(config, family.facts)

        # Read the text, make the tokenizer and the policy.
        corpus = read_corpus(config.text, config.held_out)
        context.check_fingerprint("the text", corpus.fingerprint)
        tokenizer = _tokenizer(context, corpus)
        policy = random_policy(family, tokenizer, Shape(config.width, config.layers, config.positions), config.seed)

        # Cut it into batches.
        lengths = Lengths(config.batch_tokens, config.row_length, config.prompt_length)
        batches = PretrainingBatches(policy, corpus.train, lengths, config.steps, config.seed)
        held_out = continuations(corpus.held_out, config.eval_documents)
        resuming = context.checkpoint is not None
        arguments = pretrain_arguments(config, str(context.directory), precision, bool(held_out), resuming)
        trainer = PretrainTrainer(policy, arguments, batches, held_out)

        # Train and save.
        source = f"{len(config.text)} files" if len(config.text) > 1 else Path(config.text[0]).name
        dataset = {
            "source": source, "fingerprint": corpus.fingerprint, "train": len(corpus.train), "held_out": len(held_out),
            "bytes": corpus.size, "passes": round(batches.passes, 3),
        }  # fmt: skip
        record = context.open_record(config, policy, dataset, precision)
        _keep(context, tokenizer)
        if context.step:
            trainer.tokens_seen = int(open_run(context.directory).metrics().last("tokens") or 0)
        with torch.random.fork_rng(devices=[]):
            asked = [{"prompt": read} for read, _ in held_out[: config.probes if context.main else 0]]
            probes = Probes(policy, asked, record, config.seed)
        shown = {"loss": "loss", "eval_bits_per_byte": "bits/byte"}
        update(context, trainer, recorder(context, round(batches.documents_per_step)), probes, shown)
        save(context, trainer, policy)
    return open_run(context.directory)


def _tokenizer(context: Context[PretrainConfig], corpus: Corpus) -> PreTrainedTokenizerBase:
    """The tokenizer of the run that is resumed, the one that was named, or one trained on the text.

    Raises:
        ConfigError: the named one cannot be read, or loses text.
    """
    config, own = context.config, context.directory / TOKENIZER
    if context.resumed is not None and own.is_dir():
        return _read(own)
    if config.tokenizer:
        return _read(Path(config.tokenizer))
    texts = ["\n".join(document) for document in corpus.train]
    every = max(1, sum(map(len, texts)) // _FOR_TOKENIZER)
    make = train_unigram if facts_of(config.family) is SEQ2SEQ.facts else train_bpe
    return make(texts[::every], config.vocabulary)


def _keep(context: Context[PretrainConfig], tokenizer: PreTrainedTokenizerBase) -> None:
    """Keep the tokenizer in the run's directory: training a Unigram vocabulary again may order equal pieces otherwise.

    After the record: a directory without one is no run, and nobody could go on with it.
    """
    if context.main and not (context.directory / TOKENIZER).is_dir():
        with staged(context.directory / TOKENIZER) as directory:
            save_tokenizer(tokenizer, directory)


def _read(directory: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--tokenizer {directory} holds no tokenizer that can be read: check the path") from error
    if not is_lossless(tokenizer):
        raise ConfigError(f"--tokenizer {directory} loses text (emoji, newlines, blanks): use another, or leave it out")
    return tokenizer
