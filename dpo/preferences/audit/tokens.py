"""What a model's vocabulary makes of the texts: lengths, cuts, unknown tokens, texts that do not come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo.arrays import Ints
from dpo.preferences.table import COLUMNS

if TYPE_CHECKING:
    from datasets import Dataset
    from tokenizers import Tokenizer

MOST_PAIRS = 10_000
"""Pairs that are tokenised; of more a seeded sample is taken (a share is then within 1 % of the whole's)."""
_MOST_CHARACTERS = 50_000
_ROUND_TRIPS = 500
_QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class Vocabulary:
    """A model's tokenizer as published and the lossless one we train with (the same where nothing is lost)."""

    name: str
    published: Tokenizer
    unknown_id: int | None
    lossless: Tokenizer
    lossless_unknown_id: int | None


@dataclass(frozen=True)
class TokenLimits:
    """Most tokens of a prompt and of an answer with its EOS, as in training."""

    prompt: int = 256
    completion: int = 256


@dataclass(frozen=True)
class Counted:
    """Of the sampled `rows` `(n,)`: tokens `(n, 3)` of each side with its end, lossless; unknown ones `(n, 2)` of
    chosen and rejected as published."""

    rows: Ints
    lengths: Ints
    unknown: Ints


def measure(pairs: Dataset, rows: Ints, vocabulary: Vocabulary, limits: TokenLimits) -> tuple[dict[str, Any], Counted]:
    """Measures of the sampled rows, and the counts of each."""
    unknown = {"published": {side: [] for side in COLUMNS}, "lossless": {side: [] for side in COLUMNS}}  # type: ignore[var-annotated]
    lengths: dict[str, list[int]] = {side: [] for side in COLUMNS}
    same = vocabulary.lossless is vocabulary.published
    for start in range(0, len(rows), 512):
        batch = pairs[rows[start : start + 512].tolist()]
        for side in COLUMNS:
            texts = [text[:_MOST_CHARACTERS] for text in batch[side]]
            ids = _encode(vocabulary.published, texts)
            unknown["published"][side] += [_count(row, vocabulary.unknown_id) for row in ids]
            if not same:
                ids = _encode(vocabulary.lossless, texts)
            unknown["lossless"][side] += [_count(row, vocabulary.lossless_unknown_id) for row in ids]
            # One more: the EOS of an answer; the EOS or newline that ends a prompt.
            lengths[side] += [len(row) + 1 for row in ids]
    found: dict[str, Any] = {"sampled": len(rows)}
    for side in COLUMNS:
        counts, limit = np.array(lengths[side]), limits.prompt if side == "prompt" else limits.completion
        found[side] = {
            "tokens": {f"p{round(100 * q)}" if q < 1 else "max": int(np.quantile(counts, q)) for q in _QUANTILES},
            "mean": round(float(counts.mean()), 1),
            "over_limit": round(float((counts > limit).mean()), 4),
            "limit": limit,
            "with_unk_published": round(float((np.array(unknown["published"][side]) > 0).mean()), 4),
            "with_unk_lossless": round(float((np.array(unknown["lossless"][side]) > 0).mean()), 4),
        }
    found["lost_published"] = _lost(pairs, rows, vocabulary.published)
    found["lost_lossless"] = _lost(pairs, rows, vocabulary.lossless)
    answers = [unknown["published"][side] for side in ("chosen", "rejected")]
    sides = np.array([lengths[side] for side in COLUMNS], np.int64).T
    return found, Counted(rows, sides, np.array(answers, np.int64).T)


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _count(ids: Sequence[int], token: int | None) -> int:
    return sum(1 for each in ids if each == token) if token is not None else 0


def _lost(pairs: Dataset, rows: Ints, tokenizer: Tokenizer) -> float:
    """Share of answers that differ after encoding and decoding."""
    some = rows[:: max(1, len(rows) // _ROUND_TRIPS)]
    batch = pairs[some.tolist()]
    texts = [text[:_MOST_CHARACTERS] for side in ("chosen", "rejected") for text in batch[side]]
    decoded = tokenizer.decode_batch(_encode(tokenizer, texts), skip_special_tokens=True)
    return round(sum(a != b for a, b in zip(texts, decoded, strict=True)) / max(len(texts), 1), 4)
