"""Caches of keys and values, and the argument by which transformers' models take one."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from transformers import DynamicCache, EncoderDecoderCache

_VERSION = tuple(map(int, version("transformers").split(".")[:2]))
CACHE_ARGUMENT = "cache" if _VERSION >= (5, 24) else "past_key_values"
"""transformers 5.24 renamed `past_key_values`, and warns where the old name is used."""


def cached(cache: Any) -> dict[str, Any]:
    """The argument with which a model, its decoder or `generate` uses this cache."""
    return {CACHE_ARGUMENT: cache}


def empty_cache(has_encoder: bool) -> DynamicCache | EncoderDecoderCache:
    """A cache that grows; `generate` would size its own by the encoder's depth, too small for a deeper decoder."""
    return EncoderDecoderCache(DynamicCache(), DynamicCache()) if has_encoder else DynamicCache()
