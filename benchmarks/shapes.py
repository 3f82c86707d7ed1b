"""Random-weight models and token ids of the shapes that the benchmarks compare, and how they are timed."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, T5Config, T5ForConditionalGeneration

from dpo.policies.families import disable_dropout, family_of
from dpo.policies.loading import Policy
from dpo.pretraining.tokenizers import train_bpe

VOCABULARY = 32_000
PROMPT, COMPLETION = 64, 128


@dataclass(frozen=True)
class Shape:
    """A model's size; `layers` are those of the decoder (T5 has as many in its encoder)."""

    family: str
    name: str
    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int = VOCABULARY


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("gpt2", "gpt2-5m", 128, 4, 4, 512),
        Shape("gpt2", "gpt2-61m", 640, 8, 10, 2560),
        Shape("t5", "t5-5m", 128, 3, 4, 512),
        Shape("t5", "t5-60m", 512, 6, 8, 2048),
        Shape("gpt2", "gpt2-124m", 768, 12, 12, 3072, 50_257),
    )
}


def policy(shape: Shape) -> Policy:
    """A policy of this shape with random weights; its tokenizer only names the special tokens."""
    torch.manual_seed(0)
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    model: PreTrainedModel
    if shape.family == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=shape.vocabulary, n_embd=shape.width, n_layer=shape.layers, n_head=shape.heads,
                n_inner=shape.feed_forward, n_positions=1024, **special,
            )
        )  # fmt: skip
    else:
        model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=shape.vocabulary, d_model=shape.width, num_layers=shape.layers, num_heads=shape.heads,
                d_kv=shape.width // shape.heads, d_ff=shape.feed_forward, decoder_start_token_id=0, **special,
            )
        )  # fmt: skip
    disable_dropout(model)
    return Policy(shape.name, model, train_bpe(["a line of text", "and another one"], 300), family_of(model.config))


def rows(count: int, shape: Shape, prompt: int = PROMPT, completion: int = COMPLETION) -> Dataset:
    """Random pairs, tokenised, each answer ending in EOS."""
    generator = torch.Generator().manual_seed(1)

    def ids(length: int) -> list[list[int]]:
        return torch.randint(2, shape.vocabulary, (count, length), generator=generator).tolist()

    answers = {side: [[*row, 1] for row in ids(completion - 1)] for side in ("chosen_ids", "rejected_ids")}
    lengths = [prompt + completion] * count
    return Dataset.from_dict({"prompt_ids": ids(prompt), **answers, "length": lengths, "row": list(range(count))})


def side_by_side(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, taken in turn: A B C, A B C, ... so that a drift of the machine meets all alike."""
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(slow: list[float], quick: list[float]) -> tuple[float, float, float]:
    """Median, least and greatest ratio, round by round."""
    ratios = [a / b for a, b in zip(slow, quick, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def matmul_rate(dtype: torch.dtype = torch.float32, device: str = "cpu") -> float:
    """Floating-point operations a second of a large matrix product: what a step could reach at best."""
    size = 2048 if device == "cpu" else 8192
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    a @ b
    seconds = []
    for _ in range(5):
        if device != "cpu":
            torch.cuda.synchronize()
        began = time.perf_counter()
        a @ b
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(seconds)


def machine() -> str:
    """One line: processor, threads, versions."""
    name = platform.processor() or platform.machine()
    path = Path("/proc/cpuinfo")
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    if torch.cuda.is_available():
        name = f"{torch.cuda.get_device_name()}, {name}"
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "trl", "peft"))
    return f"{name}, {torch.get_num_threads()} threads; Python {platform.python_version()}, {packages}"
