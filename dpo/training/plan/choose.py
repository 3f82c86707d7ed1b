"""Which strategy fits, with which batch, how long it takes and what it costs."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dpo.errors import ConfigError
from dpo.training.config import TrainConfig
from dpo.training.plan.cards import Gpus
from dpo.training.plan.memory import CONTEXT, GB, USABLE, Memory, MicroBatch, Strategy, memory
from dpo.training.plan.operations import forward, step
from dpo.training.plan.sizes import Sizes

UTILISATION = 0.3
"""Share of the peak rate that a training reaches. PaLM reached 46 % on thousands of TPUs (Chowdhery et al. 2022,
section 4.1), Megatron-LM 44 to 52 % on A100s (Narayanan et al. 2021); short rows and small batches reach less."""
LETTERS_OF_A_TOKEN = 4  # roughly, of English
FSDP_FILE = "configs/launch/fsdp.yaml"


@dataclass(frozen=True)
class Workload:
    """What is to be trained on.

    `pairs` of prompts and answers that have `prompt` and `answer` tokens on average; both are cut at `config`'s limits,
    for which there must be room. `update_pairs` make one update, over all GPUs.
    """

    config: TrainConfig
    pairs: int
    prompt: float
    answer: float
    update_pairs: int


@dataclass(frozen=True)
class Option:
    """One strategy on these GPUs: the largest batch that fits, or (`fits` False) what one pair would take."""

    strategy: Strategy
    fits: bool
    memory: Memory
    batch: MicroBatch
    accumulation: int
    hours: float
    command: str


@dataclass(frozen=True)
class TrainingPlan:
    """All strategies, in the order of preference, and the one to take: the first that fits, or the one asked for."""

    options: tuple[Option, ...]
    choice: Option | None


def plan(
    sizes: Sizes, gpus: Gpus, work: Workload, asked: str = "auto", utilisation: float = UTILISATION
) -> TrainingPlan:
    """Look at every strategy; all weights come before adapters, and what splits less before what splits more.

    Raises:
        ConfigError: a strategy that needs several GPUs on one, or lengths that the model has no positions for.
    """
    ways: tuple[Strategy, ...] = ("ddp", "fsdp", "lora", "qlora") if gpus.count > 1 else ("single", "lora", "qlora")
    if asked not in ("auto", *ways):
        one = "needs several GPUs" if gpus.count == 1 else "is for one GPU"
        raise ConfigError(f"--strategy {asked} {one}: use {', '.join(ways)} or auto")
    options = tuple(_option(sizes, gpus, work, way, utilisation) for way in ways)
    wanted = [option for option in options if option.fits and asked in ("auto", option.strategy)]
    return TrainingPlan(options, wanted[0] if wanted else None)


def room(gpus: Gpus) -> float:
    """Bytes of one card that a training may take."""
    return gpus.card.gigabytes * GB * USABLE


def _option(sizes: Sizes, gpus: Gpus, work: Workload, strategy: Strategy, utilisation: float) -> Option:
    most = max(1, work.update_pairs // gpus.count)
    limits = work.config.max_prompt_length, work.config.max_completion_length
    powers = [2**power for power in range(most.bit_length() - 1, -1, -1)]
    batches = [MicroBatch(pairs, *limits, recompute=recompute) for recompute in (False, True) for pairs in powers]
    taken = [(batch, memory(sizes, strategy, gpus.count, batch)) for batch in batches]
    found = next(((batch, need) for batch, need in taken if need.total <= room(gpus)), None)
    batch, need = found or taken[-1]
    accumulation = max(1, round(work.update_pairs / (batch.pairs * gpus.count)))
    hours = _hours(sizes, gpus, work, strategy, batch, utilisation)
    command = _command(gpus, work, strategy, batch, accumulation)
    return Option(strategy, found is not None, need, batch, accumulation, hours, command)


def _hours(
    sizes: Sizes, gpus: Gpus, work: Workload, strategy: Strategy, batch: MicroBatch, utilisation: float
) -> float:
    """Operations over what the GPUs do in an hour; the reference is asked once a pair, and kept for later epochs."""
    prompt, answer = math.ceil(work.prompt), math.ceil(work.answer)
    epochs = work.config.epochs
    each = epochs * step(sizes, prompt, answer, strategy, batch.recompute)
    each += min(1.0, epochs) * forward(sizes, prompt, answer)
    return work.pairs * each / (gpus.count * gpus.card.bf16 * 1e12 * utilisation) / 3600


def _command(gpus: Gpus, work: Workload, strategy: Strategy, batch: MicroBatch, accumulation: int) -> str:
    config = work.config
    flags: dict[str, Any] = {
        "model": config.model, "dataset": config.dataset, "epochs": f"{config.epochs:g}",
        "max-prompt-length": config.max_prompt_length, "max-completion-length": config.max_completion_length,
        "batch-size": batch.pairs, "gradient-accumulation": accumulation, "precision": "bf16",
    }  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    if batch.recompute:
        words.append("--gradient-checkpointing")
    if strategy in ("lora", "qlora"):
        words += ["--lora", "--lora-rank", str(config.lora_rank)]
    if strategy == "qlora":
        words += ["--quantization", "4bit"]
    return shlex.join([*_launcher(gpus, strategy), "train", *words, "--output-dir", "runs/planned"])


def _launcher(gpus: Gpus, strategy: Strategy) -> Sequence[str]:
    if gpus.count == 1:
        return ["dpo"]
    if strategy == "fsdp":
        return ["accelerate", "launch", "--config_file", FSDP_FILE, "--num_processes", str(gpus.count), "-m", "dpo"]
    return ["torchrun", "--nproc-per-node", str(gpus.count), "-m", "dpo"]


def beside(need: Memory) -> dict[str, float]:
    """The parts of a memory by name, in bytes, CUDA's own and the sum last."""
    return {**vars(need), "cuda": CONTEXT, "total": need.total}
