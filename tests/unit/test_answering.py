"""Several policies at once: shared random numbers, alignment strength, log-ratios, and the settings beyond top-p."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tiny import TEXTS, tiny, tiny_gpt2, tiny_t5
from transformers import GenerationConfig

from dpo.errors import ConfigError
from dpo.generation.beams import whole_characters
from dpo.generation.decoding import Decoding, Member
from dpo.generation.detokenizer import Writer
from dpo.generation.noise import Noise
from dpo.generation.pieces import Piece
from dpo.generation.sampler import answer, generate, stream
from dpo.generation.settings import PLAIN, Sampling
from dpo.generation.token_sampler import Chooser, filters
from dpo.generation.tracks import AskedPolicy
from dpo.policies.characters import BORDER
from dpo.policies.loading import Policy
from dpo.policies.scoring import score_batch

FAMILIES = ["t5", "gpt2"]
KINDS = ["full", "lora"]
PROMPT = TEXTS[0]


def tuned_from(policy: Policy, kind: str) -> Policy:
    """A policy with the same base and other weights: all of them, or an adapter."""
    other = copy.deepcopy(policy)
    torch.manual_seed(7)
    if kind == "full":
        with torch.no_grad():
            for parameter in other.model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        return Policy("tuned", other.model, other.tokenizer, other.family)
    targets = other.family.lora_targets(other.network.config)
    model = get_peft_model(other.network, LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    return Policy("tuned", model.eval(), other.tokenizer, other.family)


def texts(pieces: list[Piece]) -> dict[tuple[int, int], str]:
    found: dict[tuple[int, int], str] = {}
    for piece in pieces:
        key = (piece.place, piece.sample)
        found[key] = found.get(key, "") + piece.text
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_policies_together_write_what_each_writes_alone(family: str, kind: str) -> None:
    base = tiny(family)
    tuned = tuned_from(base, kind)
    for settings in (Sampling(1.0, 0.95, 0, 24, seed=3), Sampling(temperature=0, max_new_tokens=24)):
        asked = [AskedPolicy(base), AskedPolicy(tuned), AskedPolicy(base)]
        together = texts(list(answer(asked, PROMPT, settings, samples=2)))
        assert together[0, 0] == together[2, 0] and together[0, 1] == together[2, 1]
        for place, policy in enumerate((base, tuned)):
            assert together[place, 0] == generate(policy, [PROMPT], settings)[0].text
        if settings.temperature:
            following = Sampling(1.0, 0.95, 0, 24, seed=4)
            assert together[1, 1] == generate(tuned, [PROMPT], following)[0].text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_members_has_the_logits_of_plain_transformers(family: str, kind: str) -> None:
    base = tiny(family)
    tuned = tuned_from(base, kind)
    prompts = [base.encode_prompt(text) for text in TEXTS[:2]]
    rows = [(Member(tuned), prompts[0]), (Member(base), prompts[1]), (Member(tuned), prompts[1])]
    if kind == "lora":
        rows.append((Member(tuned, off=True), prompts[0]))
    with torch.inference_mode():
        ours, theirs = Decoding(rows), Decoding(rows, plain=True)
        assert ours._fast is not None and theirs._fast is None
        for step in range(6):
            tokens = torch.arange(len(rows)) * 7 + step + 3
            for decoding in (ours, theirs):
                decoding.feed(tokens)
            torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-4, atol=1e-4)
        for decoding in (ours, theirs):
            decoding.keep([2, 1])
        for token in (4, 9):
            for decoding in (ours, theirs):
                decoding.feed(torch.tensor([token, token + 1]))
            torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-4, atol=1e-4)


def test_long_answers_outgrow_their_first_buffers() -> None:
    policy = tiny_t5()
    ids = policy.encode_prompt(PROMPT)
    with torch.inference_mode():
        ours, theirs = (Decoding([(Member(policy), ids)], plain=plain) for plain in (False, True))
        for step in range(150):
            for decoding in (ours, theirs):
                decoding.feed(torch.tensor([3 + step % 40]))
        torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-4, atol=1e-4)


def test_a_changed_adapter_is_read_anew() -> None:
    tuned = tuned_from(tiny_gpt2(), "lora")
    settings = Sampling(temperature=0, max_new_tokens=20)
    before = [answered.text for answered in generate(tuned, TEXTS, settings)]
    with torch.no_grad():
        for name, parameter in tuned.model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(-1)
    assert [answered.text for answered in generate(tuned, TEXTS, settings)] != before
    with tuned.reference():
        assert generate(tuned, [PROMPT], settings)[0].text == generate(tiny_base_of(tuned), [PROMPT], settings)[0].text


def tiny_base_of(tuned: Policy) -> Policy:
    model: Any = copy.deepcopy(tuned.model)
    return Policy("base", model.unload(), tuned.tokenizer, tuned.family)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_strength_0_is_the_base_and_1_the_policy_exactly(family: str, kind: str, temperature: float) -> None:
    base = tiny(family)
    tuned = tuned_from(base, kind)
    settings = Sampling(temperature=temperature, max_new_tokens=24, seed=5)
    written = {
        strength: texts(list(answer([AskedPolicy(tuned, strength, base)], PROMPT, settings)))[0, 0]
        for strength in (0.0, 1.0)
    }
    assert written[0.0] == generate(base, [PROMPT], settings)[0].text
    assert written[1.0] == generate(tuned, [PROMPT], settings)[0].text
    # The two do differ: random weights may end one answer at once, but not all.
    several = Sampling(temperature=1.0, max_new_tokens=24, seed=5)
    bases = [answered.text for answered in generate(base, TEXTS, several)]
    assert bases != [answered.text for answered in generate(tuned, TEXTS, several)]
    if kind == "lora":  # the adapter switched off is the base
        assert texts(list(answer([AskedPolicy(tuned, 0.0)], PROMPT, settings)))[0, 0] == written[0.0]


@pytest.mark.parametrize("family", FAMILIES)
def test_strength_mixes_logits(family: str) -> None:
    base = tiny(family)
    tuned = tuned_from(base, "full")
    prompt = base.encode_prompt(PROMPT)
    logits = []
    with torch.inference_mode():
        for policy in (base, tuned):
            logits.append(Decoding([(Member(policy), prompt)]).logits[0, : len(base.tokenizer)])
    assert base.characters is not None
    mixed = base.characters.mask((logits[0] + 1.7 * (logits[1] - logits[0]))[None], [BORDER])
    settings = Sampling(temperature=0, max_new_tokens=1)
    [first, last] = answer([AskedPolicy(tuned, 1.7, base)], PROMPT, settings)
    assert first.token == int(mixed.argmax()) and last.tokens == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_log_ratios_are_what_the_scorer_says(family: str, kind: str) -> None:
    base = tiny(family)
    tuned = tuned_from(base, kind)
    settings = Sampling(temperature=0.8, max_new_tokens=20, seed=2)
    reference = base if kind == "full" else None
    pieces = list(answer([AskedPolicy(tuned, 1.0, reference)], PROMPT, settings, log_ratios=True))
    ratios = [piece.log_ratio for piece in pieces if piece.log_ratio is not None]
    text = texts(pieces)[0, 0]
    ids = _ids(tuned, settings)
    expected = [a - b for a, b in zip(_scored(tuned, ids), _scored(base, ids), strict=True)]
    assert ratios == pytest.approx(expected, abs=1e-4)
    assert len(ratios) == pieces[-1].tokens
    assert texts(list(answer([AskedPolicy(tuned)], PROMPT, settings)))[0, 0] == text


def test_a_reference_is_needed_where_none_can_be_found() -> None:
    with pytest.raises(ConfigError, match="name its reference"):
        list(answer([AskedPolicy(tiny_gpt2(), 0.5)], PROMPT, Sampling()))
    with pytest.raises(ConfigError, match="different tokens"):
        list(answer([AskedPolicy(tiny_gpt2(), 0.5, tiny_t5())], PROMPT, Sampling()))
    with pytest.raises(ConfigError, match="lambda is 4"):
        list(answer([AskedPolicy(tiny_gpt2(), 4)], PROMPT, Sampling()))


SETTINGS = [
    {"repetition_penalty": 1.7},
    {"no_repeat_ngram": 2},
    {"min_p": 0.1},
    {"top_k": 7, "top_p": 0.8},
    {"temperature": 0.6, "top_k": 20, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.3, "no_repeat_ngram": 2},
    {"temperature": 1.5, "top_p": 0.99},
]


@pytest.mark.parametrize("values", SETTINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_distributions_are_those_of_transformers(family: str, values: dict[str, Any]) -> None:
    policy = tiny(family)
    settings = Sampling.from_values({"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0, **values})
    history = [[5, 6, 7, 5, 6, 9, 5]]
    config = GenerationConfig(
        do_sample=True, temperature=settings.temperature, top_k=settings.top_k, top_p=settings.top_p,
        min_p=settings.min_p or None, repetition_penalty=settings.repetition_penalty,
        no_repeat_ngram_size=settings.no_repeat_ngram,
    )  # fmt: skip
    theirs = policy.network._get_logits_processor(
        generation_config=config, input_ids_seq_length=1, encoder_input_ids=None, logits_processor=[], device="cpu"
    )
    chooser = Chooser(settings)
    logits = torch.randn(1, 400, generator=torch.Generator().manual_seed(1)) * 3
    expected = theirs(torch.tensor(history), logits.clone())
    for position in range(300):  # the draw from what we keep is the draw from what they keep
        noise = Noise(0, "p").at(position, 400)[None]
        assert int(chooser.choose(logits, noise, history)) == int((expected + noise).argmax())
    if not chooser.wants_history and (found := chooser.likely(logits)) is not None:
        scores, tokens = found
        mine = torch.full_like(logits, -torch.inf).scatter(1, tokens, scores)
        torch.testing.assert_close(mine.softmax(-1), expected.softmax(-1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("values", [{}, {"repetition_penalty": 1.4}, {"no_repeat_ngram": 3}])
def test_greedy_text_is_that_of_transformers(family: str, values: dict[str, Any]) -> None:
    policy = tiny(family)
    expected = _theirs(policy, num_beams=1, **_renamed(values))
    assert _ids(policy, replace(PLAIN, temperature=0, max_new_tokens=24, **values)) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_beams_find_what_transformers_finds(family: str) -> None:
    policy = tiny(family)
    settings = replace(PLAIN, temperature=0, beams=4, max_new_tokens=12)
    [piece] = stream(policy, PROMPT, settings)
    expected = _theirs(policy, num_beams=4, max_new_tokens=12, early_stopping=True)
    writer = Writer(policy)
    assert piece.text == "".join(writer.push(token) for token in expected) + writer.finish()
    assert piece.end in ("eos", "length")
    assert generate(policy, [PROMPT], settings)[0].text == piece.text
    with pytest.raises(ConfigError, match="beam search needs temperature 0"):
        Sampling(beams=2).validate()
    with pytest.raises(ConfigError, match="1 sample"):
        list(answer([AskedPolicy(policy)], PROMPT, settings, samples=2))
    assert [p.end for p in stream(policy, PROMPT, settings, lambda: True)] == ["cancelled"]


def test_beams_work_with_a_decoder_deeper_than_the_encoder() -> None:
    policy = tiny_t5(encoder_layers=1, decoder_layers=3)
    assert list(stream(policy, PROMPT, Sampling(temperature=0, beams=2, max_new_tokens=5)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stop_string_ends_the_answer_before_it(family: str) -> None:
    policy = tiny(family)
    drawn = [
        (seed, generate(policy, [PROMPT], Sampling(temperature=1.0, top_p=1.0, max_new_tokens=60, seed=seed))[0].text)
        for seed in range(12)
    ]
    seed, whole = max(drawn, key=lambda pair: len(pair[1]))
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    cut = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=60, seed=seed, stop=(stop, "never written"))
    pieces = list(stream(policy, PROMPT, cut))
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    assert pieces[-1].end == "stop" and generate(policy, [PROMPT], cut)[0].end == "stop"


def test_own_noise_differs_between_policies_and_shared_does_not() -> None:
    base = tiny_gpt2()
    twin = Policy("twin", copy.deepcopy(base.model), base.tokenizer, base.family)
    for same in (True, False):
        settings = Sampling(1.0, 1.0, 0, 20, 1, same_noise=same)
        written = texts(list(answer([AskedPolicy(base), AskedPolicy(twin)], PROMPT, settings, samples=4)))
        assert ([written[0, k] for k in range(4)] == [written[1, k] for k in range(4)]) is same


@pytest.mark.parametrize("family", FAMILIES)
def test_policies_in_conversations_of_their_own_write_what_each_writes_alone(family: str) -> None:
    base = tiny(family)
    tuned = tuned_from(base, "full")
    settings = Sampling(1.0, 0.95, 0, 16, seed=3)

    def after(written: str) -> list[dict[str, str]]:
        roles = ("user", "assistant", "user")
        return [{"role": r, "content": c} for r, c in zip(roles, (PROMPT, written, "Why?"), strict=True)]

    own = [after("Tea."), after("I do like a coffee now and then.")]
    asked = [AskedPolicy(base, prompt=own[0]), AskedPolicy(tuned, prompt=own[1]), AskedPolicy(tuned)]
    together = texts(list(answer(asked, "Why?", settings)))
    assert together[0, 0] == generate(base, [own[0]], settings)[0].text
    assert together[1, 0] == generate(tuned, [own[1]], settings)[0].text
    assert together[2, 0] == generate(tuned, ["Why?"], settings)[0].text
    # Equal policies share their random numbers although their conversations differ (the prompt is ignored here).
    flat = copy.deepcopy(base)
    with torch.no_grad():
        for parameter in flat.model.parameters():
            parameter.zero_()
    same = texts(list(answer([AskedPolicy(flat, prompt=own[0]), AskedPolicy(flat, prompt=own[1])], "Why?", settings)))
    assert same[0, 0] == same[1, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_log_ratios_come_with_a_strength_and_cost_a_base_nothing(family: str) -> None:
    base = tiny(family)
    tuned = tuned_from(base, "lora")
    settings = Sampling(1.0, 0.95, 0, 12, seed=3)
    asked = list(answer([AskedPolicy(tuned, 1.5)], PROMPT, settings, log_ratios=True))
    unasked = list(answer([AskedPolicy(tuned, 1.5), AskedPolicy(tuned), AskedPolicy(tuned, 0.0)], PROMPT, settings))
    ratios = [piece.log_ratio for piece in unasked if piece.place == 0 and piece.end is None]
    assert ratios == pytest.approx([piece.log_ratio for piece in asked if piece.end is None], abs=1e-5)
    assert all(piece.log_ratio is None for piece in unasked if piece.place > 0)
    assert AskedPolicy(base, 1.0, base).members(log_ratios=True)[1] is None
    itself = list(answer([AskedPolicy(base, 1.0, base)], PROMPT, settings, log_ratios=True))
    assert {piece.log_ratio for piece in itself if piece.end is None} == {0.0}


def test_random_numbers_do_not_depend_on_the_length_of_the_vocabulary() -> None:
    noise = Noise(1, "p")
    assert torch.equal(noise.at(3, 500)[:400], Noise(1, "p").at(3, 400))
    assert not torch.equal(noise.at(3, 400), noise.at(4, 400))
    assert not torch.equal(noise.at(3, 400), Noise(1, "q").at(3, 400))


POLICIES = {family: tiny(family) for family in FAMILIES}


@given(st.sampled_from(FAMILIES), st.lists(st.integers(0, 299), max_size=60))
def test_text_in_pieces_is_the_text(family: str, ids: list[int]) -> None:
    policy = POLICIES[family]
    writer = Writer(policy)
    written = "".join(writer.push(token) for token in ids) + writer.finish()
    assert written == writer.text
    whole = policy.decode(ids)
    assert written == whole if "\ufffd" not in whole else "\ufffd" not in written


@given(st.text("ab", max_size=30), st.text("ab", min_size=1, max_size=4))
def test_nothing_of_a_stop_string_is_shown(text: str, stop: str) -> None:
    writer = Writer(POLICIES["gpt2"], (stop,))
    ids = POLICIES["gpt2"].family.encode_completions(POLICIES["gpt2"].tokenizer, [text])[0][:-1]
    written = ""
    for token in ids:
        written += writer.push(token)
        assert stop not in written
        if writer.stopped:
            break
    written += writer.finish()
    assert written == text.split(stop)[0] and writer.stopped is (stop in text)


def test_filters_are_in_the_order_of_transformers() -> None:
    names = [type(f).__name__ for f in filters(Sampling(0.5, 0.5, 5, min_p=0.1))]
    assert names == ["TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper", "MinPLogitsWarper"]


def _scored(policy: Policy, ids: list[int]) -> list[float]:
    """What the trainer's scoring function says of each token."""
    batch = policy.family.collate([policy.encode_prompt(PROMPT)], [ids], policy.pad_token_id, policy.decoder_start)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    with torch.no_grad():
        scored = score_batch(policy.network, policy.family, batch, labels)
    assert scored.log_probs is not None and scored.label_mask is not None
    return [float(value) for value in scored.log_probs[scored.label_mask]]


def _renamed(values: dict[str, Any]) -> dict[str, Any]:
    return {{"no_repeat_ngram": "no_repeat_ngram_size"}.get(name, name): value for name, value in values.items()}


def _theirs(policy: Policy, **values: Any) -> list[int]:
    ids = torch.tensor([policy.encode_prompt(PROMPT)])
    config = GenerationConfig(
        **{"do_sample": False, "max_new_tokens": 24, **values}, eos_token_id=policy.eos_token_id,
        pad_token_id=policy.pad_token_id, decoder_start_token_id=policy.decoder_start,
    )  # fmt: skip
    # Random weights draw bytes of no character, which transformers is told not to do either.
    possible = whole_characters(policy, 1 if policy.family.has_encoder else ids.size(1))
    out = policy.network.generate(
        ids, attention_mask=torch.ones_like(ids), generation_config=config, logits_processor=possible
    )
    return list(out[0, 1:].tolist() if policy.family.has_encoder else out[0, ids.size(1) :].tolist())


def _ids(policy: Policy, settings: Sampling) -> list[int]:
    from dpo.generation.tracks import Track, groups_of

    track = Track(AskedPolicy(policy), 0, 0, PROMPT, settings, False)
    [group] = groups_of([track], settings)
    while group.tracks:
        list(group.advance())
    return track.writer.ids
