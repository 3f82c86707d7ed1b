"""Every preset in configs/ trains two steps by its command in the README, on tiny weights and the sample pairs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from tiny import TEXTS, tiny_gpt2, tiny_t5
from transformers import LlamaConfig, LlamaForCausalLM

from dpo.cli.main import main
from dpo.policies.families import CAUSAL
from dpo.policies.loading import Policy, save_policy
from dpo.pretraining.tokenizers import train_bpe
from dpo.runs import open_run

ROOT = Path(__file__).parents[2]
PRESETS = sorted((ROOT / "configs").glob("*.yaml"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = {match[1]: match[0] for match in re.finditer(r"^dpo train --config configs/(\S+)\.yaml", README, re.M)}
SOURCED = ("learning_rate", "beta", "batch", "epochs")


def tiny_llama() -> Policy:
    """A Llama with random weights, grouped key-value heads as TinyLlama has them, as wide as a 4-bit block."""
    tokenizer = train_bpe(TEXTS, 300)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return Policy("tiny-llama", LlamaForCausalLM(config).eval(), tokenizer, CAUSAL)


def tiny_for(preset: str) -> Policy:
    """Tiny weights of the preset's architecture."""
    if preset.startswith("tinyllama"):
        return tiny_llama()
    return tiny_t5() if preset.startswith("t5") else tiny_gpt2(context=1024)


def test_the_presets_are_those_of_the_readme() -> None:
    assert len(PRESETS) == 6
    assert set(COMMANDS) == {path.stem for path in PRESETS}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_trains_and_tells_its_sources(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    comment = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert COMMANDS[path.stem] in comment and re.search(r"arXiv \d{4}\.\d{5}", comment)
    for name in SOURCED:
        assert re.search(rf"^# .*\b{name}\b", comment, re.M), name
    monkeypatch.chdir(ROOT)
    save_policy(tiny_for(path.stem), tmp_path / "tiny")
    small = shlex.split("--dataset sample --max-steps 2 --probes 0 --eval-fraction 0.1 --device cpu --precision fp32")
    small += ["--kl-prompts", "0"]
    places = ["--model", str(tmp_path / "tiny"), "--output-dir", str(tmp_path / "run")]
    assert main(shlex.split(COMMANDS[path.stem])[1:] + places + small) == 0
    run = open_run(tmp_path / "run")
    assert run.state == "finished" and run.progress["step"] == 2 and run.step_zero and run.step_zero["passed"]
    assert run.progress["examples"] == 2 * settings["batch_size"] * settings.get("gradient_accumulation", 1)
    given = {name: value for name, value in settings.items() if name not in ("model", "dataset", "eval_fraction")}
    given.pop("output_dir")
    given["learning_rate"] = float(given["learning_rate"])  # YAML reads 2e-5 as text
    assert {name: run.config[name] for name in given} == given
    assert (run.path / "policy" / "adapter_config.json").is_file() == bool(settings.get("lora"))
