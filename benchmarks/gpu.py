"""What a machine with an NVIDIA GPU is asked to show: its tests, the steps' speed, a short training of each family.

    make bench-gpu                       everything, in about 20 minutes (30 at most), then the tables
    make bench-gpu ARGS=--dry-run        what it would do, on any machine
    python benchmarks/gpu.py steps       one part: tests, steps, training or write
    python benchmarks/gpu.py steps --on-cpu   try a part with small shapes where there is no GPU; nothing is written

Results are kept in `build/gpu` until `write` puts them between the markers of docs/benchmarks.md.
A step is policy forward, reference and backward, each contestant in a process of its own
(`benchmarks/train_step.py --one`), so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo.training.plan.cards import CARDS

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "gpu"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- gpu tables: written by make bench-gpu -->", "<!-- gpu tables end -->"
PARTS = ("tests", "steps", "training", "write")
METHODS = {"full": "full, reference asked", "lora": "LoRA", "lora-cached": "LoRA, cached reference"}


@dataclass(frozen=True)
class Command:
    """One command of a part: its words, how long it may take, and the file that its last line goes to, if any."""

    words: tuple[str, ...]
    minutes: float
    result: str | None = None

    def __str__(self) -> str:
        return f"{shlex.join(self.words)}   # at most {self.minutes:g} min"


def commands(part: str, on_cpu: bool = False) -> list[Command]:
    """What a part runs, in order."""
    python = ".venv/bin/python"
    if part == "tests":
        return [Command((python, "-m", "pytest", "-m", "gpu", "tests"), 8)]
    if part == "steps":
        shapes = ("gpt2-5m", "t5-5m") if on_cpu else ("gpt2-124m", "t5-60m")
        measured = (("stock", "full"), ("ours", "full"), ("stock", "lora"), ("ours", "lora-cached"))
        return [
            Command(
                (python, "benchmarks/train_step.py", "--one", who, "--method", method, "--shapes", shape,
                 "--precision", precision, "--batch", "2" if on_cpu else "16", "--rounds", "1" if on_cpu else "20"),
                0.75, f"step-{shape}-{precision}-{who}-{method}.json",
            )
            for shape in shapes for precision in ("bf16", "fp32") for who, method in measured
        ]  # fmt: skip
    if part == "training":
        size = ("--max-steps", "2", "--batch-size", "4", "--max-eval-pairs", "4", "--device", "cpu") if on_cpu else (
            "--max-steps", "60", "--batch-size", "8", "--device", "cuda")  # fmt: skip
        return [
            Command(
                (python, "-m", "dpo", "train", "--model", f"demo/{family}", "--dataset", "sample", *size,
                 "--precision", "bf16", "--eval-fraction", "0.1", "--output-dir", f"build/gpu/run-{family}"), 4,
            )
            for family in ("gpt2", "t5")
        ]  # fmt: skip
    return []


def run(part: str, on_cpu: bool) -> None:
    """Run a part's commands and keep their results."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    for command in commands(part, on_cpu):
        print(f"$ {command}", flush=True)
        directory = next((word for word in command.words if word.startswith("build/gpu/run-")), None)
        if directory is not None and (ROOT / directory).exists():
            (ROOT / directory).rename(ROOT / f"{directory}-{time.strftime('%Y%m%d-%H%M%S')}")
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        try:
            done = subprocess.run(
                [sys.executable, *command.words[1:]], cwd=ROOT, env=environment, timeout=60 * command.minutes,
                stdout=subprocess.PIPE if command.result else None, text=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise SystemExit(f"bench-gpu: this command ran out of its time: {command}") from None
        if done.returncode:
            raise SystemExit(f"bench-gpu: this command failed ({done.returncode}): {command}")
        if command.result:
            print(done.stdout.splitlines()[-1], flush=True)
            (RESULTS / command.result).write_text(done.stdout.splitlines()[-1] + "\n", encoding="utf-8")


def tables(steps: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]], machine: str) -> str:
    """The page's part as Markdown.

    MFU is the operations that an exact step cannot avoid (`operations` in train_step.py: each prompt once, only
    answers scored, a cached reference not asked), over its time and the card's published peak.
    """
    columns = ("shape", "precision", "method", "whose", "ms a step", "pairs a second", "MFU",
               "of the measured product rate", "peak memory (MiB)", "TRL's time over ours")  # fmt: skip
    lines = [machine, "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for step in steps:
        rate = step["operations"] / step["seconds"]
        peak = peak_rate(step["device"], step["precision"])
        rival = next((other for other in steps if other["who"] == "stock" and _same(other, step)), None)
        ahead = f"{rival['seconds'] / step['seconds']:.2f}" if rival and step["who"] == "ours" else ""
        cells = (
            f"{step['shape']} (batch {step['batch']})", step["precision"], METHODS[step["method"]], _name(step),
            f"{1000 * step['seconds']:.1f}", f"{step['batch'] / step['seconds']:.0f}",
            f"{rate / peak:.0%}" if peak else "-", f"{rate / step['product_rate']:.0%}", f"{step['mib']:.0f}", ahead,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    if runs:
        lines += ["", "| training | updates | seconds | watt-hours | step-0 gap (nats) | held-out accuracy | margin |",
                  "|---|---|---|---|---|---|---|"]  # fmt: skip
    for made in runs:
        energy = f"{made['energy_wh']:.2f}" if made.get("energy_wh") is not None else "-"
        lines.append(
            f"| {made['model']}, {made['precision']} | {made['step']} | {made['seconds']:.0f} | {energy} | "
            f"{made['gap']:.1e} | {made['accuracy']:.3f} (n {made['n']}) | {made['margin']:.3f} |"
        )
    return "\n".join(lines)


def _same(other: dict[str, Any], step: dict[str, Any]) -> bool:
    """Of the same shape, precision and kind of weights."""
    alike = all(other[name] == step[name] for name in ("shape", "precision", "batch"))
    return bool(alike and other["method"].split("-")[0] == step["method"].split("-")[0])


def _name(step: dict[str, Any]) -> str:
    if step["who"] == "ours":
        return "ours"
    return "TRL's DPOTrainer" if step["shape"].startswith("gpt2") else "TRL 0.28's way"


def peak_rate(device: str, precision: str) -> float | None:
    """Published operations a second of a card by PyTorch's name for it; None if it is not in the table."""
    known = max((name for name in CARDS if name in device), key=len, default=None)
    return None if known is None else 1e12 * (CARDS[known].bf16 if precision == "bf16" else CARDS[known].fp32)


def put(page: str, text: str) -> str:
    """The page with `text` between its markers.

    Raises:
        SystemExit: the page lacks a marker.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"bench-gpu: {PAGE.name} lacks its markers {BEGIN} and {END}: put them back")
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"


def write() -> None:
    """Put the kept results into the page."""
    found = [RESULTS / command.result for command in commands("steps") if command.result]
    steps = [json.loads(path.read_text(encoding="utf-8")) for path in found if path.is_file()]
    if not steps:
        raise SystemExit(f"bench-gpu: no results in {RESULTS}: run the parts tests, steps and training first")
    runs = [made for family in ("gpt2", "t5") if (made := _reached(RESULTS / f"run-{family}")) is not None]
    text = tables(steps, runs, f"{time.strftime('%Y-%m-%d')}, {steps[0]['machine']}")
    PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(steps)} steps and {len(runs)} trainings written")


def _reached(directory: Path) -> dict[str, Any] | None:
    from dpo.runs import open_run, summarise

    if not (directory / "run.json").is_file():
        return None
    run = open_run(directory)
    info, facts = run.info, summarise(run)
    return {
        "model": run.config["model"], "precision": info["policy"]["precision"], "step": facts["step"],
        "seconds": info["training_seconds"], "energy_wh": info.get("energy_wh"), "n": info["dataset"]["held_out"],
        "gap": info["step_zero"]["max_logp_gap"], "accuracy": facts["accuracy"], "margin": facts["margin"],
    }  # fmt: skip


def main(given: Sequence[str] | None = None) -> None:
    """Read the flags; list or run the part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--dry-run", action="store_true", help="list the commands and their limits; no GPU needed")
    parser.add_argument("--on-cpu", action="store_true", help="try the part here with small shapes; write nothing")
    arguments = parser.parse_args(given)
    if arguments.dry_run:
        for command in commands(arguments.part, arguments.on_cpu):
            print(command)
        if arguments.part == "write":
            print(f"write the tables of {RESULTS.relative_to(ROOT)} into {PAGE.relative_to(ROOT)}, between its markers")
        return
    if arguments.part == "write":
        write()
        return
    import torch

    if not arguments.on_cpu and not torch.cuda.is_available():
        raise SystemExit(
            "bench-gpu: PyTorch sees no NVIDIA GPU here: run it where there is one, or list what it does with "
            "make bench-gpu ARGS=--dry-run"
        )
    run(arguments.part, arguments.on_cpu)


if __name__ == "__main__":
    main()
