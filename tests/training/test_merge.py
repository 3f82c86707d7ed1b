"""An adapter folded into its base scores as before, also in plain transformers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny, tiny_t5
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from dpo.cli.main import main
from dpo.generation.sampler import generate
from dpo.generation.settings import PLAIN
from dpo.policies.loading import load_policy, save_policy
from dpo.policies.scoring import score
from dpo.publishing.merge import merge
from dpo.publishing.push import push
from dpo.publishing.use import transformers_code
from dpo.runs import BUNDLED_RUNS, RunRecord, open_run
from dpo.runs.record import read_json
from dpo.training.config import TrainConfig
from dpo.training.recipes.dpo import train

PROMPTS = ["Do you like tea?", "Any fun plans for the week?"]
ANSWERS = ["Sure! 😄\n{ok}", "I am unable to make plans."]
SETTINGS: dict[str, Any] = {
    "dataset": "sample", "num_samples": 60, "eval_fraction": 0.1, "max_prompt_length": 40, "batch_size": 4,
    "max_completion_length": 60, "max_steps": 4, "learning_rate": 3e-2, "probes": 0, "kl_prompts": 0, "lora": True,
    "lora_rank": 4, "device": "cpu",
}  # fmt: skip


def plain_log_probs(directory: Path) -> list[float]:
    """Sums of log-probabilities by transformers alone: its own model classes and a softmax."""
    policy = load_policy(str(directory), device="cpu")  # for the token ids only
    sums = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        question = policy.encode_prompt(prompt)
        completion = policy.family.encode_completions(policy.tokenizer, [answer])[0]
        if policy.family.has_encoder:
            model = AutoModelForSeq2SeqLM.from_pretrained(directory).eval()
            start = model.config.decoder_start_token_id
            decoder = torch.tensor([[start, *completion[:-1]]])
            logits = model(input_ids=torch.tensor([question]), decoder_input_ids=decoder).logits[0]
        else:
            model = AutoModelForCausalLM.from_pretrained(directory).eval()
            logits = model(torch.tensor([question + completion])).logits[0, len(question) - 1 : -1]
        chosen = logits.log_softmax(-1)[range(len(completion)), completion]
        sums.append(float(chosen.sum().detach()))
    return sums


def lossy_t5(directory: Path) -> Path:
    """A T5 without emoji or newline in its vocabulary: LoRA trains the rows that are added."""
    from vocabularies import lossy_unigram

    config = T5Config(
        vocab_size=64, d_model=32, d_kv=16, d_ff=64, num_heads=2, num_layers=1, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(directory)
    lossy_unigram().save_pretrained(directory)
    return directory


@pytest.mark.parametrize("base", ["gpt2", "t5", "t5 with added tokens"])
def test_merged_scores_as_the_adapter(
    base: str, policy_dirs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = policy_dirs[base] if base in policy_dirs else lossy_t5(tmp_path / "lossy")
    run, merged = tmp_path / "run", tmp_path / "merged"
    train(TrainConfig(**SETTINGS, model=str(model), output_dir=str(run)))
    adapter = load_policy(str(run), device="cpu")
    trains_rows = bool(adapter.model.peft_config["default"].trainable_token_indices)
    assert trains_rows == (base == "t5 with added tokens")
    before = [sum(tokens) for tokens in score(adapter, PROMPTS, ANSWERS)]
    with adapter.reference():
        untrained = [sum(tokens) for tokens in score(adapter, PROMPTS, ANSWERS)]
    assert max(abs(a - b) for a, b in zip(before, untrained, strict=True)) > 0.1  # the adapter does something
    assert main(["merge", str(run), "--output-dir", str(merged)]) == 0
    assert "generate --policy" in capsys.readouterr().out
    after = [sum(tokens) for tokens in score(load_policy(str(merged), device="cpu"), PROMPTS, ANSWERS)]
    assert not list(merged.glob("adapter*")) and (merged / "model.safetensors").is_file()
    per_token = [len(tokens) for tokens in score(adapter, PROMPTS, ANSWERS)]
    for measured in (after, plain_log_probs(merged)):
        for was, now, count in zip(before, measured, per_token, strict=True):
            assert abs(was - now) / count < 1e-5
    assert main(["merge", str(merged), "--output-dir", str(tmp_path / "again")]) == 2
    assert "is a full checkpoint" in capsys.readouterr().err
    assert main(["merge", str(run), "--output-dir", str(merged)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["demo/t5-dpo", "demo/gpt2-dpo"])
def test_bundled_adapters_merge(name: str, tmp_path: Path) -> None:
    """They score as before, and the code on their card gives our greedy answer where `dpo` is never imported."""
    merged = merge(name, tmp_path / "merged")
    before = score(load_policy(name, device="cpu"), PROMPTS, ANSWERS)
    policy = load_policy(str(merged), device="cpu")
    after = score(policy, PROMPTS, ANSWERS)
    gaps = [abs(a - b) for was, now in zip(before, after, strict=True) for a, b in zip(was, now, strict=True)]
    assert max(gaps) < 5e-5
    plain = tmp_path / "plain"
    plain.touch()
    assert {path.stat().st_mode for path in merged.iterdir()} == {plain.stat().st_mode}
    [answer] = generate(policy, ["Do you like tea?"], replace(PLAIN, temperature=0, max_new_tokens=64))
    assert alone(code_of(merged / "README.md")) == answer.text


def test_the_card_of_a_pushed_policy_has_code_that_runs(tmp_path: Path) -> None:
    """A T5 whose decoder is deeper than its encoder is what plain `generate` alone fails on."""
    pushed = tmp_path / "pushed"
    info = read_json(BUNDLED_RUNS / "Llama-3-t5-sft" / "run.json") | {"name": "tea"}
    run = RunRecord.create(tmp_path / "tea", info)
    save_policy(tiny_t5(4, encoder_layers=1, decoder_layers=3), run.path / "policy")
    push(open_run(run.path), "me/Llama-3-tea", merged=True, licence="llama3", dry_run=pushed)
    code = code_of(pushed / "README.md")
    assert code.count('"me/Llama-3-tea"') == 2 and "\ncache = " in code
    [answer] = generate(
        load_policy(str(pushed), device="cpu"), ["Do you like tea?"], replace(PLAIN, temperature=0, max_new_tokens=64)
    )
    without = [line.replace(", past_key_values=cache", "") for line in code.splitlines() if "cache = " not in line]
    plain = f"try:\n    exec({chr(10).join(without)!r})\nexcept Exception:\n    print('plain generate failed')\n"
    both = f"{code}\n{plain}".replace("me/Llama-3-tea", str(pushed))
    assert alone(both) == f"{answer.text}\nplain generate failed"


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_code_for_a_chat_template(family: str, tmp_path: Path) -> None:
    policy = tiny(family)
    policy.tokenizer.chat_template = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}a:"
    save_policy(policy, tmp_path / "policy")
    code = transformers_code(tmp_path / "policy", str(tmp_path / "policy"))
    seen: dict[str, Any] = {}
    exec(code.partition("output = ")[0], seen)
    assert seen["inputs"]["input_ids"].tolist() == [policy.encode_prompt("Do you like tea?")]


def code_of(card: Path) -> str:
    """The Python block of a card."""
    return card.read_text(encoding="utf-8").split("```python\n")[1].split("\n```")[0]


def alone(code: str) -> str:
    """What the code prints in a process of its own, whose last line makes sure that it used nothing of ours."""
    check = "\nimport sys\nassert not any(name.split('.')[0] == 'dpo' for name in sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=True)
    return done.stdout.removesuffix("\n")
