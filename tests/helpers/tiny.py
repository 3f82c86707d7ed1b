"""Tiny random policies of both families, made here so that no test needs a download."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from dpo.policies.families import SEQ2SEQ, family_of
from dpo.policies.loading import Policy, save_policy
from dpo.pretraining.tokenizers import train_bpe

VOCABULARY = Path(__file__).parent.parent / "data" / "tiny-t5"
TEXTS = [
    "Do you have a go-to karaoke jam?",
    "What's your favorite food? I love pizza! 🍕 How about you?",
    "As a digital assistant, I do not have personal preferences.\n\nHowever, I can provide information.",
    "Oh, totally! 😄 I'm a sucker for a good ol' rock ballad. {braces} café ™",
    "Any fun plans for the week? I'm off to the lake with my dog 🐶",
    "I am unable to make plans. Please consult a calendar for scheduling purposes.",
]


def tiny_gpt2(seed: int = 0, context: int = 128) -> Policy:
    """A GPT-2 with random weights and a byte-level BPE of 300 tokens."""
    tokenizer = train_bpe(TEXTS, 300)
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=context, n_embd=32, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    # Wider than the usual initialisation, so that probabilities differ enough to be compared.
    config.initializer_range = 0.2
    model = GPT2LMHeadModel(config).eval()
    return Policy("tiny-gpt2", model, tokenizer, family_of(config))


def tiny_t5(seed: int = 0, encoder_layers: int = 2, decoder_layers: int = 2) -> Policy:
    """A T5 with random weights and a byte-fallback Unigram of about 400 tokens.

    `train_unigram(TEXTS, 400)` made its vocabulary once: each training of a Unigram gives another one, and with it
    the weights, and what a test sees of them, would be others in every run of the tests.
    """
    tokenizer = PreTrainedTokenizerFast.from_pretrained(VOCABULARY)
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=64, num_heads=2, num_layers=encoder_layers,
        num_decoder_layers=decoder_layers, decoder_start_token_id=0, eos_token_id=1, pad_token_id=0,
        feed_forward_proj="relu", dropout_rate=0.1,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    return Policy("tiny-t5", model, tokenizer, SEQ2SEQ)


def tiny_weights(family: str) -> Policy:
    """Random weights over 256 ids whatever a tokenizer's training makes of its text."""
    policy = tiny(family)
    torch.manual_seed(0)
    config = policy.network.config
    config.vocab_size = 256
    model = GPT2LMHeadModel(config) if family == "gpt2" else T5ForConditionalGeneration(config)
    return Policy(f"tiny-{family}", model.eval(), policy.tokenizer, family_of(config))


def tiny(family: str, seed: int = 0) -> Policy:
    """`t5` or `gpt2`."""
    return tiny_t5(seed) if family == "t5" else tiny_gpt2(seed)


def save_tiny(family: str, directory: Path, seed: int = 0) -> Path:
    """Write a tiny policy where `load_policy` finds it."""
    save_policy(tiny(family, seed), directory)
    return directory
