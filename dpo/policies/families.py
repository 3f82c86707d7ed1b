"""How decoder-only (GPT-2, Llama) and encoder-decoder (T5, BART) models read prompts and write answers.

What else differs between the two is in the tables of `dpo.families`, which load no model; nothing outside these
two modules asks which family a policy is by name.

Both see a prompt and answer with a completion that ends in EOS.  Prompt and completion are
tokenised apart, so that the tokens a policy is trained on are the tokens it will be asked to
generate: no token ever spans the boundary.

* Causal: `prompt + "\\n"`, then the completion, in one sequence.  Where a prompt comes with several
  completions they may share one row (`dpo.policies.sharing`).
* Seq2Seq: `prompt + EOS` into the encoder; the decoder starts at `decoder_start_token_id`.

A batch has TRL's keys (`input_ids`, `attention_mask`, `completion_mask`), rows `[chosen; rejected]`
for pairs.  For Seq2Seq `input_ids` is the decoder's sequence and the prompts come in two keys of
their own, one row per prompt however many completions it has: each prompt is encoded once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from dpo import families
from dpo.families import Facts, FamilyKey
from dpo.policies.caches import cached
from dpo.policies.cross_attention import prompt_cache
from dpo.policies.names import T5_LIKE, context_of
from dpo.policies.sharing import may_share, pack, packed_states, worth_packing
from dpo.policies.text import decode_ids, encode_texts

Batch = dict[str, Tensor]
Ids = list[int]
# A question, or a conversation: messages with `role` and `content`, the last one the user's.
Prompt = str | list[dict[str, str]]


class Family(ABC):
    """How one kind of model reads prompts and writes completions."""

    facts: Facts

    @property
    def key(self) -> FamilyKey:
        """What records and pages call it."""
        return self.facts.key

    @property
    def has_encoder(self) -> bool:
        """Whether prompts go into an encoder of their own."""
        return self.facts.has_encoder

    @property
    def unshared(self) -> Family:
        """The same, with a row of its own for every answer: rows that share a prompt are exact for most models only."""
        return self

    def encode_prompts(self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> list[Ids]:
        """Token ids of each prompt exactly as the model sees it.

        Where the tokenizer has a chat template it is applied, with the opening of the assistant's turn;
        elsewhere a conversation is written out as `plain_conversation` does.
        """
        if has_chat_template(tokenizer):
            return [_templated(tokenizer, prompt) for prompt in prompts]
        texts = [prompt if isinstance(prompt, str) else plain_conversation(prompt) for prompt in prompts]
        return self._encode_plain(tokenizer, texts)

    @abstractmethod
    def _encode_plain(self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[Ids]:
        """Token ids of prompts for a tokenizer without a chat template."""

    def encode_completions(self, tokenizer: PreTrainedTokenizerBase, completions: Sequence[str]) -> list[Ids]:
        """Token ids of each completion, EOS included once."""
        end = _eos(tokenizer)
        return [[*ids, end] for ids in encode_texts(tokenizer, completions)]

    def shown_prompt(self, tokenizer: PreTrainedTokenizerBase, prompt_ids: Ids) -> str:
        """The prompt's tokens as text, special tokens visible."""
        if has_chat_template(tokenizer):
            return str(tokenizer.decode(prompt_ids, skip_special_tokens=False))
        text = decode_ids(tokenizer, prompt_ids)
        return text + str(tokenizer.eos_token) if prompt_ids[-1:] == [tokenizer.eos_token_id] else text

    @abstractmethod
    def context(self, config: PretrainedConfig) -> int | None:
        """Most tokens that prompt and completion may hold together; None where there is no such limit."""

    @abstractmethod
    def collate(self, prompts: Sequence[Ids], completions: Sequence[Ids], pad: int, start: int | None) -> Batch:
        """Right-padded batch of `len(completions)` rows; completion `i` belongs to prompt `i % len(prompts)`.

        Shapes: `input_ids`, `attention_mask`, `completion_mask` are `(rows, length)`; masks are by
        length, never by token id, because GPT-2 pads with its EOS.
        """

    @abstractmethod
    def completion_states(self, model: PreTrainedModel, batch: dict[str, Any]) -> Tensor:
        """`(rows, length - 1, d)`: the state at `[:, t]` predicts `input_ids[:, t + 1]`, ready for the output head."""

    @abstractmethod
    def lora_targets(self, config: PretrainedConfig) -> list[str] | str:
        """Modules that LoRA adapts unless others are named."""


class Causal(Family):
    """Decoder-only models: GPT-2 and every other causal language model.

    `width` is the model's hidden size where answers to one prompt may share a row, 0 where not.
    """

    facts = families.CAUSAL

    def __init__(self, width: int = 0) -> None:
        self.width = width

    @property
    def unshared(self) -> Family:
        return CAUSAL

    def _encode_plain(self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[Ids]:
        return encode_texts(tokenizer, [prompt + "\n" for prompt in prompts])

    def context(self, config: PretrainedConfig) -> int | None:
        return context_of(config.to_dict())

    def collate(self, prompts: Sequence[Ids], completions: Sequence[Ids], pad: int, start: int | None) -> Batch:
        if self.width and len(completions) > len(prompts) and worth_packing(prompts, completions, self.width):
            # To the trainer it looks like a decoder's sequence: the prompt's last token, then the completion.
            firsts = [prompts[i % len(prompts)][-1] for i in range(len(completions))]
            return _answer_rows(firsts, completions, pad) | pack(prompts, completions, pad)
        pairs = [(prompts[i % len(prompts)], completion) for i, completion in enumerate(completions)]
        return {
            "input_ids": _pad([p + c for p, c in pairs], pad),
            "attention_mask": _pad([[1] * (len(p) + len(c)) for p, c in pairs], 0),
            "completion_mask": _pad([[0] * len(p) + [1] * len(c) for p, c in pairs], 0),
        }

    def completion_states(self, model: PreTrainedModel, batch: dict[str, Any]) -> Tensor:
        scale = _logit_scale(model.config)
        if "packed_ids" in batch:
            states = packed_states(model, batch)
        else:
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            states = model.base_model(**inputs, use_cache=False).last_hidden_state[:, :-1]
        return states if scale == 1.0 else states * scale

    def lora_targets(self, config: PretrainedConfig) -> list[str] | str:
        # GPT-2's fused attention projection and its output; elsewhere PEFT's "all-linear" fits every architecture.
        return ["c_attn", "c_proj"] if config.model_type == "gpt2" else "all-linear"


class Seq2Seq(Family):
    """Encoder-decoder models: T5 and BART."""

    facts = families.SEQ2SEQ

    def _encode_plain(self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[Ids]:
        end = _eos(tokenizer)
        return [[*ids, end] for ids in encode_texts(tokenizer, prompts)]

    def context(self, config: PretrainedConfig) -> int | None:
        return context_of(config.to_dict())  # of BART, for each side

    def collate(self, prompts: Sequence[Ids], completions: Sequence[Ids], pad: int, start: int | None) -> Batch:
        if start is None:
            raise ValueError("an encoder-decoder model needs decoder_start_token_id")
        return _answer_rows([start] * len(completions), completions, pad) | {
            "prompt_input_ids": _pad(prompts, pad),
            "prompt_attention_mask": _pad([[1] * len(p) for p in prompts], 0),
        }

    def completion_states(self, model: PreTrainedModel, batch: dict[str, Any]) -> Tensor:
        prompt_mask = batch["prompt_attention_mask"]
        encoded = model.get_encoder()(input_ids=batch["prompt_input_ids"], attention_mask=prompt_mask).last_hidden_state
        decoder_ids = batch["input_ids"][:, :-1]
        per_prompt = decoder_ids.size(0) // encoded.size(0)
        states = model.get_decoder()(
            input_ids=decoder_ids,
            encoder_hidden_states=encoded.repeat(per_prompt, 1, 1),
            encoder_attention_mask=prompt_mask.repeat(per_prompt, 1),
            use_cache=False,
            **cached(prompt_cache(model, encoded, per_prompt)),
        ).last_hidden_state
        assert isinstance(states, Tensor)
        if getattr(model.config, "scale_decoder_outputs", False):
            states = states * (model.config.d_model**-0.5)  # T5 with tied embeddings
        return states

    def lora_targets(self, config: PretrainedConfig) -> list[str] | str:
        if config.model_type in T5_LIKE:
            return ["q", "k", "v", "o"]
        return ["q_proj", "k_proj", "v_proj", "out_proj"]


def has_chat_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether prompts of this tokenizer are conversations."""
    return bool(getattr(tokenizer, "chat_template", None))


def prompt_of(tokenizer: PreTrainedTokenizerBase, pair: Mapping[str, Any]) -> Prompt:
    """What a preference pair asks a model with this tokenizer.

    A pair of several turns has them as `messages` beside the text of its `prompt`: a chat template gets
    the messages, without one the text is what the model reads.  Whoever trains on a pair, scores it or
    answers it asks here, so that all of them mean the same tokens.
    """
    messages: list[dict[str, str]] | None = pair.get("messages") if has_chat_template(tokenizer) else None
    return messages or str(pair["prompt"])


def plain_conversation(messages: Sequence[dict[str, str]]) -> str:
    """A conversation as text, for models without a chat template.

    One question stays as it is; longer ones are written as Anthropic's hh-rlhf does,
    `\n\nHuman: ...\n\nAssistant: ...`, and end where the assistant is to speak.
    """
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    names = {"user": "Human", "assistant": "Assistant", "system": "System"}
    turns = [f"\n\n{names.get(turn['role'], turn['role'].title())}: {turn['content']}" for turn in messages]
    return "".join(turns) + "\n\nAssistant:"


def _templated(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Ids:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: Ids = tokenizer(text, add_special_tokens=False)["input_ids"]  # the template's special tokens are meant
    return ids


CAUSAL = Causal()
SEQ2SEQ = Seq2Seq()


def family_of(config: PretrainedConfig) -> Family:
    """The family of a model, from its config alone."""
    if config.is_encoder_decoder:
        return SEQ2SEQ
    return Causal(config.hidden_size) if may_share(config) else CAUSAL


def _logit_scale(config: PretrainedConfig) -> float:
    """What a few architectures multiply (Cohere, Falcon-H1) or divide (Granite) their logits by."""
    for name in ("logit_scale", "lm_head_multiplier"):
        if getattr(config, name, None) is not None:
            return float(getattr(config, name))
    divisor = getattr(config, "logits_scaling", None)
    return 1.0 if divisor is None else 1.0 / float(divisor)


def output_head(model: PreTrainedModel) -> tuple[Tensor, Tensor | None]:
    """Weights `(vocabulary, d)` and bias of the output layer as they act now.

    Where PEFT trains single rows of the embeddings (`trainable_token_indices`), those rows are in.
    """
    head: Any = model.get_output_embeddings()
    bias = getattr(model, "final_logits_bias", None)
    trained_rows = getattr(head, "token_adapter", None)
    if trained_rows is None:
        weight = head.weight
    elif trained_rows.disable_adapters:  # the reference: PEFT's own `.weight` would still merge them
        weight = trained_rows.base_layer.weight
    else:
        weight = trained_rows.get_merged_weights(trained_rows.active_adapters)
    if bias is None:
        bias = getattr(head, "bias", None)
    return whole(weight), None if bias is None else whole(bias)


def whole(parameter: Tensor) -> Tensor:
    """The full tensor where FSDP keeps only a shard on this device; every process asks for it."""
    gather = getattr(parameter, "full_tensor", None)
    return parameter if gather is None else gather()


def disable_dropout(model: torch.nn.Module) -> None:
    """Switch off every kind of dropout, for training too.

    TRL zeroes `nn.Dropout` modules only.  T5's and BART's attention hand a float attribute to
    `F.dropout`, so their policies would stay noisy against their reference (1.5 nats per answer on
    a tiny model) and no run would start at ln 2.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "activation_dropout", "dropout_p", "layerdrop"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def _eos(tokenizer: PreTrainedTokenizerBase) -> int:
    end = tokenizer.eos_token_id
    assert isinstance(end, int)
    return end


def _answer_rows(firsts: Sequence[int], completions: Sequence[Ids], pad: int) -> Batch:
    return {
        "input_ids": _pad([[first, *c] for first, c in zip(firsts, completions, strict=True)], pad),
        "attention_mask": _pad([[1] * (len(c) + 1) for c in completions], 0),
        "completion_mask": _pad([[0] + [1] * len(c) for c in completions], 0),
    }


def _pad(rows: Sequence[Ids], value: int) -> Tensor:
    length = max(map(len, rows))
    return torch.tensor([row + [value] * (length - len(row)) for row in rows], dtype=torch.long)
