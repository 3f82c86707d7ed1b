"""Text goes through both kinds of tokenizer without loss, also after saving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TEXTS, tiny
from transformers import AutoTokenizer
from vocabularies import lossy_unigram

from dpo.policies.loading import save_tokenizer
from dpo.policies.text import decode_ids, encode_text, encode_texts, is_lossless, lossless

TRICKY = [
    "",
    " ",
    "\n\n",
    "  two ",
    "</s> <pad> <|endoftext|>",
    "<0x41>",
    "\u2581x \u2581",
    "a\u0000b",
    "\u202e",
    "😂👨‍👩‍👧❤️",
]


@pytest.mark.parametrize("family", ["t5", "gpt2"])
@settings(max_examples=150)
@given(text=st.text())
def test_any_text_survives(family: str, text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()  # lone surrogates are not text
    tokenizer = _tokenizers()[family]
    assert decode_ids(tokenizer, encode_text(tokenizer, text)) == text


@pytest.mark.parametrize("family", ["t5", "gpt2"])
@pytest.mark.parametrize("text", TRICKY)
def test_tricky_text_survives_and_holds_no_special_token(family: str, text: str) -> None:
    tokenizer = _tokenizers()[family]
    ids = encode_text(tokenizer, text)
    assert decode_ids(tokenizer, ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_a_lossy_unigram_is_rebuilt_with_its_ids_kept(tmp_path: Path) -> None:
    published = lossy_unigram()
    assert not is_lossless(published)
    rebuilt = lossless(published, ["🎉" * 9 + "é"])
    assert is_lossless(rebuilt) and is_lossless(rebuilt, TRICKY)
    for text in ("the cat", "sing, the cat!", "hello 42?"):
        assert encode_text(rebuilt, text) == published(text, add_special_tokens=False)["input_ids"]
    assert rebuilt.convert_ids_to_tokens(len(published) - 1) == published.convert_ids_to_tokens(len(published) - 1)
    assert len(encode_text(rebuilt, "a🎉")) == 2 + 1  # blank, a, one token for the frequent emoji
    save_tokenizer(rebuilt, tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert encode_texts(loaded, TRICKY) == encode_texts(rebuilt, TRICKY)
    assert loaded("hi")["input_ids"][-1] == loaded.eos_token_id


def test_a_lossless_tokenizer_is_left_alone() -> None:
    for tokenizer in _tokenizers().values():
        assert lossless(tokenizer) is tokenizer


@pytest.mark.parametrize("name", ["t5-small", "gpt2"])
def test_every_real_text_round_trips_through_the_real_vocabulary(name: str, shared: Path) -> None:
    rows = [json.loads(line) for line in (shared / "data/human-like/human_like_dpo.jsonl").open(encoding="utf-8")]
    texts = [row[side] for row in rows for side in ("prompt", "chosen", "rejected")]
    published = AutoTokenizer.from_pretrained(shared / "tokenizers" / name)
    tokenizer = lossless(published, texts)
    back = tokenizer.batch_decode(
        encode_texts(tokenizer, texts), skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    assert sum(a != b for a, b in zip(texts, back, strict=True)) == 0
    plain = [t for t in texts[:600] if t.isascii() and not set(t) & set("\n{}<>~^`\\|") and "  " not in t]
    plain = [text for text in plain if text == text.strip()]
    assert len(plain) > 100
    assert encode_texts(tokenizer, plain) == published(plain, add_special_tokens=False)["input_ids"]


_CACHE: dict[str, Any] = {}


def _tokenizers() -> dict[str, Any]:
    if not _CACHE:
        _CACHE.update({family: tiny(family).tokenizer for family in ("t5", "gpt2")})
    return _CACHE


def test_fixture_texts_have_what_t5_lacks() -> None:
    assert any("{" in text for text in TEXTS) and any("\n" in text for text in TEXTS)
