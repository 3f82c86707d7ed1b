"""Models beyond T5 and GPT-2 through the same two families, with chat templates, adapters and few bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import CONFIGS, save_model
from datasets import Dataset
from short_runs import BASE, WITHOUT_KL, one_thread, rows_of
from tiny import TEXTS, save_tiny, tiny

from dpo.policies.families import plain_conversation
from dpo.policies.loading import load_policy
from dpo.policies.scoring import score
from dpo.training import data
from dpo.training.config import TrainConfig
from dpo.training.data import Limits, tokenize_answers, tokenize_pairs
from dpo.training.recipes.dpo import train

__all__ = ["one_thread"]
SHORT: dict[str, Any] = BASE | {"kl_prompts": 1, "probes": 1}
ADAPTER: dict[str, Any] = WITHOUT_KL | {"probes": 0, "lora": True}
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@pytest.mark.parametrize("name", CONFIGS)
def test_other_models_train(name: str, tmp_path: Path) -> None:
    model = save_model(name, tmp_path / name)
    settings = SHORT | {"learning_rate": 5e-4}
    run = train(TrainConfig(model=str(model), output_dir=str(tmp_path / "run"), **settings))
    rows = rows_of(run.path)
    assert rows[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert rows[-1]["eval_loss"] < rows[0]["eval_loss"]
    tuned, before = load_policy(str(run.path)), load_policy(str(model))
    prompts, answers = ["Do you like tea?"], ["I do!"]
    assert score(tuned, prompts, answers) != score(before, prompts, answers)


@pytest.mark.parametrize("settings", [{"dora": True}, {"lora_dropout": 0.2}, {"lora_targets": ["q_proj", "v_proj"]}])
@pytest.mark.parametrize("name", ["tinyllama", "bart"])
def test_adapters_of_other_models(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    model = save_model(name, tmp_path / name)
    run = train(TrainConfig(model=str(model), output_dir=str(tmp_path / "run"), **ADAPTER | settings))
    assert run.step_zero is not None and run.step_zero["passed"]
    assert (run.path / "policy" / "adapter_model.safetensors").is_file()
    assert rows_of(run.path)[-1]["eval_loss"] < 0.6931


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_qlora_trains_on_weights_of_few_bits(bits: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    model = save_model("tinyllama", tmp_path / "model")
    settings = ADAPTER | {"quantization": bits, "max_steps": 4}
    run = train(TrainConfig(model=str(model), output_dir=str(tmp_path / "run"), **settings))
    rows = rows_of(run.path)
    assert rows[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert rows[-1]["eval_loss"] < 0.6931


def test_dropout_of_an_adapter_acts_though_all_other_dropout_is_off(tmp_path: Path) -> None:
    """Two passes over one batch differ in training, once the adapter is not zero any more."""
    from trainers import make_trainer

    trainer, rows = make_trainer(tiny("gpt2"), tmp_path, lora=True, lora_dropout=0.5)
    with torch.no_grad():
        for key, value in trainer.model.named_parameters():
            if "lora_B" in key:
                value.fill_(0.05)
    inputs = trainer._prepare_inputs(trainer.data_collator(list(rows)))
    trainer.model.train()
    assert not torch.equal(trainer._scored(inputs).log_probs, trainer._scored(inputs).log_probs)
    trainer.model.eval()
    torch.testing.assert_close(trainer._scored(inputs).log_probs, trainer._scored(inputs).log_probs)


def test_a_run_from_an_adapter_keeps_it_as_reference(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    first = train(TrainConfig(model=str(policy_dirs["t5"]), output_dir=str(tmp_path / "a"), **ADAPTER))
    second = train(TrainConfig(model=str(first.path), output_dir=str(tmp_path / "b"), **SHORT))
    assert second.info["reference"]["kind"] == "copy of the adapter"
    rows = rows_of(second.path)
    assert rows[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert rows[0]["eval_kl"] == pytest.approx(0, abs=1e-4)
    samples = [sample for sample in second.samples() if sample.step == 0]
    assert samples and all(sample.policy == sample.reference for sample in samples)
    prompts, answers = ["Do you like tea?"], ["I do!"]
    paths = (policy_dirs["t5"], first.path, second.path)
    base, once, twice = (score(load_policy(str(path)), prompts, answers) for path in paths)
    assert base != once != twice
    assert not (second.path / "policy" / "ref").exists()


def test_conversations_go_through_the_chat_template(tmp_path: Path) -> None:
    policy = load_policy(str(save_tiny("gpt2", tmp_path / "policy")))
    policy.tokenizer.chat_template = TEMPLATE
    turns = [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Tea?"},
    ]  # fmt: skip
    expected = "<|user|>\nHi\n<|assistant|>\nHello!\n<|user|>\nTea?\n<|assistant|>\n"
    assert policy.decode(policy.encode_prompt(turns)) == expected
    assert policy.shown_prompt("Tea?") == "<|user|>\nTea?\n<|assistant|>\n"
    pairs = Dataset.from_dict({"prompt": ["Tea?"], "chosen": ["Yes!"], "rejected": ["No."], "messages": [turns]})
    rows, _ = tokenize_pairs(policy, pairs, Limits(200, 20))
    assert policy.decode(rows[0]["prompt_ids"]) == expected
    assert policy.decode(rows[0]["chosen_ids"]) == "Yes!"


def test_a_conversation_without_a_template_is_written_out() -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yo"},
        {"role": "user", "content": "?"},
    ]
    assert plain_conversation(turns) == "\n\nHuman: Hi\n\nAssistant: Yo\n\nHuman: ?\n\nAssistant:"
    assert plain_conversation(turns[:1]) == "Hi"


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_large_sets_are_tokenised_into_a_file(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Dataset.from_dict({"prompt": TEXTS * 30, "chosen": TEXTS * 30, "rejected": TEXTS[::-1] * 30})
    policy = tiny(family)
    in_memory, counts = tokenize_pairs(policy, pairs, Limits(30, 20))
    monkeypatch.setattr(data, "_IN_MEMORY", 10)
    monkeypatch.setattr(data, "_CHUNK", 16)
    on_disk, same_counts = tokenize_pairs(policy, pairs, Limits(30, 20), tmp_path)
    assert on_disk.cache_files and not in_memory.cache_files
    assert on_disk[:] == in_memory[:] and counts == same_counts
    answers, _ = tokenize_answers(policy, pairs, ["chosen", "rejected"], Limits(30, 20), tmp_path)
    assert len(answers) == 2 * len(pairs)
