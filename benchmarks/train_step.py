"""One DPO step: TRL's stock trainer, TRL 0.28's way for T5, and ours, side by side in one process.

    python benchmarks/train_step.py                  the four CPU shapes
    python benchmarks/train_step.py --shapes gpt2-5m --rounds 9
    python benchmarks/train_step.py --end-to-end     50 steps through the Trainer as well

A step is policy forward, reference and backward, on the same weights and the same batch.  Losses
and gradients are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"
os.environ["DPO_CACHE"] = tempfile.mkdtemp(prefix="dpo-bench-")

import torch
import transformers
from peft import LoraConfig, get_peft_model
from shapes import COMPLETION, PROMPT, SHAPES, Shape, machine, matmul_rate, policy, ratio, rows, side_by_side
from torch.nn import functional as F
from trl import DPOConfig, DPOTrainer

from dpo.policies.families import disable_dropout
from dpo.training.config import TrainConfig
from dpo.training.settings import make
from dpo.training.trainer import PreferenceTrainer
from dpo.training.trainer_arguments import lora_config, trl_arguments

BETA = 0.1
Step = Callable[[], float]


class Fp32(DPOTrainer):
    """TRL's trainer on rows that are tokenised already; nothing else is changed."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset


def config(**values: Any) -> TrainConfig:
    return make(
        TrainConfig, {"learning_rate": 1e-5, "batch_size": 8, "device": "auto", "beta": BETA, "warmup": 0.0} | values
    )


def stock(
    shape: Shape, batch: int, lora: bool, directory: str, cached: bool, steps: int = 0, precision: str = "fp32"
) -> DPOTrainer:
    """TRL's own trainer (decoder-only models)."""
    made = policy(shape)
    data = rows(max(batch, steps * batch), shape).remove_columns(["length", "row"])
    args = DPOConfig(
        output_dir=directory, beta=BETA, per_device_train_batch_size=batch, max_length=None,
        bf16=precision == "bf16",
        gradient_checkpointing=False, report_to=[], disable_tqdm=True, learning_rate=1e-5, max_steps=steps or 1,
        precompute_ref_log_probs=cached, save_strategy="no", logging_steps=5, remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(), lr_scheduler_type="linear", dataloader_pin_memory=False,
    )  # fmt: skip
    adapter = lora_config(made, config(lora=True)) if lora else None
    reference = None if lora or cached else copy.deepcopy(made.network)
    return Fp32(
        model=made.network, ref_model=reference, args=args, train_dataset=data, processing_class=made.tokenizer,
        peft_config=adapter,
    )  # fmt: skip


def ours(
    shape: Shape, batch: int, lora: bool, directory: str, cached: bool, steps: int = 0, precision: str = "fp32"
) -> PreferenceTrainer:
    """This project's trainer, both families."""
    made = policy(shape)
    settings = config(batch_size=batch, lora=lora, max_steps=steps or 1, cache_reference=cached, save_steps=10**6)
    args = trl_arguments(settings, directory, precision, False, False)
    if precision != "fp32":
        made.network.set_attn_implementation("eager")  # as dpo train loads it for 16 bits
    reference = None if lora else copy.deepcopy(made.network)
    adapter = lora_config(made, settings) if lora else None
    data = rows(max(batch, steps * batch), shape)
    trainer = PreferenceTrainer(made, reference, args, data, None, adapter, cache_reference=cached)
    trainer.open_reference_cache()
    return trainer


def trainer_step(trainer: Any, batch: int) -> Step:
    """Forward, reference and backward through a trainer's own loss."""
    # What `train` does before its first step: where it is wanted, the model computes in 16 bits from then on.
    trainer.model = trainer.accelerator.prepare_model(trainer.model)
    inputs = trainer.data_collator([trainer.train_dataset[i] for i in range(batch)])
    inputs = trainer._prepare_inputs(inputs)
    trainer.model.train()

    def step() -> float:
        trainer.model.zero_grad(set_to_none=True)
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
        return float(loss.detach())

    step.model = trainer.model  # type: ignore[attr-defined]
    return step


def old_t5_step(shape: Shape, batch: int, lora: bool, cached: bool, precision: str = "fp32") -> Step:
    """What TRL 0.28 did with an encoder-decoder: the prompt twice, all the logits, log-softmax, gather."""
    made = policy(shape)
    data = rows(batch, shape)
    model: Any = made.network
    if lora:
        adapter: LoraConfig = lora_config(made, config(lora=True))
        model = get_peft_model(model, adapter)
    reference = None if lora else copy.deepcopy(made.network).eval().requires_grad_(False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    disable_dropout(model)
    if reference is not None:
        reference.to(device)
    prompts = torch.tensor(data["prompt_ids"][:] * 2, device=device)
    labels = torch.tensor(data["chosen_ids"][:] + data["rejected_ids"][:], device=device)
    kept: list[torch.Tensor] = []

    def logps(network: Any) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            out = network(input_ids=prompts, attention_mask=torch.ones_like(prompts), labels=labels, use_cache=False)
        chosen = out.logits.float().log_softmax(-1).gather(2, labels[:, :, None])[:, :, 0]
        return chosen.sum(1)

    def step() -> float:
        model.zero_grad(set_to_none=True)
        own = logps(model)
        if cached and kept:
            frozen = kept[0]
        else:
            with torch.no_grad(), model.disable_adapter() if lora else contextlib.nullcontext():
                frozen = logps(reference if reference is not None else model)
            kept.append(frozen)
        chosen, rejected = (own - frozen).chunk(2)
        loss = -F.logsigmoid(BETA * (chosen - rejected)).mean()
        loss.backward()
        return float(loss.detach())

    step.model = model  # type: ignore[attr-defined]
    return step


def agreement(one: Any, other: Any) -> tuple[float, float]:
    """Largest difference of the losses, and of the gradients relative to the largest gradient of a weight."""
    shift(one.model)
    values = {plain(name): value for name, value in one.model.named_parameters()}
    with torch.no_grad():  # an adapter starts at random: the same start for both
        for name, value in other.model.named_parameters():
            value.copy_(values[plain(name)])
    losses = one(), other()
    theirs = {plain(name): value for name, value in one.model.named_parameters()}
    worst = 0.0
    for name, value in other.model.named_parameters():
        if value.grad is not None:
            wanted = theirs[plain(name)].grad
            worst = max(worst, float((value.grad - wanted).abs().max() / wanted.abs().max().clamp(min=1e-8)))
    return abs(losses[0] - losses[1]), worst


def plain(name: str) -> str:
    return name.removeprefix("base_model.model.")


@torch.no_grad()
def shift(model: Any) -> None:
    """Move what is trained a little, so that no term of the loss is zero."""
    generator = torch.Generator().manual_seed(3)
    for value in model.parameters():
        if value.requires_grad:
            value.add_((0.002 * torch.randn(value.shape, generator=generator)).to(value.device))


def operations(shape: Shape, batch: int, lora: bool, cached: bool) -> float:
    """Floating-point operations that an exact step cannot avoid: each prompt once, only answers scored."""
    d, f, v = shape.width, shape.feed_forward, shape.vocabulary
    prompt, answers = batch * PROMPT, 2 * batch * COMPLETION
    block = 2 * (4 * d * d + 2 * d * f)
    attention = 4 * d * (batch * PROMPT**2 / 2 + 2 * batch * COMPLETION * (PROMPT + COMPLETION / 2))
    if shape.family == "t5":
        body = shape.layers * (block * prompt + (block + 4 * d * d) * answers + 4 * d * d * prompt) + shape.layers * (
            attention + 4 * d * batch * PROMPT**2
        )
    else:
        body = shape.layers * (block * (prompt + answers) + attention)
    head = 2 * d * v * answers
    forward = body + head
    # Backward: gradients of the activations cost a forward pass, those of the weights another.
    backward = forward if lora else 2 * forward
    return forward + backward + (0 if cached else forward)


def measure(shape: Shape, batch: int, rounds: int) -> list[str]:
    """The lines of one shape's table."""
    flops = matmul_rate(device="cuda" if torch.cuda.is_available() else "cpu")
    lines = []
    for lora, cached in ((False, False), (False, True), (True, True)):
        with tempfile.TemporaryDirectory() as directory:
            if shape.family == "gpt2":
                # The customary step computes the reference each time: that is what a cache is measured against.
                base = trainer_step(stock(shape, batch, False, directory, False), batch)
                twin = trainer_step(stock(shape, batch, lora, directory, False), batch)
                name = "TRL's DPOTrainer"
            else:
                base = old_t5_step(shape, batch, False, False)
                twin = old_t5_step(shape, batch, lora, False)
                name = "TRL 0.28's way"
            mine = trainer_step(ours(shape, batch, lora, directory, cached), batch)
            steps = {"base": base, "twin": twin, "ours": mine}
            times = side_by_side(steps, rounds)
            loss, grad = agreement(twin, mine)
        label = ("LoRA" if lora else "full") + (", cached reference" if cached else "")
        full, same = ratio(times["base"], times["ours"]), ratio(times["twin"], times["ours"])
        floor = operations(shape, batch, lora, cached) / flops
        share = floor / sorted(times["ours"])[len(times["ours"]) // 2]
        lines.append(
            f"| {shape.name} (batch {batch}) | {label} | {name} | {full[0]:.2f} ({full[1]:.2f}-{full[2]:.2f}) | "
            f"{same[0]:.2f} | {share:.0%} | {loss:.1e} | {grad:.1e} |"
        )
        print(lines[-1], flush=True)
    return lines


def end_to_end(shape: Shape, batch: int, count: int) -> str:
    """`count` optimizer steps through both Trainers, with everything that surrounds a step."""
    seconds: dict[str, list[float]] = {"stock": [], "ours": []}
    for _ in range(2):
        for name, make_trainer in (("stock", stock), ("ours", ours)):
            with tempfile.TemporaryDirectory() as directory:
                trainer = make_trainer(shape, batch, False, directory, False, steps=count)
                began = time.perf_counter()
                trainer.train()
                seconds[name].append(time.perf_counter() - began)
    middle, low, high = ratio(seconds["stock"], seconds["ours"])
    line = (
        f"| {shape.name} (batch {batch}) | {count} steps through the Trainer, full "
        f"| {middle:.2f} ({low:.2f}-{high:.2f}) |"
    )
    print(line, flush=True)
    return line


def peak_memory(shape: Shape, batch: int, which: str) -> float:
    """MiB that a process needs at most for three full steps (a process of its own: the peak never falls)."""
    command = [sys.executable, __file__, "--memory", which, "--shapes", shape.name, "--batch", str(batch)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(out.splitlines()[-1])["mib"])


def contestant(shape: Shape, batch: int, which: str, directory: str, method: str, precision: str) -> Step:
    """A step by its names on the command line."""
    lora, cached = method.startswith("lora"), method.endswith("cached")
    if which == "ours":
        return trainer_step(ours(shape, batch, lora, directory, cached, precision=precision), batch)
    if shape.family == "gpt2":
        return trainer_step(stock(shape, batch, lora, directory, False, precision=precision), batch)
    return old_t5_step(shape, batch, lora, False, precision)


def one_memory(shape: Shape, batch: int, which: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        step = contestant(shape, batch, which, directory, "full", "fp32")
        for _ in range(3):
            step()
    print(json.dumps({"mib": peak_of_this_process()}))


def one_step(shape: Shape, batch: int, which: str, method: str, precision: str, rounds: int) -> None:
    """Print one contestant's time and memory as a line of JSON (a process of its own, as for the memory)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as directory:
        step = contestant(shape, batch, which, directory, method, precision)
        for _ in range(2):  # side_by_side makes one more before it counts
            step()
        seconds = side_by_side({"one": step}, rounds)["one"]
    mib = peak_of_this_process()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    made = {
        "shape": shape.name, "precision": precision, "who": which, "method": method, "batch": batch,
        "seconds": statistics.median(seconds), "mib": mib, "product_rate": matmul_rate(dtype, device),
        "operations": operations(shape, batch, method.startswith("lora"), method.endswith("cached")),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "machine": machine(),
    }  # fmt: skip
    print(json.dumps(made))


def peak_of_this_process() -> float:
    """MiB at most: of the GPU if there is one, else of memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    # Not getrusage: its peak is the parent's, which a child begins with.
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def main() -> None:
    """Read the flags, measure, print the tables."""
    transformers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["gpt2-5m", "t5-5m", "gpt2-61m", "t5-60m"], choices=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--end-to-end", action="store_true")
    parser.add_argument("--steps", type=int, default=50, help="of --end-to-end")
    parser.add_argument("--memory", choices=("ours", "stock"), help="one contestant's peak memory, as JSON")
    parser.add_argument("--one", choices=("ours", "stock"), help="one contestant's time and memory, as JSON")
    parser.add_argument("--method", choices=("full", "lora", "lora-cached"), default="full", help="of --one")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of --one")
    arguments = parser.parse_args()
    shapes = [SHAPES[name] for name in arguments.shapes]
    if arguments.memory:
        one_memory(shapes[0], arguments.batch, arguments.memory)
        return
    if arguments.one:
        given = (arguments.one, arguments.method, arguments.precision, arguments.rounds)
        one_step(shapes[0], arguments.batch, *given)
        return
    print(f"{machine()}; prompt {PROMPT} + completion {COMPLETION} tokens, fp32")
    print(f"matrix products: {matmul_rate() / 1e9:.0f} GFLOP/s")
    print(
        "| shape | ours | against | ratio, full step (least-greatest) | same method | of the floor | loss | gradient |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for shape in shapes:
        measure(shape, arguments.batch, arguments.rounds)
    print("\n| shape | peak memory, stock (MiB) | ours (MiB) |\n|---|---|---|")
    for shape in shapes:
        stock_mib, our_mib = (peak_memory(shape, arguments.batch, which) for which in ("stock", "ours"))
        print(f"| {shape.name} | {stock_mib:.0f} | {our_mib:.0f} |", flush=True)
    if arguments.end_to_end:
        print("\n| shape | what | ratio |\n|---|---|---|")
        for shape in shapes:
            if shape.family == "gpt2":
                end_to_end(shape, arguments.batch, arguments.steps)


if __name__ == "__main__":
    main()
