"""The decode loop: transformers' own text and distributions, streaming, seeds and limits."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from architectures import CONFIGS, save_model
from peft import LoraConfig, get_peft_model
from tiny import TEXTS, tiny, tiny_gpt2, tiny_t5
from transformers import GenerationConfig

from dpo.errors import ConfigError, PromptError
from dpo.generation.beams import whole_characters
from dpo.generation.decoding import Decoding, Member
from dpo.generation.detokenizer import Writer
from dpo.generation.noise import Noise
from dpo.generation.sampler import generate, stream
from dpo.generation.settings import Sampling
from dpo.generation.token_sampler import Chooser, filters
from dpo.policies.loading import Policy, load_policy
from dpo.policies.scoring import score

FAMILIES = ["t5", "gpt2"]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_transformers_token_for_token(family: str) -> None:
    policy = tiny(family)
    answers = generate(policy, TEXTS[:3], Sampling(temperature=0, max_new_tokens=20, repetition_penalty=1))
    for prompt, answer in zip(TEXTS[:3], answers, strict=True):
        ids = torch.tensor([policy.encode_prompt(prompt)])
        config = GenerationConfig(do_sample=False, max_new_tokens=20, eos_token_id=policy.eos_token_id, pad_token_id=0)
        config.decoder_start_token_id = policy.decoder_start
        possible = whole_characters(policy, ids.size(1) if family == "gpt2" else 1)
        out = policy.network.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=config, logits_processor=possible
        )
        own = out[0, ids.size(1) :] if family == "gpt2" else out[0, 1:]
        assert answer.text == written(policy, own.tolist())


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_cached_logits_equal_uncached_ones_in_a_batch(family: str, plain: bool) -> None:
    policy = tiny(family)
    prompts = [policy.encode_prompt(text) for text in TEXTS[:3]]
    following = [5, 17, 30, 8]
    with torch.inference_mode():
        decoding = Decoding([(Member(policy), ids) for ids in prompts], plain=plain)
        for token in following:
            decoding.feed(torch.full((3,), token))
        for row, ids in enumerate(prompts):
            if family == "gpt2":
                logits = policy.network(torch.tensor([ids + following])).logits[0, -1]
            else:
                start = torch.tensor([[policy.decoder_start, *following]])
                logits = policy.network(input_ids=torch.tensor([ids]), decoder_input_ids=start).logits[0, -1]
            torch.testing.assert_close(decoding.logits[row], logits, rtol=1e-4, atol=1e-4)


def written(policy: Policy, ids: list[int]) -> str:
    """The text of tokens without a character that the length cut."""
    writer = Writer(policy)
    return "".join(writer.push(token) for token in ids) + writer.finish()


@pytest.mark.parametrize("name", ["t5", "gpt2", *CONFIGS])
def test_a_batch_has_the_scores_logits_and_answers_of_single_prompts(name: str, tmp_path: Path) -> None:
    """Prompts of very different lengths, whatever the architecture makes of positions and padding."""
    policy = tiny(name) if name in FAMILIES else load_policy(str(save_model(name, tmp_path / name)), device="cpu")
    prompts = [policy.encode_prompt(text) for text in ("Hi", TEXTS[0], " ".join(TEXTS[:2]))]
    together_scored = score(policy, ["Hi", TEXTS[0]], [TEXTS[1], "Yes"])
    for scored, prompt, answer in zip(together_scored, ["Hi", TEXTS[0]], [TEXTS[1], "Yes"], strict=True):
        assert scored == pytest.approx(score(policy, [prompt], [answer])[0], abs=1e-4)
    texts = generate(policy, [TEXTS[1], "Hi"], Sampling(temperature=0, max_new_tokens=6))
    assert [text.text for text in texts] == [
        generate(policy, [prompt], Sampling(temperature=0, max_new_tokens=6))[0].text for prompt in (TEXTS[1], "Hi")
    ]
    if hasattr(policy.network.config, "window_size"):
        return  # GPT-Neo's window would count padding: prompts of other lengths are batches of their own
    with torch.inference_mode():
        together = Decoding([(Member(policy), ids) for ids in prompts])
        alone = [Decoding([(Member(policy), ids)]) for ids in prompts]
        for token in (5, 17, 30):
            for row, single in enumerate(alone):
                torch.testing.assert_close(together.logits[row], single.logits[0], rtol=1e-4, atol=1e-5)
                single.feed(torch.tensor([token]))
            together.feed(torch.full((3,), token))


def test_filters_are_transformers_own_in_its_order() -> None:
    logits = torch.randn(4, 60, generator=torch.Generator().manual_seed(1))
    settings = Sampling(temperature=0.6, top_k=20, top_p=0.8, repetition_penalty=1)
    mine = filters(settings)(torch.empty(0, dtype=torch.long), logits.clone()).softmax(-1)
    model = tiny_gpt2().network
    config = GenerationConfig(do_sample=True, temperature=0.6, top_k=20, top_p=0.8)
    theirs = model._get_logits_processor(
        generation_config=config, input_ids_seq_length=1, encoder_input_ids=None, logits_processor=[], device="cpu"
    )
    torch.testing.assert_close(mine, theirs(torch.empty((4, 1), dtype=torch.long), logits.clone()).softmax(-1))


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]])
    noise, chooser = Noise(3, "p"), Chooser(Sampling(temperature=1, top_p=1, repetition_penalty=1))
    counts = torch.zeros(4)
    for position in range(6000):
        counts[chooser.choose(logits, noise.at(position, 4)[None], None)] += 1
    torch.testing.assert_close(counts / 6000, logits[0].softmax(-1), atol=0.03, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_gives_the_same_text_whatever_is_beside_it(family: str) -> None:
    policy = tiny(family)
    settings = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=30, seed=4)
    together = [answer.text for answer in generate(policy, TEXTS[:4], settings)]
    assert together == [generate(policy, [text], settings)[0].text for text in TEXTS[:4]]
    assert together == ["".join(piece.text for piece in stream(policy, text, settings)) for text in TEXTS[:4]]
    assert together != [a.text for a in generate(policy, TEXTS[:4], Sampling(1.0, 0.95, 0, 30, seed=5))]


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_policies_have_equal_luck(family: str) -> None:
    settings = Sampling(temperature=1.0, max_new_tokens=25, seed=1)
    policy = tiny(family)
    again = copy.deepcopy(policy)
    assert generate(policy, TEXTS[:2], settings)[1].text == generate(again, TEXTS[:2], settings)[1].text


def test_no_piece_ends_within_a_character() -> None:
    policy = tiny_gpt2()
    for seed in range(12):
        settings = Sampling(temperature=2.0, top_p=1.0, max_new_tokens=40, seed=seed)
        pieces = list(stream(policy, "hello", settings))
        assert all("\ufffd" not in piece.text for piece in pieces)
        assert "".join(piece.text for piece in pieces) == generate(policy, ["hello"], settings)[0].text


def test_cancel_stops_within_one_token() -> None:
    seen = []
    for piece in stream(tiny_gpt2(), "hello", Sampling(max_new_tokens=50), lambda: len(seen) >= 3):
        seen.append(piece)
    assert seen[-1].end == "cancelled"
    assert seen[-1].tokens <= 4


def test_a_full_context_ends_by_length() -> None:
    policy = tiny_gpt2(context=24)
    answer = generate(policy, ["hello"], Sampling(temperature=0, max_new_tokens=500))[0]
    assert answer.end == "length" and answer.tokens <= 24


def test_a_decoder_deeper_than_the_encoder_works() -> None:
    assert generate(tiny_t5(encoder_layers=1, decoder_layers=3), ["hello"], Sampling(max_new_tokens=5))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"temperature": -1}, "temperature is -1: it must be from 0 to 5"),
        ({"top_p": 0}, "top_p is 0: it must be from above 0 to 1"),
        ({"top_k": "many"}, "top_k is 'many': it must be a whole number"),
        ({"max_new_tokens": 1.5}, "max_new_tokens is 1.5: it must be a whole number"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"heat": 1}, "no sampling setting is called 'heat'"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Sampling.from_values(values)


def test_blank_prompt_is_refused() -> None:
    with pytest.raises(PromptError, match="blank"):
        generate(tiny_gpt2(), ["  "], Sampling())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["fused", "foreach"])
def test_an_adapter_answers_as_it_is_after_every_update(family: str, kind: str) -> None:
    """A fused optimizer does not count the version of what it changes up."""
    policy = tiny(family)
    targets = ["c_attn"] if family == "gpt2" else ["q", "v"]
    policy.model = get_peft_model(policy.network, LoraConfig(r=4, target_modules=targets))
    policy.model.eval()
    trained = [value for name, value in policy.model.named_parameters() if "lora_" in name]
    optimizer = torch.optim.AdamW(trained, lr=0.5, **{kind: True})
    for _ in range(2):
        texts = [answer.text for answer in generate(policy, TEXTS[:2], Sampling(max_new_tokens=12))]
        again = copy.deepcopy(policy)  # nothing is kept of it
        assert [answer.text for answer in generate(again, TEXTS[:2], Sampling(max_new_tokens=12))] == texts
        for value in trained:
            value.grad = torch.ones_like(value)
        optimizer.step()
