"""How long an evaluation's result takes: 10,000 verdicts on 1,250 prompts, and 2,000 bootstrap draws of them.

Seconds are of the processor, so that what else runs on the machine does not count.

python benchmarks/evaluation.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))

import numpy as np
from evaluations import stored

from dpo.evaluation.comparison.result import result
from dpo.evaluation.comparison.rows import RowStore
from dpo.evaluation.statistics.intervals import bootstrap
from dpo.evaluation.statistics.strengths import percentiles, resampled_by_prompt

PROMPTS, SAMPLES, DRAWS = 1_250, 8, 2_000


def main() -> None:
    """Time reading, the result and the draws once each, after one that warms up."""
    draw = np.random.default_rng(0)
    words = [f"word{n}" for n in range(2_000)]
    texts = {name: [" ".join(draw.choice(words, 60)) for _ in range(PROMPTS * SAMPLES)] for name in ("tuned", "base")}
    with tempfile.TemporaryDirectory() as folder:
        stored(Path(folder), dict(texts), samples=SAMPLES)
        started = time.process_time()
        store = RowStore(folder)
        read = time.process_time() - started
        started = time.process_time()
        made = result(store)
        shown = time.process_time() - started
    h = draw.choice([0.0, 0.5, 1.0], PROMPTS)
    wins = np.zeros((PROMPTS, 4, 4))
    for prompt in range(PROMPTS):
        for _ in range(SAMPLES):
            a, b = draw.choice(4, 2, replace=False)
            wins[prompt, a, b] += 1
    started = time.process_time()
    bootstrap(h, resamples=DRAWS)
    percentiles(resampled_by_prompt(wins, DRAWS))
    drawn = time.process_time() - started
    print(f"{PROMPTS * SAMPLES:,} verdicts, {made['prompts']:,} prompts: read in {read:.2f} s, result in {shown:.2f} s")
    print(f"{DRAWS:,} draws of the win rate and of four Bradley-Terry strengths: {drawn:.2f} s")


if __name__ == "__main__":
    main()
