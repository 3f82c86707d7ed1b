"""Vocabularies that lose characters, as published ones do."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def lossy_unigram() -> PreTrainedTokenizerFast:
    """Like T5's published tokenizer: blanks collapse, unknown characters become <unk>."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz.,?!'0123456789"]
    pieces += [("▁the", -2.5), ("▁cat", -2.5), ("ing", -2.7), ("<extra_id_0>", 0.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        extra_special_tokens=["<extra_id_0>"],
    )  # fmt: skip
