"""The settings of `dpo pretrain`.  This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from dpo.errors import ConfigError
from dpo.families import CAUSAL, FAMILIES
from dpo.training.config import RunConfig
from dpo.training.settings import setting

HEAD = 64  # width of an attention head


@dataclass(kw_only=True)
class PretrainConfig(RunConfig):
    """Settings of `dpo pretrain`: a small language model from random weights and any text."""

    kind = "pretrain"

    text: list[str] = setting(
        "model and data", "files of text: .jsonl with turns, messages or text, or plain, all of them also .gz", []
    )
    family: str = setting(
        "model and data", "encoder-decoder or decoder-only", CAUSAL.word, choices=tuple(f.word for f in FAMILIES)
    )
    width: int = setting("model and data", f"size of the hidden states, a multiple of {HEAD}", 256, low=HEAD)
    layers: int = setting("model and data", "layers (t5: of the encoder and of the decoder each)", 6, low=1)
    positions: int = setting("model and data", "longest sequence it will take (gpt2)", 512, low=8)
    vocabulary: int = setting("model and data", "tokens of the tokenizer that is trained on the text", 6144, low=400)
    tokenizer: str | None = setting("model and data", "a directory with a tokenizer to use instead", None)
    held_out: float = setting("model and data", "share of the documents kept aside", 0.01, low=0.0, high=0.5)
    eval_documents: int = setting("model and data", "measure at most this many of them", 150, low=1)
    row_length: int = setting("model and data", "tokens of a row that is learned", 256, low=8)
    prompt_length: int = setting("model and data", "tokens that the encoder reads (t5)", 128, low=8)

    tokens: int = setting("optimisation", "tokens to see in all; 40e6 is a number too", 40_000_000, low=1)
    batch_tokens: int = setting("optimisation", "tokens of one update, about", 8192, low=8)
    learning_rate: float | None = setting("optimisation", "peak rate of the matrices (Muon)", 3e-3, above=0.0)
    weight_decay: float = setting("optimisation", "decoupled weight decay", 0.1, low=0.0)
    warmup: float = setting("optimisation", "share of the updates with a rising rate", 0.03, low=0.0, high=1.0)
    decay: float = setting(
        "optimisation", "share of the updates, the last, with a falling rate", 0.35, low=0.0, high=1.0
    )
    max_grad_norm: float = setting("optimisation", "clip the gradient's norm here", 1.0, above=0.0)

    @property
    def steps(self) -> int:
        """Updates in all."""
        return max(1, self.tokens // self.batch_tokens)

    def validate(self) -> None:
        """See `RunConfig.validate`.

        Raises:
            ConfigError: also where settings contradict each other.
        """
        super().validate()
        if not self.text:
            raise ConfigError("--text is missing: name one or more files to learn from")
        if self.width % HEAD:
            raise ConfigError(f"--width is {self.width}: it must be a multiple of {HEAD}, the width of a head")
        if self.row_length > self.batch_tokens:
            raise ConfigError(f"--row-length {self.row_length} is over --batch-tokens {self.batch_tokens}: lower it")
        if self.family == CAUSAL.word and self.row_length > self.positions:
            raise ConfigError(f"--row-length {self.row_length} is over --positions {self.positions}: lower it")
        if self.warmup + self.decay > 1:
            raise ConfigError(f"--warmup {self.warmup:g} and --decay {self.decay:g} are over 1 together: lower one")
