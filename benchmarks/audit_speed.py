"""How long and how much memory an audit of hh-rlhf's size takes, on generated rows.

    python benchmarks/audit_speed.py [--rows 170000] [--model DIR]

Writes transcripts in hh-rlhf's layout (one to four questions, about 1,000 characters a side) to a
temporary file, audits it in a process of its own, prints seconds and peak memory, and exits with 1 if
either is over its limit.  `--rows 990000` makes 2 GB, of which the audit compares 200,000 pairs.  Words
are drawn from a Zipf distribution; every answer holds a few rare words of its prompt, as real ones do.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_SECONDS, MOST_BYTES = 180.0, 2 * 2**30


def generate(path: Path, rows: int) -> None:
    """Write `rows` transcripts."""
    rng = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgk"
    words = sorted({"".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(60_000)})
    rng.shuffle(words)
    weights = list(accumulate(1 / (rank + 10) for rank in range(len(words))))

    def text(count: int, topic: list[str]) -> str:
        drawn = rng.choices(words, cum_weights=weights, k=count)
        drawn[2::9] = rng.choices(topic, k=len(drawn[2::9]))
        return " ".join(drawn).capitalize() + rng.choice(".?!")

    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            topic = rng.choices(words, k=6)
            talk = f"\n\nHuman: {text(rng.randint(8, 25), topic)}"
            for _ in range(rng.randint(0, 3)):
                talk += f"\n\nAssistant: {text(rng.randint(10, 50), topic)}\n\nHuman: {text(rng.randint(6, 20), topic)}"
            sides = [f"{talk}\n\nAssistant: {text(rng.randint(10, 80), topic)}" for _ in range(2)]
            file.write(json.dumps({"chosen": sides[0], "rejected": sides[1]}) + "\n")


def main() -> int:
    """Generate, audit, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=170_000)
    parser.add_argument("--model", default="demo/gpt2", help="whose tokens to tell [demo/gpt2]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.jsonl"
        generate(path, arguments.rows)
        print(f"{arguments.rows:,} rows, {path.stat().st_size / 1e6:.0f} MB", flush=True)
        command = [sys.executable, "-m", "dpo", "data", "audit", str(path), "--model", arguments.model]
        began = time.perf_counter()
        subprocess.run([*command, "--json", str(Path(directory) / "audit.json")], cwd=ROOT, check=True)
        seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{seconds:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of CPU time), peak memory {peak / 2**30:.2f} GB")
    return int(seconds > MOST_SECONDS or peak > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
