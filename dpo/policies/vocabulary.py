"""The tokenizers of a policy without its weights, for the audit of data (no torch is loaded here)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo.errors import PolicyError, first_line
from dpo.hub import offline, why_offline
from dpo.policies.names import base_of, resolve
from dpo.preferences.audit.tokens import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DIRECTORY = "DPO_TOKENIZERS"
"""Environment variable: a directory of tokenizers (`t5-small/tokenizer.json`), for use without the hub."""


def load_vocabulary(name: str, texts: Iterable[str] = ()) -> Vocabulary:
    """The published and the lossless tokenizer of the policy called `name`.

    `name` may also be a directory that holds a `tokenizer.json` and no model.  `texts` are the data's:
    their frequent characters become tokens of the lossless vocabulary, as in training.

    Raises:
        PolicyError: no such policy, or its tokenizer is out of reach.
    """
    from dpo.policies.text import lossless

    published = _published(name)
    whole = lossless(published, texts)
    first = _backend(published)
    return Vocabulary(
        name,
        first,
        published.unk_token_id,
        first if whole is published else _backend(whole),
        whole.unk_token_id,
    )


def vocabulary_of(tokenizer: PreTrainedTokenizerBase, name: str) -> Vocabulary:
    """The vocabulary that a loaded policy is trained with, as the only one it has."""
    from tokenizers import Tokenizer

    # A copy: how the audit treats special tokens is no business of the training.
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    unknown = tokenizer.unk_token_id
    return Vocabulary(name, backend, unknown, backend, unknown)


def _published(name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    place = _place(name)
    try:
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except Exception as error:  # connection, cache and format errors, of many types
        if Path(place).is_dir():
            why = first_line(error)
            raise PolicyError(f"The tokenizer in {place} cannot be read ({why}): save it again") from error
        raise PolicyError(
            f"The tokenizer of {name} ({place}) is not in the local cache, and {why_offline()}; or give its "
            f"directory as --model DIR, or set {DIRECTORY}=DIR where DIR/{place.rpartition('/')[2]}/tokenizer.json is"
        ) from error


def _place(name: str) -> str:
    directory = Path(name).expanduser()
    if (directory / "tokenizer.json").is_file():
        return str(directory)
    source = resolve(name)
    if source.kind != "hub":
        here = Path(source.location)
        if source.adapter and not (here / "tokenizer.json").is_file():
            return _place(base_of(here))
        return str(here)
    local = Path(os.environ.get(DIRECTORY, "")) / source.location.rpartition("/")[2]
    if os.environ.get(DIRECTORY) and (local / "tokenizer.json").is_file():
        return str(local)
    offline()
    return source.location


def _backend(tokenizer: PreTrainedTokenizerBase) -> Any:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise PolicyError(f"{tokenizer.name_or_path} has no fast tokenizer: convert it to a tokenizer.json")
    # Text that spells out a special token is text.
    backend.encode_special_tokens = True
    return backend
