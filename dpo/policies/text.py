"""Text to tokens and back without loss: `decode(encode(x)) == x` for every text.

GPT-2's byte-level vocabulary holds every text as it is.  T5's published tokenizer does not: it
folds Unicode (NFKC), collapses blanks, and has no newline, brace or emoji, so that these vanish or
become `<unk>`.  On the Human-Like pairs that would teach a policy to prefer `<unk>` (97.5 % of
chosen answers hold one, no rejected one does).  `lossless` rebuilds such a SentencePiece-Unigram
tokenizer with the same pieces under the same ids, so that ordinary English keeps its published
ids, and with bytes for everything else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPACE = "\u2581"  # SentencePiece's visible blank
# Stands in for a literal U+2581 in the text, which the decoder would else turn into a blank.
_LITERAL_SPACE = "\U000f2581"
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
_ASCII = tuple(chr(code) for code in [9, 10, 13, *range(33, 127)])
_PROBES = (
    "Two  blanks, a\nnewline and\ttab",
    " leading and trailing ",
    "{braces} <angle> \\ ~ ^ `",
    "caf\u00e9 na\u00efve \u2026 \ufb01 \u00bd \u2122 \uff21",
    "\U0001f602 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \u4f60\u597d",
    "line\n\n\nline",
)


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without special tokens added and with none parsed out of the text."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of one text; see `encode_texts`."""
    return encode_texts(tokenizer, [text])[0]


def decode_ids(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of `ids`; special tokens are left out, nothing is cleaned up."""
    text = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text


def is_lossless(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str] = _PROBES) -> bool:
    """Whether every one of `texts` survives encoding and decoding."""
    return all(decode_ids(tokenizer, encode_text(tokenizer, text)) == text for text in texts)


def lossless(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str] = ()) -> PreTrainedTokenizerBase:
    """`tokenizer` itself if it loses nothing, else its lossless counterpart.

    Characters of `texts` that the vocabulary lacks and that occur often become tokens of their own
    (an emoji is then one token instead of four bytes).  Ids that were there keep their meaning; the
    model's embeddings must be resized to the new length (`policies.loading` does).

    A tokenizer that is lossy but not Unigram is returned unchanged: `is_lossless` tells.
    """
    if is_lossless(tokenizer):
        return tokenizer
    state = json.loads(tokenizer.backend_tokenizer.to_str()) if hasattr(tokenizer, "backend_tokenizer") else {}
    if state.get("model", {}).get("type") != "Unigram":
        return tokenizer
    vocabulary = [(str(piece), float(score)) for piece, score in state["model"]["vocab"]]
    known = {piece for piece, _ in vocabulary}
    missing = [piece for piece in (*BYTES, *_ASCII, *_frequent_characters(texts)) if piece not in known]
    floor = min(score for _, score in vocabulary)
    vocabulary += [(piece, floor - 1.0) for piece in dict.fromkeys(missing)]
    specials = {str(token) for token in tokenizer.all_special_tokens}
    backend = unigram_backend(vocabulary, specials, state["model"]["unk_id"], str(tokenizer.eos_token))
    return wrap(
        backend,
        eos_token=str(tokenizer.eos_token),
        pad_token=str(tokenizer.pad_token),
        unk_token=str(tokenizer.unk_token),
        model_max_length=tokenizer.model_max_length,
        extra_special_tokens=[token for token in tokenizer.all_special_tokens if token.startswith("<extra_id_")],
    )


def unigram_backend(vocabulary: list[tuple[str, float]], specials: set[str], unk_id: int, eos_token: str) -> Tokenizer:
    """A byte-fallback Unigram tokenizer that loses nothing; ids are positions in `vocabulary`.

    The leading blank that SentencePiece prepends is added and stripped exactly once, so a text's
    own leading blank survives.
    """
    model = {"type": "Unigram", "unk_id": unk_id, "vocab": vocabulary, "byte_fallback": True}
    empty: dict[str, Any] = dict.fromkeys(
        ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    )
    backend = Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": model, **empty}))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Replace(SPACE, _LITERAL_SPACE), normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    # "<" stands alone: a text that spells out "</s>" or "<0x41>" must not be read as that token,
    # special tokens are placed by id and never parsed out of text.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=True),
            pre_tokenizers.Split("<", "isolated"),
        ]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
            decoders.Replace(_LITERAL_SPACE, SPACE),
        ]
    )
    backend.add_special_tokens(sorted(specials, key=[piece for piece, _ in vocabulary].index))
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {eos_token}", special_tokens=[(eos_token, backend.token_to_id(eos_token))]
    )
    return backend


def wrap(backend: Tokenizer, **special_tokens: Any) -> PreTrainedTokenizerFast:
    """A transformers tokenizer around `backend`, saved so that any transformers version loads it."""
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special_tokens)


def _frequent_characters(texts: Iterable[str], at_least: int = 5, at_most: int = 512) -> list[str]:
    """Non-ASCII characters of `texts` by falling frequency (ties by code point: the order is part of the ids)."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(character for character in text if ord(character) > 127)
    counts.pop(SPACE, None)
    frequent = [(-count, character) for character, count in counts.items() if count >= at_least]
    return [character for _, character in sorted(frequent)[:at_most]]
