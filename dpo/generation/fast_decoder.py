"""One decoding step of GPT-2 and T5 for several policies at once, without the modules around it.

At the sizes of this project a step through transformers' modules spends most of its time in Python:
hooks, masks, cache objects, adapters.  Here the same mathematics runs on the same weights as a flat
list of operations.  Rows of several policies advance together: a weight that they share is read
once for all rows, one that differs is applied to each policy's own rows, and a LoRA adapter adds its
low-rank product to the rows of its policy (small weights are merged once instead).

The prompt is read by transformers itself; its cache is where this starts.  Models that are not of
these two architectures, or are changed in ways not known here, raise `Unsupported` and are stepped
by transformers.  The tests hold both against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.activations import ACT2FN

from dpo.generation.fast_weights import Affine, Parts

Section = tuple[int, int, int]  # (member, first row, row after the last)
_ROOM = 64  # positions that a cache grows by at least


def same(tensors: Sequence[Tensor | None]) -> bool:
    """Whether all of them are one tensor in memory."""
    first = tensors[0]
    return all(
        x is first
        or (x is not None and first is not None and x.data_ptr() == first.data_ptr() and x.stride() == first.stride())
        for x in tensors
    )


class Product:
    """A linear layer over the rows of all members."""

    def __init__(self, members: Sequence[Affine]) -> None:
        self.members = members
        self.shared = same([m.weight for m in members]) and same([m.bias for m in members])
        self.adapted = any(m.down is not None for m in members)

    def __call__(self, x: Tensor, sections: Sequence[Section]) -> Tensor:
        if self.shared or len(sections) == 1:
            out = _apply(self.members[sections[0][0]], x)
        else:
            out = x.new_empty(x.size(0), self.members[0].weight.size(1))
            for member, start, end in sections:
                part = self.members[member]
                if part.bias is None:
                    torch.mm(x[start:end], part.weight, out=out[start:end])
                else:
                    torch.addmm(part.bias, x[start:end], part.weight, out=out[start:end])
        if self.adapted:
            for member, start, end in sections:
                part = self.members[member]
                if part.down is not None and part.up is not None:
                    out[start:end].addmm_(x[start:end] @ part.down, part.up, alpha=part.scale)
        return out


def _apply(part: Affine, x: Tensor) -> Tensor:
    return x @ part.weight if part.bias is None else torch.addmm(part.bias, x, part.weight)


class Rowwise:
    """Something with weights of its own for each member: normalisation, embeddings."""

    def __init__(self, members: Sequence[Sequence[Tensor]], function: Callable[..., Tensor]) -> None:
        self.members, self.function = members, function
        self.shared = all(same(tensors) for tensors in zip(*members, strict=True))

    def __call__(self, x: Tensor, sections: Sequence[Section]) -> Tensor:
        if self.shared or len(sections) == 1:
            return self.function(x, *self.members[sections[0][0]])
        return torch.cat([self.function(x[start:end], *self.members[member]) for member, start, end in sections])


class Buffer:
    """Keys and values of one layer, `(rows, heads, room, width)`, written in place and grown in steps."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.length = keys.size(2)
        self.keys, self.values = (_with_room(x, self.length + _ROOM) for x in (keys, values))

    def add(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append one position, `(rows, heads, 1, width)`; all of them so far."""
        if self.length == self.keys.size(2):
            room = 2 * self.length
            self.keys, self.values = _with_room(self.keys, room), _with_room(self.values, room)
        self.keys[:, :, self.length : self.length + 1] = keys
        self.values[:, :, self.length : self.length + 1] = values
        self.length += 1
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self.keys, self.values = self.keys[rows], self.values[rows]


def _with_room(x: Tensor, room: int) -> Tensor:
    grown = x.new_empty(*x.shape[:2], room, x.size(3))
    grown[:, :, : x.size(2)] = x
    return grown


class Gpt2:
    """GPT-2's step; `mask` is `(rows, positions)` of 0 and 1, or None where no row is padded."""

    def __init__(self, parts: Sequence[Parts], cache: Any, lengths: Tensor, mask: Tensor | None) -> None:
        config = parts[0]["config"]
        self.heads, width, eps = config.n_head, config.n_embd, config.layer_norm_epsilon

        def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return F.layer_norm(x, (width,), weight, bias, eps)

        self.embed = Rowwise([[p["tokens"]] for p in parts], _embed)
        self.place = Rowwise([[p["positions"]] for p in parts], _embed)
        self.layers = [
            tuple(
                Rowwise([p["layers"][i][name] for p in parts], norm)
                if name.startswith("norm")
                else Product([p["layers"][i][name] for p in parts])
                for name in ("norm1", "qkv", "out", "norm2", "up", "down")
            )
            for i in range(config.n_layer)
        ]
        self.norm = Rowwise([p["norm"] for p in parts], norm)
        self.head = Product([p["head"] for p in parts])
        self.buffers = [Buffer(layer.keys, layer.values) for layer in cache.layers]
        self.lengths, self.mask = lengths, mask

    def step(self, tokens: Tensor, sections: Sequence[Section]) -> Tensor:
        """Logits `(rows, vocabulary)` after one more token for each row."""
        rows = tokens.size(0)
        x = self.embed(tokens, sections) + self.place(self.lengths, sections)
        self.lengths = self.lengths + 1
        allowed = None
        if self.mask is not None:
            self.mask = F.pad(self.mask, (0, 1), value=1)
            allowed = self.mask[:, None, None, :].bool()
        for (norm1, qkv, out, norm2, up, down), buffer in zip(self.layers, self.buffers, strict=True):
            q, k, v = qkv(norm1(x, sections), sections).view(rows, 3, self.heads, 1, -1).unbind(1)
            keys, values = buffer.add(k, v)
            seen = F.scaled_dot_product_attention(q, keys, values, attn_mask=allowed)
            x = x + out(seen.reshape(rows, -1), sections)
            x = x + down(F.gelu(up(norm2(x, sections), sections), approximate="tanh"), sections)
        return self.head(self.norm(x, sections), sections)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        for buffer in self.buffers:
            buffer.keep(rows)
        self.lengths = self.lengths[rows]
        self.mask = None if self.mask is None else self.mask[rows]


class T5:
    """T5's decoder step; `mask` is the encoder's, `(rows, positions)` of 0 and 1, or None."""

    def __init__(self, parts: Sequence[Parts], cache: Any, mask: Tensor | None) -> None:
        config = parts[0]["config"]
        self.heads, self.gated = config.num_heads, config.is_gated_act
        width, eps = config.d_model, config.layer_norm_epsilon
        self.activation = F.relu if config.dense_act_fn == "relu" else ACT2FN[config.dense_act_fn]
        self.scale = width**-0.5 if getattr(config, "scale_decoder_outputs", False) else None

        def norm(x: Tensor, weight: Tensor) -> Tensor:
            return F.rms_norm(x, (width,), weight, eps)

        names = ["norm1", "q", "k", "v", "o", "norm2", "cross_q", "cross_o", "norm3", "up", "down"]
        names += ["gate"] if self.gated else []
        self.layers = [
            {
                name: Rowwise([p["layers"][i][name] for p in parts], norm)
                if name.startswith("norm")
                else Product([p["layers"][i][name] for p in parts])
                for name in names
            }
            for i in range(len(parts[0]["layers"]))
        ]
        self.embed = Rowwise([[p["tokens"]] for p in parts], _embed)
        self.norm = Rowwise([p["norm"] for p in parts], norm)
        self.head = Product([p["head"] for p in parts])
        self.attention = parts[0]["attention"]
        self.tables = [p["bias"] for p in parts]
        self.far: Tensor | None = None  # (members, heads, distances), the largest distance first
        self.buffers = [Buffer(layer.keys, layer.values) for layer in cache.self_attention_cache.layers]
        self.cross = [(layer.keys, layer.values) for layer in cache.cross_attention_cache.layers]
        self.mask = None if mask is None else mask[:, None, None, :].bool()

    def step(self, tokens: Tensor, sections: Sequence[Section]) -> Tensor:
        """Logits `(rows, vocabulary)` after one more token for each row."""
        rows = tokens.size(0)
        x = self.embed(tokens, sections)
        bias = self._bias(self.buffers[0].length + 1, sections)
        for layer, buffer, (cross_keys, cross_values) in zip(self.layers, self.buffers, self.cross, strict=True):
            h = layer["norm1"](x, sections)
            q, k, v = (layer[name](h, sections).view(rows, self.heads, 1, -1) for name in "qkv")
            keys, values = buffer.add(k, v)
            seen = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=1.0)
            x = x + layer["o"](seen.reshape(rows, -1), sections)
            q = layer["cross_q"](layer["norm2"](x, sections), sections).view(rows, self.heads, 1, -1)
            seen = F.scaled_dot_product_attention(q, cross_keys, cross_values, attn_mask=self.mask, scale=1.0)
            x = x + layer["cross_o"](seen.reshape(rows, -1), sections)
            h = layer["norm3"](x, sections)
            up = self.activation(layer["up"](h, sections))
            x = x + layer["down"](up * layer["gate"](h, sections) if self.gated else up, sections)
        x = self.norm(x, sections)
        return self.head(x if self.scale is None else x * self.scale, sections)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        for buffer in self.buffers:
            buffer.keep(rows)
        self.cross = [(keys[rows], values[rows]) for keys, values in self.cross]
        self.mask = None if self.mask is None else self.mask[rows]

    def _bias(self, length: int, sections: Sequence[Section]) -> Tensor:
        """The relative position bias of the newest position, `(1 or rows, heads, 1, length)`."""
        if self.far is None or self.far.size(2) < length:
            distances = torch.arange(2 * length + _ROOM, device=self.tables[0].device).flip(0)
            buckets = self.attention._relative_position_bucket(
                -distances, bidirectional=False, num_buckets=self.attention.relative_attention_num_buckets,
                max_distance=self.attention.relative_attention_max_distance,
            )  # fmt: skip
            unique = self.tables[:1] if same(self.tables) else self.tables
            self.far = torch.stack([table[buckets].t() for table in unique])
        near = self.far[:, :, None, self.far.size(2) - length :]
        if near.size(0) == 1:
            return near
        if len(sections) == 1:
            return near[sections[0][0]][None]
        return torch.cat([near[member][None].expand(end - start, -1, -1, -1) for member, start, end in sections])


def _embed(ids: Tensor, weight: Tensor) -> Tensor:
    return F.embedding(ids, weight)
