"""Which files a published policy consists of, the same for sending and for fetching."""

from __future__ import annotations

import fnmatch

from dpo.runs.record import AUDIT, HARDWARE, METRICS, SAMPLES

CARD, CURVES, RECORD = "README.md", "curves.png", "run"
# In the directory RECORD, beside `run.json`.
RECORDED = (METRICS, SAMPLES, HARDWARE, AUDIT, "eval.json")
# Nothing that could run code when it is loaded: no pickles, no Python.
_WEIGHTS = ("model*.safetensors", "adapter_model.safetensors")
_TOKENIZER = ("tokenizer.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
_BESIDE = (
    "config.json", "generation_config.json", "adapter_config.json", "model.safetensors.index.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt", "chat_template.jinja",
)  # fmt: skip
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def is_weights(name: str) -> bool:
    """Weights at the top of a repository, as safetensors."""
    return "/" not in name and any(fnmatch.fnmatchcase(name, pattern) for pattern in _WEIGHTS)


def is_tokenizer(name: str) -> bool:
    """A file that holds a vocabulary."""
    return name in _TOKENIZER


def is_policy_file(name: str) -> bool:
    """Weights, configs and tokenizer; the card is not among them."""
    return is_weights(name) or is_tokenizer(name) or name in _BESIDE


def is_pickled(name: str) -> bool:
    """Weights in a format that can run code when it is loaded."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _PICKLED)
