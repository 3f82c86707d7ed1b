"""Small lossless tokenizers of both kinds, trained on any text."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from dpo.policies.text import BYTES, SPACE, unigram_backend, wrap

END_OF_TEXT = "<|endoftext|>"


def train_bpe(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """GPT-2's kind: byte-level BPE of `size` tokens; `<|endoftext|>` ends a text and fills rows up.

    Newlines stand alone, so that the newline between prompt and answer merges with neither side.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\n"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return wrap(backend, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT, pad_token=END_OF_TEXT)


def train_unigram(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """T5's kind: Unigram of `size` tokens, bytes for what the pieces cannot spell."""
    specials = ["<pad>", "</s>", "<unk>"]
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n"), "isolated"),
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="first", split=True),
        ]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=size - len(BYTES), special_tokens=specials, unk_token="<unk>", max_piece_length=16,
        show_progress=False,
    )  # fmt: skip
    trained.train_from_iterator(texts, trainer)
    learned = [(str(piece), float(score)) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]
    floor = min(score for _, score in learned) - 1.0
    vocabulary = learned[:3] + [(byte, floor) for byte in BYTES] + learned[3:]
    backend = unigram_backend(vocabulary, set(specials), 2, "</s>")
    return wrap(backend, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
