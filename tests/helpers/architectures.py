"""Tiny random models of seven architectures beyond T5 and GPT-2, made here so that no test needs a download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny import tiny
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    GPTNeoConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MT5Config,
    Qwen2Config,
    T5Config,
)

from dpo.policies.loading import Policy, save_policy

LLAMA = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 128,
}  # fmt: skip
NEO = {"num_layers": 2, "num_heads": 2, "hidden_size": 32, "attention_types": [[["global", "local"], 1]]}
T5_SIZE = {
    "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0,
    "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
}  # fmt: skip
BART = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 128,
}  # fmt: skip
CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "tinyllama": (LlamaConfig, LLAMA),
    "qwen": (Qwen2Config, LLAMA),
    "pythia": (GPTNeoXConfig, {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}),
    "gpt-neo": (GPTNeoConfig, NEO | {"max_position_embeddings": 128, "window_size": 16}),
    "flan-t5": (T5Config, T5_SIZE),
    "mt5": (MT5Config, T5_SIZE),
    "bart": (BartConfig, BART),
}


def save_model(name: str, directory: Path) -> Path:
    """Random weights of that architecture with the tokenizer of its family's tiny policy."""
    kind, sizes = CONFIGS[name]
    seq2seq = kind in (T5Config, MT5Config, BartConfig)
    policy = tiny("t5" if seq2seq else "gpt2")
    tokenizer = policy.tokenizer
    special = {"bos_token_id": 0, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    if kind is BartConfig:
        special["decoder_start_token_id"] = tokenizer.eos_token_id
    torch.manual_seed(0)
    config = kind(vocab_size=len(tokenizer), **sizes, **special)
    auto = AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM
    save_policy(Policy(name, auto.from_config(config), tokenizer, policy.family), directory)
    return directory
