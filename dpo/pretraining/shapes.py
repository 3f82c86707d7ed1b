"""Sizes of small models of both families."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration

from dpo.policies.families import CAUSAL, SEQ2SEQ, Family
from dpo.policies.loading import Policy
from dpo.pretraining.config import HEAD


@dataclass(frozen=True)
class Shape:
    """Width `d_model`, and layers: of a decoder-only model, or of the encoder and of the decoder alike."""

    width: int
    layers: int
    positions: int = 512


def random_policy(family: Family, tokenizer: PreTrainedTokenizerBase, shape: Shape, seed: int) -> Policy:
    """A policy of `shape` with random weights.

    Encoder and decoder of a T5 are equally deep: transformers' `generate` sizes its cache by the encoder.
    """
    torch.manual_seed(seed)
    heads = shape.width // HEAD
    end = tokenizer.eos_token_id
    if not family.has_encoder:
        gpt2 = GPT2Config(
            vocab_size=len(tokenizer), n_positions=shape.positions, n_embd=shape.width, n_layer=shape.layers,
            n_head=heads, activation_function="gelu_pytorch_tanh", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            bos_token_id=end, eos_token_id=end, pad_token_id=end,
        )  # fmt: skip
        return Policy("random", GPT2LMHeadModel(gpt2), tokenizer, CAUSAL)
    t5 = T5Config(
        vocab_size=len(tokenizer), d_model=shape.width, d_kv=HEAD, d_ff=4 * shape.width, num_heads=heads,
        num_layers=shape.layers, num_decoder_layers=shape.layers, feed_forward_proj="relu", dropout_rate=0.0,
        decoder_start_token_id=tokenizer.pad_token_id, pad_token_id=tokenizer.pad_token_id, eos_token_id=end,
    )  # fmt: skip
    return Policy("random", T5ForConditionalGeneration(t5), tokenizer, SEQ2SEQ)
