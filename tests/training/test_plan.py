"""`dpo plan` against real small steps: bytes that PyTorch keeps, operations that it counts; and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import CONFIGS
from tiny import tiny
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig, PreTrainedModel

from dpo.cli.main import main
from dpo.policies import logps
from dpo.policies.families import disable_dropout, family_of
from dpo.policies.loading import Policy
from dpo.policies.scoring import score_batch
from dpo.training.config import TrainConfig
from dpo.training.plan.cards import CARDS, gpus
from dpo.training.plan.choose import Workload, plan
from dpo.training.plan.memory import (
    KEPT_SOFTMAX,
    SCORED_ROWS,
    MicroBatch,
    activations,
    logits,
    memory,
    states,
)
from dpo.training.plan.operations import step
from dpo.training.plan.sizes import Sizes, config_of, sizes_of
from dpo.training.trainer_arguments import lora_config

# Predicted over kept, of the cases below 0.88 to 1.06; one more of BART, in 16 bits and other lengths, came to 1.22.
BAND = (0.85, 1.15)
RANK = 4


def config(name: str) -> PretrainedConfig:
    """Of a small model of that architecture."""
    if name in ("t5", "gpt2"):
        return tiny(name).network.config
    kind, sizes = CONFIGS[name]
    return kind(vocab_size=300, decoder_start_token_id=0, **{k: v for k, v in sizes.items() if "start" not in k})


def model(settings: PretrainedConfig, attention: str | None) -> PreTrainedModel:
    auto: Any = AutoModelForSeq2SeqLM if settings.is_encoder_decoder else AutoModelForCausalLM
    made: PreTrainedModel = auto.from_config(settings, attn_implementation=attention)
    disable_dropout(made)
    return made.train()


def scored(trained: PreTrainedModel, pairs: int, prompt: int, answer: int) -> Tensor:
    """Log-probabilities of random pairs of such lengths, as the trainer asks for them."""
    family = family_of(trained.config)
    prompts = [[(5 * i + row) % 200 + 2 for i in range(prompt)] for row in range(pairs)]
    answers = [[(3 * i + row) % 200 + 2 for i in range(answer)] for row in range(2 * pairs)]
    batch = family.collate(prompts, answers, 0, 0)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    found = score_batch(trained, family, batch, labels).log_probs
    assert found is not None
    return found


def kept_bytes(trained: PreTrainedModel, pairs: int, prompt: int, answer: int, bits16: bool) -> int:
    """Bytes that autograd keeps of one forward pass, weights and buffers left out and every storage once."""
    own = {part.untyped_storage().data_ptr() for part in (*trained.parameters(), *trained.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept[place] = tensor  # held, so that no later one gets its place
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=bits16),
    ):
        scored(trained, pairs, prompt, answer)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("name", ["t5", "gpt2", *sorted(set(CONFIGS) - {"gpt-neo"})])
def test_activations_and_operations_are_those_of_a_real_step(name: str) -> None:
    settings, (pairs, prompt, answer) = config(name), (3, 20, 30)
    sizes = sizes_of(name, settings, RANK)
    for bits16 in (False, True):
        trained = model(settings, "eager" if bits16 else None)
        batch = MicroBatch(pairs, prompt, answer, bits16)
        blocks = 2 * 4 * min(2 * pairs * answer, SCORED_ROWS) * sizes.vocabulary  # which nothing keeps
        cast = 2 * sizes.quantised if bits16 else 0
        expected = activations(sizes, batch) + logits(sizes, "single", batch) - blocks + cast
        low, high = (bound * kept_bytes(trained, pairs, prompt, answer, bits16) for bound in BAND)
        assert low < expected < high, (name, bits16)
    trained = model(settings, "eager")  # the counter knows no fused attention of a CPU
    with FlopCounterMode(display=False) as counter:
        scored(trained, pairs, prompt, answer).sum().backward()
    assert pairs * step(sizes, prompt, answer, "single") == pytest.approx(counter.get_total_flops(), rel=1e-3)
    assert (KEPT_SOFTMAX, SCORED_ROWS) == (logps._KEEP_BYTES, logps._GPU_ROWS)


def test_recomputation_keeps_what_is_said() -> None:
    settings = config("tinyllama")
    trained, sizes = model(settings, None), sizes_of("tinyllama", settings, RANK)
    trained.gradient_checkpointing_enable()
    batch = MicroBatch(3, 20, 30, bits16=False, recompute=True)
    blocks = 2 * 4 * 2 * 3 * 30 * sizes.vocabulary
    kept = kept_bytes(trained, 3, 20, 30, bits16=False)
    # At the forward pass's end; while a layer is recomputed, what it keeps is there as well.
    one = activations(sizes, MicroBatch(3, 20, 30, bits16=False)) / sizes.decoder.layers
    expected = activations(sizes, batch) + logits(sizes, "single", batch) - blocks
    assert kept < expected < kept + 1.5 * one


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_weights_gradients_and_optimizer_are_exact(family: str) -> None:
    policy = tiny(family)
    sizes = sizes_of(family, policy.network.config, RANK)
    held = states(sizes.parameters, "single")
    trained = policy.network.train()
    optimizer = torch.optim.AdamW(trained.parameters())
    scored(trained, 2, 6, 8).sum().backward()
    optimizer.step()
    parameters = list(trained.parameters())
    assert held.weights == held.reference == sum(part.nbytes for part in parameters)
    assert held.gradients == sum(part.grad.nbytes for part in parameters if part.grad is not None)
    moments = [state[name].nbytes for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert held.optimizer == sum(moments)
    split = states(sizes.parameters, "fsdp", 4)
    assert [4 * part for part in vars(split).values()] == list(vars(held).values())
    # The adapter that a training would put on it.
    from peft import get_peft_model

    plain = Policy(policy.name, policy.network, policy.tokenizer, policy.family)
    adapted = get_peft_model(trained, lora_config(plain, TrainConfig(lora=True, lora_rank=RANK)))
    trainable = sum(part.nbytes for part in adapted.parameters() if part.requires_grad)
    lora = states(sizes.parameters, "lora", adapter=sizes.adapter)
    assert (lora.gradients, lora.weights - held.weights, lora.optimizer) == (trainable, trainable, 2 * trainable)


def sized(parameters: int) -> Sizes:
    """A model of the proportions of Llama 3 8B with so many parameters."""
    found = sizes_of("tinyllama", config("tinyllama"), RANK)
    fields = vars(found) | {"parameters": parameters, "quantised": int(0.9 * parameters), "in_blocks": parameters}
    return Sizes(**fields | {"largest_block": parameters // 32, "context": 8192})


def test_the_plan_takes_the_first_that_fits_and_says_what_it_costs() -> None:
    work = Workload(TrainConfig(), 10_000, 100.0, 200.0, 64)
    chosen = {
        parameters: plan(sized(int(parameters)), gpus("8x80GB"), work).choice for parameters in (1e8, 1e10, 6e10, 1e12)
    }
    assert [choice and choice.strategy for choice in chosen.values()] == ["ddp", "fsdp", "qlora", None]
    small = chosen[1e8]
    assert small is not None and small.batch.pairs * small.accumulation * 8 == 64
    twice = plan(sized(int(1e8)), gpus("16x80GB"), work).choice
    assert twice is not None and twice.hours == pytest.approx(small.hours / 2)
    one = plan(sized(int(1e9)), gpus("80GB"), work)
    assert [option.strategy for option in one.options] == ["single", "lora", "qlora"]
    for option in one.options:
        assert option.fits == (option.memory.total <= 0.92 * 80e9)
    assert gpus("8xh100").card is CARDS["H100"] and gpus("30GB").card.bf16 == CARDS["A100 40GB"].bf16
    # DDP's buckets and FSDP's gathered layers are not free.
    batch = MicroBatch(1, 10, 10)
    assert memory(sized(100), "ddp", 2, batch).buffers == 400 > memory(sized(100), "single", 1, batch).buffers == 0


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["plan", "--model", "demo/gpt2", "--gpus", "2xL4", "--gpu-price", "0.8"]
    assert main(call) == 0
    shown = capsys.readouterr().out
    for words in (
        "demo/gpt2: GPT2LMHeadModel",
        "ddp  ",
        "Take ddp",
        "EUR at 0.8",
        "torchrun --nproc-per-node 2 -m dpo",
    ):
        assert words in shown
    # What it says to type is a command of ours, and config.json alone was read.
    (tmp_path / "config.json").write_text(config_of("demo/t5").to_json_string(), encoding="utf-8")
    assert main(["plan", "--model", str(tmp_path), "--gpus", "1x0.5GB", "--json", "--pairs", "50"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["choice"] is None and facts["pairs"] == 50 and facts["model"]["architecture"].startswith("T5")
    assert facts["options"][0]["hours"] is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--gpus", "many"], "many is not in the table"),
        (["--gpus", "0xH100"], "write how many and which"),
        (["--gpus", "2xH10O"], "did you mean"),
        (["--gpus", "H100", "--strategy", "fsdp"], "needs several GPUs"),
        (["--gpus", "H100", "--pairs", "0"], "--pairs is 0"),
        (["--gpus", "H100", "--utilisation", "2"], "--utilisation is 2"),
        (["--gpus", "H100", "--gpu-price", "nan"], "--gpu-price is nan"),
        (["--gpus", "H100", "--max-prompt-length", "2000"], "need 2256 tokens"),
    ],
)
def test_mistakes_are_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--model", "demo/gpt2", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_mixture_of_experts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mixtral", "num_local_experts": 8}', encoding="utf-8")
    assert main(["plan", "--model", str(tmp_path), "--gpus", "H100"]) == 2
    assert "mixture of experts" in capsys.readouterr().err
