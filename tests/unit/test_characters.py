"""No answer holds bytes of no character, whoever draws it; what is valid stays what it was."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TEXTS, tiny
from tokenizers import Tokenizer, decoders, models
from transformers import GenerationConfig, PreTrainedTokenizerFast

from dpo.generation.detokenizer import Writer
from dpo.generation.sampler import answer, generate, stream
from dpo.generation.settings import Sampling
from dpo.generation.tracks import AskedPolicy
from dpo.policies.characters import BORDER, NOWHERE, Characters
from dpo.policies.loading import Policy, load_policy

FAMILIES = ["t5", "gpt2"]
POLICIES = {family: tiny(family) for family in FAMILIES}


def byte_tokens(policy: Policy) -> list[int]:
    """The token of each of the 256 bytes."""
    if policy.family.has_encoder:
        ids = policy.tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in range(256)])
    else:
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        ids = policy.tokenizer.convert_tokens_to_ids([bytes_to_unicode()[byte] for byte in range(256)])
    return [int(token) for token in ids]


# The bounds that second bytes can have, and what follows them.
TAILS = [bytes(tail) for length in range(4) for tail in itertools.product((0x80, 0x90, 0xA0), repeat=length)]
BYTE_TOKENS = {family: byte_tokens(policy) for family, policy in POLICIES.items()}


def steps(characters: Characters, tokens: list[int]) -> int:
    state = BORDER
    for token in tokens:
        state = characters.after(state, token) if state != NOWHERE else NOWHERE
    return state


def is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("family", FAMILIES)
def test_two_bytes_and_pythons_own_decoder(family: str) -> None:
    """Every pair of bytes, and every character's end: the states are those of UTF-8."""
    characters, tokens = POLICIES[family].characters, BYTE_TOKENS[family]
    assert characters is not None
    for pair in itertools.product(range(0x7E, 256), repeat=2):
        state = steps(characters, [tokens[byte] for byte in pair])
        ends = [is_text(bytes(pair) + tail) for tail in TAILS]
        assert (state != NOWHERE) == any(ends) and (state == BORDER) == ends[0]
    for character in "aé߿ࠀ⚡퟿�𐀀🍕\U0010ffff":
        spelled = [tokens[byte] for byte in character.encode()]
        assert steps(characters, spelled) == BORDER
        assert all(steps(characters, spelled[:cut]) not in (BORDER, NOWHERE) for cut in range(1, len(spelled)))


@settings(max_examples=60)
@given(st.sampled_from(FAMILIES), st.binary(max_size=24), st.text(max_size=6))
def test_bytes_are_shown_as_far_as_they_are_characters(family: str, data: bytes, text: str) -> None:
    """Also from an engine that draws what it likes: never U+FFFD, and every whole character beside the others."""
    policy, tokens = POLICIES[family], BYTE_TOKENS[family]
    writer = Writer(policy)
    ids = [tokens[byte] for byte in data + text.encode("utf-8", "replace")]
    shown = "".join(writer.push(token) for token in ids) + writer.finish()
    expected = (data + text.encode("utf-8", "replace")).decode("utf-8", "ignore")
    # SentencePiece's form has one blank before the text, which a text of bytes alone does not.
    assert shown == writer.text == (expected.removeprefix(" ") if family == "t5" else expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_write_characters_only(family: str) -> None:
    """At a temperature at which nearly every answer broke: streamed, in a batch and mixed with a reference."""
    policy = POLICIES[family]
    for seed in range(4):
        hot = Sampling(temperature=2.0, top_p=1.0, max_new_tokens=40, seed=seed)
        batch = generate(policy, TEXTS[:4], hot)
        for prompt, found in zip(TEXTS[:4], batch, strict=True):
            pieces = list(stream(policy, prompt, hot))
            assert "".join(piece.text for piece in pieces) == found.text and "\ufffd" not in found.text
            drawn = [piece.token for piece in pieces if piece.token is not None]
            assert policy.characters is not None and steps(policy.characters, drawn) != NOWHERE
    other = tiny(family, seed=0)
    settings = Sampling(temperature=2.0, top_p=0.9, max_new_tokens=40)
    mixed = list(answer([AskedPolicy(policy, 1.5, other)], TEXTS[0], settings))
    assert "\ufffd" not in "".join(piece.text for piece in mixed)
    [beam] = generate(policy, TEXTS[:1], Sampling(temperature=0, beams=3, max_new_tokens=12))
    assert "\ufffd" not in beam.text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_character_cut_by_the_length_is_left_out(family: str) -> None:
    policy, tokens = POLICIES[family], BYTE_TOKENS[family]
    writer = Writer(policy)
    word = policy.family.encode_completions(policy.tokenizer, ["food"])[0][:-1]
    shown = [writer.push(token) for token in [*word, *(tokens[byte] for byte in "🍕".encode()[:3])]]
    assert "".join(shown) + writer.finish() == "food" == writer.text and len(writer.ids) == len(word) + 3


@pytest.mark.parametrize("name", ["demo/t5", "demo/t5-dpo", "demo/gpt2", "demo/gpt2-dpo"])
def test_valid_text_is_what_transformers_alone_writes(name: str) -> None:
    policy = load_policy(name, device="cpu")
    prompts = ["Do you like tea?", "Any fun plans for the weekend?"]
    answers = generate(policy, prompts, Sampling(temperature=0, max_new_tokens=32, repetition_penalty=1))
    for prompt, found in zip(prompts, answers, strict=True):
        ids = torch.tensor([policy.encode_prompt(prompt)])
        config = GenerationConfig(
            do_sample=False, max_new_tokens=32, eos_token_id=policy.eos_token_id, pad_token_id=policy.pad_token_id,
            decoder_start_token_id=policy.decoder_start, use_cache=False,
        )  # fmt: skip
        out = policy.network.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0]
        expected = policy.decode(out[1 if policy.family.has_encoder else ids.size(1) :].tolist())
        assert found.text == expected.rstrip("\ufffd")


def test_a_vocabulary_without_a_way_back_is_never_led_astray() -> None:
    """Bytes that begin a character whose other bytes are no tokens lead nowhere."""
    vocabulary = {"<unk>": 0, "a": 1, "<0xF4>": 2, "b": 3, "<0xC3>": 4, "<0xA9>": 5}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.ByteFallback()
    characters = Characters.of(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))
    assert characters is not None
    assert characters.after(BORDER, 4) not in (BORDER, NOWHERE) and characters.follow([4, 5]) == BORDER
    logits = characters.mask(torch.zeros(2, 6), [BORDER, characters.after(BORDER, 4)])
    assert torch.isfinite(logits).int().tolist() == [[1, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]]


def test_a_vocabulary_of_whole_characters_needs_no_mask() -> None:
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    assert Characters.of(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")) is None
