"""How the memory of a training on a CPU grows when its batches differ in length, with and without `dpo.training.heap`.

    python benchmarks/training_memory.py [--model demo/gpt2] [--steps 150] [--batch-size 16]

Each is a `dpo sft` of the same made-up pairs in a process of its own; prints seconds an update and, from the run's
`hardware.jsonl`, the process's memory in the middle, at the end and at most.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from dpo.runs import open_run
from dpo.training.heap import EVERY

_START = "import sys; from dpo.training import heap; heap.EVERY = {every}; from dpo.cli import main; sys.exit(main())"
_WORDS = ("the", "dog", "went", "down", "to", "a", "lake", "where", "nobody", "had", "been", "before,", "said", "she")


def main() -> None:
    """Train twice and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo/gpt2")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "pairs.jsonl"
        write_pairs(data, options.steps * options.batch_size)
        for name, every in (("glibc's own", 10**9), ("given back", EVERY)):
            run = Path(directory) / name.replace(" ", "-")
            subprocess.run(
                [sys.executable, "-c", _START.format(every=every), "sft", "--model", options.model, "--dataset",
                 str(data), "--output-dir", str(run), "--max-steps", str(options.steps), "--batch-size",
                 str(options.batch_size), "--probes", "0",
                 "--device", "cpu", "--save-steps", "100000", "--eval-steps", "100000"],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            print(f"{name}: {measured(run)}", flush=True)


def write_pairs(path: Path, count: int) -> None:
    """Pairs whose answers have 4 to 400 words, most of them few."""
    drawn = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            answers = [" ".join(drawn.choices(_WORDS, k=int(4 * 100 ** drawn.random()))) for _ in range(2)]
            row = {"prompt": f"Tell me story {number}.", "chosen": answers[0], "rejected": answers[1] + "!"}
            file.write(json.dumps(row) + "\n")


def measured(directory: Path) -> str:
    """Seconds an update and memory (MiB) of a finished run."""
    info = open_run(directory).info
    memory = [json.loads(line)["rss_mb"] for line in (directory / "hardware.jsonl").read_text().splitlines()]
    seconds = info["progress"]["seconds"] / info["progress"]["step"]
    return (
        f"{seconds:.3f} s an update, {memory[len(memory) // 2]:.0f} MiB in the middle, {memory[-1]:.0f} at the end, "
        f"{max(memory):.0f} at most"
    )


if __name__ == "__main__":
    main()
