"""Packed rows and the scoring head give every architecture's own log-probabilities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoConfig,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MT5Config,
    Qwen2Config,
    Qwen3Config,
    T5Config,
)

from dpo.errors import PolicyError
from dpo.policies.families import CAUSAL, Causal, disable_dropout, family_of
from dpo.policies.loading import Policy
from dpo.policies.scoring import check_scoring, score_batch
from dpo.policies.sharing import pack, shares_exactly, worth_packing

SPECIAL = {"vocab_size": 90, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip
T5_SIZE = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
CAUSAL_MODELS: dict[str, Any] = {
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=64, **SPECIAL),
    "llama": LlamaConfig(**LLAMA, **SPECIAL),
    "qwen2": Qwen2Config(**LLAMA, **SPECIAL),
    "qwen3": Qwen3Config(head_dim=16, **LLAMA, **SPECIAL),
    "pythia": GPTNeoXConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64,
        **SPECIAL,
    ),
    "gpt-neo": GPTNeoConfig(
        hidden_size=32, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]],
        max_position_embeddings=64, window_size=8, **SPECIAL,
    ),
    "mistral": MistralConfig(sliding_window=8, **LLAMA, **SPECIAL),
    "granite": GraniteConfig(logits_scaling=3.0, **LLAMA, **SPECIAL),
    "bloom": BloomConfig(hidden_size=32, n_layer=2, n_head=2, **SPECIAL),
}  # fmt: skip
SEQ2SEQ_MODELS: dict[str, Any] = {
    "t5": T5Config(**T5_SIZE, **SPECIAL),
    "flan-t5": T5Config(feed_forward_proj="gated-gelu", tie_word_embeddings=False, **T5_SIZE, **SPECIAL),
    "mt5": MT5Config(feed_forward_proj="gated-gelu", tie_word_embeddings=False, **T5_SIZE, **SPECIAL),
    "bart": BartConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, decoder_start_token_id=2, **SPECIAL,
    ),
}  # fmt: skip
SHARING = {"gpt2", "llama", "qwen2", "qwen3", "pythia", "granite"}
PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], [3, 4, 5, 6, 7, 8]]
ANSWERS = [[9, 8, 7, 2], [9, 30, 2], [40, 2], [4, 5, 6, 70, 8, 2]]


def model_of(config: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    config.initializer_range = 0.3  # probabilities that differ enough to be compared
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = auto.from_config(config, **options).eval()
    disable_dropout(model)
    return model


def one_by_one(model: Any) -> torch.Tensor:
    """log p(answer | prompt) of every row, through the model's own logits."""
    totals = []
    for i, answer in enumerate(ANSWERS):
        prompt, target = PROMPTS[i % 2], torch.tensor(answer)
        if model.config.is_encoder_decoder:
            logits = model(input_ids=torch.tensor([prompt]), labels=target[None]).logits[0]
        else:
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        totals.append(logits.log_softmax(-1).gather(1, target[:, None]).sum())
    return torch.stack(totals)


def scored(model: Any, family: Any) -> torch.Tensor:
    start = getattr(model.config, "decoder_start_token_id", None)
    batch = family.collate(PROMPTS, ANSWERS, 0, start)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    return score_batch(model, family, batch, labels).log_probs.sum(1)


@pytest.mark.parametrize("name", [*CAUSAL_MODELS, *SEQ2SEQ_MODELS])
def test_scores_are_the_models_own(name: str) -> None:
    model = model_of((CAUSAL_MODELS | SEQ2SEQ_MODELS)[name])
    family = family_of(model.config)
    if not family.has_encoder and not shares_exactly(model):
        family = CAUSAL  # what the trainer does
    torch.testing.assert_close(scored(model, family), one_by_one(model), rtol=1e-5, atol=1e-4)
    check_scoring(Policy(name, model, _tokenizer(), family_of(model.config)))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", sorted(SHARING))
def test_packed_rows_have_the_gradients_of_separate_rows(name: str, attention: str) -> None:
    model = model_of(CAUSAL_MODELS[name], attn_implementation=attention)
    packed = family_of(model.config)
    assert "packed_ids" in packed.collate(PROMPTS, ANSWERS, 0, None)
    assert shares_exactly(model)
    gradients = []
    for family in (packed, CAUSAL):
        model.zero_grad()
        chosen, rejected = scored(model, family).chunk(2)
        (chosen - rejected).square().sum().backward()
        gradients.append({key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, value in gradients[0].items():
        scale = gradients[1][key].abs().max()
        assert (value - gradients[1][key]).abs().max() <= 2e-5 * scale + 1e-6, key


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", [*SEQ2SEQ_MODELS])
def test_a_prompts_keys_and_values_are_made_once(name: str, checkpointing: bool) -> None:
    model = model_of(SEQ2SEQ_MODELS[name]).double()
    family = family_of(model.config)
    calls: list[torch.Size] = []
    for module_name, module in model.get_decoder().named_modules():
        if module_name.endswith(("EncDecAttention.k", "encoder_attn.k_proj")):
            module.register_forward_hook(lambda module, inputs, output: calls.append(output.shape))
    if checkpointing:  # takes no cache: the rows are then computed one by one
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.train()
    gradients = []
    for together in (True, False):
        model.zero_grad()
        if together:
            logps = scored(model, family)
            assert all(shape[0] == (len(ANSWERS) if checkpointing else len(PROMPTS)) for shape in calls) and calls
        else:
            logps = one_by_one(model)
        chosen, rejected = logps.chunk(2)
        (chosen - rejected).square().sum().backward()
        gradients.append({key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(value.abs().max() for value in gradients[1].values())
    for key, value in gradients[0].items():  # T5's norms count in float32 whatever the weights are
        assert (value - gradients[1][key]).abs().max() <= 1e-6 * largest, key


def test_models_that_would_need_another_mask_do_not_share() -> None:
    for name in set(CAUSAL_MODELS) - SHARING:
        model = model_of(CAUSAL_MODELS[name])
        family = family_of(model.config)
        assert isinstance(family, Causal)
        assert family.width == 0 or not shares_exactly(model), name


def test_capped_logits_are_refused() -> None:
    config = Gemma2Config(head_dim=16, final_logit_softcapping=1.0, **LLAMA, **SPECIAL)
    model = model_of(config)
    with pytest.raises(PolicyError, match="makes its logits in a way"):
        check_scoring(Policy("gemma", model, _tokenizer(), family_of(config)))


def test_pack_lays_a_pair_out_in_one_row() -> None:
    packed = pack([[5, 6, 7]], [[8, 9, 2], [4, 2]], pad=0)
    assert packed["packed_ids"].tolist() == [[5, 6, 7, 8, 9, 4]]
    assert packed["packed_positions"].tolist() == [[0, 1, 2, 3, 4, 3]]
    assert packed["packed_segments"].tolist() == [[0, 0, 0, 1, 1, 2]]
    # The prompt's last state predicts both first tokens.
    assert packed["packed_index"].tolist() == [[2, 3, 4], [2, 5, 0]]


def test_packing_is_used_where_it_takes_fewer_operations() -> None:
    assert worth_packing([[1] * 64], [[1] * 128], width=128)
    assert not worth_packing([[1] * 8], [[1] * 512], width=128)


def _tokenizer() -> Any:
    from tiny import tiny_gpt2

    return tiny_gpt2().tokenizer
