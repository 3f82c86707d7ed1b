"""The model's side of the loop: rows of one or several policies, their cache, the next logits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from dpo.generation import fast_decoder
from dpo.generation.fast_weights import Unsupported, read
from dpo.policies.caches import cached, empty_cache
from dpo.policies.families import Ids
from dpo.policies.loading import Policy


@dataclass(frozen=True, eq=False)
class Member:
    """A policy as it answers: with its adapter, or (`off`) as the base beneath it."""

    policy: Policy
    off: bool = False

    @property
    def key(self) -> tuple[int, bool]:
        """Equal for members that compute the same."""
        return id(self.policy), self.off

    @contextlib.contextmanager
    def active(self) -> Iterator[Policy]:
        """Within this context the policy's model is this member."""
        with self.policy.reference() if self.off else contextlib.nullcontext():
            yield self.policy

    @property
    def shape(self) -> tuple[Any, ...]:
        """Members of equal shape can be stepped together."""
        network = self.policy.network
        embeddings = network.get_input_embeddings().weight
        depth = tuple(
            getattr(network.config, name, None) for name in ("num_hidden_layers", "num_decoder_layers", "num_heads")
        )
        return type(network).__name__, tuple(embeddings.shape), embeddings.dtype, embeddings.device, depth


class Decoding:
    """A batch of (member, prompt) rows, advanced together.

    Rows are ordered by member on the inside and in the order given on the outside.

    Args:
        rows: which member answers which prompt; all members have one shape.
        plain: step through transformers' modules in any case.

    `logits` is `(rows, vocabulary)` in float32, for the next token of every row.
    """

    def __init__(self, rows: Sequence[tuple[Member, Ids]], plain: bool = False) -> None:
        keys = list(dict.fromkeys(member.key for member, _ in rows))
        self.members = [next(m for m, _ in rows if m.key == key) for key in keys]
        self.policy = self.members[0].policy
        self.device = self.policy.device
        self._of = [keys.index(member.key) for member, _ in rows]  # each row's member, outside order
        order = sorted(range(len(rows)), key=self._of.__getitem__)
        self._arrange(order)
        self._fast: fast_decoder.Gpt2 | fast_decoder.T5 | None = None
        self._plain: list[_Modules] = []
        self._start([rows[i] for i in order], plain)

    def feed(self, tokens: Tensor) -> None:
        """Append one token to each row, `(rows,)`, and compute the logits of the next."""
        tokens = tokens if self._inner is None else tokens[self._inner]
        if self._fast is not None:
            self._set(self._fast.step(tokens, self._sections))
            return
        parts = [
            model.feed(tokens[start:end])
            for model, (_, start, end) in zip(self._plain, self._sections, strict=True)
        ]  # fmt: skip
        self._set(parts[0] if len(parts) == 1 else torch.cat(parts))

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, in this order."""
        old_inner = list(range(len(self._of))) if self._inner is None else self._inner.tolist()
        place = {outer: inner for inner, outer in enumerate(old_inner)}
        of = [self._of[row] for row in rows]
        order = sorted(range(len(rows)), key=of.__getitem__)
        inner_rows = [place[rows[i]] for i in order]
        old_sections = self._sections
        self._of = of
        self._arrange(order)
        if self._fast is not None:
            self._fast.keep(torch.tensor(inner_rows, device=self.device))
            return
        remaining = []
        for model, (_, start, end) in zip(self._plain, old_sections, strict=True):
            own = [row - start for row in inner_rows if start <= row < end]
            if own:
                model.keep(torch.tensor(own, device=self.device))
                remaining.append(model)
        self._plain = remaining

    def _arrange(self, order: list[int]) -> None:
        """`order`: the outside row at each inside place."""
        self._inner = None if order == list(range(len(order))) else torch.tensor(order, device=self.device)
        self._outer = None if self._inner is None else self._inner.argsort()
        inside = [self._of[i] for i in order]
        self._sections: list[fast_decoder.Section] = []
        for member in dict.fromkeys(inside):
            start = inside.index(member)
            self._sections.append((member, start, start + inside.count(member)))

    def _set(self, logits: Tensor) -> None:
        self.logits = (logits if self._outer is None else logits[self._outer]).float()

    def _start(self, rows: Sequence[tuple[Member, Ids]], plain: bool) -> None:
        width = max(len(ids) for _, ids in rows)
        logits = []
        for member, start, end in self._sections:
            model = _Modules(self.members[member], [ids for _, ids in rows[start:end]], width)
            logits.append(model.logits)
            self._plain.append(model)
        self._set(torch.cat(logits))
        if not plain:
            with contextlib.suppress(Unsupported):
                self._fast = self._leave_modules(all(len(ids) == width for _, ids in rows))
                self._plain = []

    def _leave_modules(self, same_length: bool) -> fast_decoder.Gpt2 | fast_decoder.T5:
        parts = []
        for member in self.members:
            with member.active() as policy:
                kind = type(policy.network).__name__
                # What the modules compute is read while the adapter is on or off as this member has it.
                parts.append(read(policy.network))
        cache = _joined([model.cache for model in self._plain])
        mask = None if same_length else torch.cat([model.mask for model in self._plain])
        if kind == "GPT2LMHeadModel":
            lengths = torch.cat([model.mask.sum(1) for model in self._plain])
            return fast_decoder.Gpt2(parts, cache, lengths, mask)
        return fast_decoder.T5(parts, cache, mask)


class _Modules:
    """Rows of one member, stepped by transformers."""

    def __init__(self, member: Member, prompts: Sequence[Ids], width: int) -> None:
        self.member = member
        policy = member.policy
        self.seq2seq = policy.family.has_encoder
        # Each prompt is read once, however many rows answer it.
        unique = list(dict.fromkeys(map(tuple, prompts)))
        fill = [[policy.pad_token_id] * (width - len(ids)) for ids in unique]
        # A decoder's prompt is padded on the left, so that every row's next token is the last column; an
        # encoder's on the right, because BART counts positions from the left.
        rows = [[*ids, *pad] if self.seq2seq else [*pad, *ids] for ids, pad in zip(unique, fill, strict=True)]
        ones = [([1] * len(ids), [0] * len(pad)) for ids, pad in zip(unique, fill, strict=True)]
        masks = [real + none if self.seq2seq else none + real for real, none in ones]
        ids, self.mask = torch.tensor(rows, device=policy.device), torch.tensor(masks, device=policy.device)
        self.padded = any(fill)
        self.cache: Any = empty_cache(self.seq2seq)
        if self.seq2seq:
            with member.active():
                encoder = policy.network.get_encoder()
                self.encoded = encoder(input_ids=ids, attention_mask=self._mask()).last_hidden_state
            start = torch.full((len(unique), 1), policy.decoder_start or 0, device=policy.device)
            self.logits = self._seq2seq(start)
        else:
            self.logits = self._causal(ids, (self.mask.cumsum(1) - 1).clamp(min=0))
        if len(unique) < len(prompts):
            repeated = torch.tensor([unique.index(tuple(ids)) for ids in prompts], device=policy.device)
            self.keep(repeated)
            self.logits = self.logits[repeated]

    def feed(self, tokens: Tensor) -> Tensor:
        """Logits after one more token for each row."""
        if self.seq2seq:
            return self._seq2seq(tokens[:, None])
        position = self.mask.sum(1, keepdim=True)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        return self._causal(tokens[:, None], position)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self.cache.batch_select_indices(rows)
        self.mask = self.mask[rows]
        if self.seq2seq:
            self.encoded = self.encoded[rows]

    def _mask(self) -> Tensor | None:
        return self.mask if self.padded else None

    def _causal(self, ids: Tensor, positions: Tensor) -> Tensor:
        with self.member.active() as policy:
            output = policy.model(
                input_ids=ids, attention_mask=self._mask(), position_ids=positions, use_cache=True,
                logits_to_keep=1, **cached(self.cache),
            )  # fmt: skip
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def _seq2seq(self, ids: Tensor) -> Tensor:
        with self.member.active() as policy:
            output = policy.model(
                encoder_outputs=(self.encoded,), attention_mask=self._mask(), decoder_input_ids=ids,
                use_cache=True, **cached(self.cache),
            )  # fmt: skip
        return output.logits[:, -1]  # type: ignore[no-any-return]


def _joined(caches: Sequence[Any]) -> Any:
    """One cache with the rows of all."""
    first = caches[0]
    if len(caches) == 1:
        return first
    if isinstance(first, EncoderDecoderCache):
        return EncoderDecoderCache(
            _joined([cache.self_attention_cache for cache in caches]),
            _joined([cache.cross_attention_cache for cache in caches]),
        )
    joined = DynamicCache()
    for index in range(len(first.layers)):
        keys, values = (torch.cat([getattr(c.layers[index], name) for c in caches]) for name in ("keys", "values"))
        joined.update(keys, values, index)
    return joined
