"""One decode loop for both families, with a KV cache, streaming or in batches.

Filters are transformers' own (temperature, top-k, top-p), so distributions are too.  A token is
drawn by the Gumbel-max trick: the highest of `log p + g`, with noise `g` that depends on the seed,
the prompt, the position and the token only.  So a row's text does not depend on its neighbours in
the batch, and two policies with one vocabulary see the same luck: what differs between their
answers comes from their weights.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from dpo.generation.settings import Sampling
from dpo.policies.families import Ids
from dpo.policies.loading import Policy

_SMALL = 30_000_000
_THREADS = torch.get_num_threads()

End = Literal["eos", "length", "stopped"]


@dataclass(frozen=True)
class Piece:
    """What a stream yields: new text (possibly none yet), tokens so far, and in the last one the end."""

    text: str
    tokens: int
    end: End | None = None


@dataclass(frozen=True)
class Generation:
    """A whole answer; `tokens` counts EOS too, `seconds` is the time of its batch."""

    text: str
    tokens: int
    end: End
    seconds: float


def stream(
    policy: Policy, prompt: str, sampling: Sampling, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Piece]:
    """Answer one prompt token by token; `cancelled` is asked before each token.

    No piece ends within a character: the bytes of an emoji are held back until they are whole.

    Raises:
        PromptError: blank, or too long for the policy's context.
        ConfigError: sampling values out of range.
    """
    ids: Ids = []
    shown = ""
    end: End = "length"
    for _, token in _tokens(policy, [prompt], sampling.validate()):
        ids.append(token)
        if token == policy.eos_token_id:
            end = "eos"
            break
        text = "" if _within_bytes(policy, token) else policy.decode(ids)
        if text.startswith(shown) and not text.endswith("\ufffd"):
            yield Piece(text[len(shown) :], len(ids))
            shown = text
        else:
            yield Piece("", len(ids))
        if cancelled():
            end = "stopped"
            break
    text = policy.decode(ids)
    yield Piece(text[len(shown) :] if text.startswith(shown) else "", len(ids), end)


def generate(policy: Policy, prompts: Sequence[str], sampling: Sampling, *, batch_size: int = 32) -> list[Generation]:
    """Answer prompts in batches; each answer is the one `stream` would give.

    >>> from dpo import load_policy
    >>> [answer] = generate(load_policy("demo/gpt2"), ["Do you like tea?"], Sampling(max_new_tokens=8))
    >>> answer.tokens <= 8
    True

    Raises:
        PromptError: a prompt is blank or too long.
        ConfigError: sampling values out of range.
    """
    sampling.validate()
    results: list[Generation] = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        began = time.perf_counter()
        answers: list[Ids] = [[] for _ in batch]
        for row, token in _tokens(policy, batch, sampling):
            answers[row].append(token)
        seconds = time.perf_counter() - began
        for ids in answers:
            ended: End = "eos" if ids[-1:] == [policy.eos_token_id] else "length"
            results.append(Generation(policy.decode(ids), len(ids), ended, seconds))
    return results


def suit_threads(policy: Policy) -> None:
    """One CPU thread for small models: at their size handing work between threads costs more than it saves.

    Measured on two cores: 164 tokens/s with one thread, 37 with two beside another busy process.
    """
    if policy.device.type == "cpu":
        small = sum(parameter.numel() for parameter in policy.model.parameters()) < _SMALL
        torch.set_num_threads(1 if small else _THREADS)


def filters(sampling: Sampling) -> LogitsProcessorList:
    """transformers' processors for these settings, in the order in which `generate` applies them."""
    processors = LogitsProcessorList()
    if sampling.temperature not in (0.0, 1.0):
        processors.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k > 0:
        processors.append(TopKLogitsWarper(int(sampling.top_k)))
    if sampling.top_p < 1.0:
        processors.append(TopPLogitsWarper(float(sampling.top_p)))
    return processors


class Decoding:
    """The model's side of the loop: a batch of prompts, their cache, and the next-token logits."""

    def __init__(self, policy: Policy, prompts: Sequence[Ids]) -> None:
        self.policy = policy
        self.device = policy.device
        width = max(map(len, prompts))
        pads = [width - len(ids) for ids in prompts]
        fill = policy.pad_token_id
        # Padding on the left, so that every row's next token is the last column.
        ids = torch.tensor([[fill] * pad + list(row) for pad, row in zip(pads, prompts, strict=True)])
        mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
        ids, self.mask = ids.to(self.device), mask.to(self.device)
        if policy.family.key == "t5":
            # Made here: `generate` sizes the cache by the encoder's depth, too small for a deeper decoder.
            self.cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache())
            self.encoded = policy.network.get_encoder()(input_ids=ids, attention_mask=self.mask).last_hidden_state
            start = torch.full((len(prompts), 1), policy.decoder_start or 0, device=self.device)
            self.logits = self._seq2seq(start)
        else:
            self.cache = DynamicCache()
            self.logits = self._causal(ids, (self.mask.cumsum(1) - 1).clamp(min=0))

    def feed(self, tokens: Tensor) -> None:
        """Append one token to each row, `(rows,)`, and compute the logits of the next."""
        if self.policy.family.key == "t5":
            self.logits = self._seq2seq(tokens[:, None])
        else:
            position = self.mask.sum(1, keepdim=True)
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
            self.logits = self._causal(tokens[:, None], position)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]
        if self.policy.family.key == "t5":
            self.encoded = self.encoded[rows]

    def _causal(self, ids: Tensor, positions: Tensor) -> Tensor:
        output = self.policy.model(
            input_ids=ids, attention_mask=self.mask, position_ids=positions, past_key_values=self.cache,
            use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        return output.logits[:, -1].float()  # type: ignore[no-any-return]

    def _seq2seq(self, ids: Tensor) -> Tensor:
        output = self.policy.model(
            encoder_outputs=(self.encoded,), attention_mask=self.mask, decoder_input_ids=ids,
            past_key_values=self.cache, use_cache=True,
        )  # fmt: skip
        return output.logits[:, -1].float()  # type: ignore[no-any-return]


def _tokens(policy: Policy, prompts: Sequence[str], sampling: Sampling) -> Iterator[tuple[int, int]]:
    """(row, token) in the order in which they are drawn; each row up to and with its EOS."""
    encoded = [policy.encode_prompt(prompt, reserve=1) for prompt in prompts]
    room = [min(sampling.max_new_tokens, policy.max_new_tokens(ids)) for ids in encoded]
    noise = [_generator(sampling.seed, prompt) for prompt in prompts]
    processors = filters(sampling)
    vocabulary = len(policy.tokenizer)
    rows = list(range(len(prompts)))
    written = 0
    with torch.inference_mode():
        decoding = Decoding(policy, encoded)
    while rows:
        # Not around the yields: inference mode is the thread's, and the caller may be training.
        with torch.inference_mode():
            # Rows of padding beyond the tokenizer's length are no tokens.
            tokens = _draw(decoding.logits[:, :vocabulary], sampling, processors, [noise[row] for row in rows])
        drawn = tokens.tolist()
        written += 1
        yield from zip(list(rows), drawn, strict=True)
        going = [i for i, row in enumerate(rows) if drawn[i] != policy.eos_token_id and written < room[row]]
        if not going:
            return
        with torch.inference_mode():
            if len(going) < len(rows):
                index = torch.tensor(going, device=decoding.device)
                decoding.keep(index)
                tokens, rows = tokens[index], [rows[i] for i in going]
            decoding.feed(tokens)


def _within_bytes(policy: Policy, token: int) -> bool:
    """Whether `token` is a byte of byte fallback: the run of bytes is a character only when it ends."""
    piece = policy.tokenizer.convert_ids_to_tokens(token)
    return isinstance(piece, str) and len(piece) == 6 and piece.startswith("<0x")


def _draw(logits: Tensor, sampling: Sampling, processors: LogitsProcessorList, noise: list[torch.Generator]) -> Tensor:
    if sampling.temperature == 0:
        return logits.argmax(-1)
    scores = processors(torch.empty(0, dtype=torch.long), logits)
    # -log of an exponential variate is a Gumbel variate.
    gumbel = torch.stack([-torch.empty(logits.size(-1)).exponential_(generator=generator).log() for generator in noise])
    return (scores + gumbel.to(scores.device)).argmax(-1)  # type: ignore[no-any-return]


def _generator(seed: int, prompt: str) -> torch.Generator:
    """Noise of one row: the same for every policy, on the CPU, so on every device too."""
    digest = hashlib.sha256(f"{seed}\0{prompt}".encode("utf-8", "surrogatepass")).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
