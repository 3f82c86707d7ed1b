"""What turning lambda does: the implicit reward of answers to held-out prompts, for lambda from 0 to 3.

    python benchmarks/strength.py --prompts 24 --plot docs/strength.svg

The reward of an answer is beta * (log pi(answer) - log pi_ref(answer)), measured while it is sampled.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import transformers

from dpo.generation.sampler import answer, suit_threads
from dpo.generation.settings import Sampling
from dpo.generation.store import PolicyStore
from dpo.generation.tracks import AskedPolicy
from dpo.preferences import load_preferences

STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
BETA = 0.1


def rewards(family: str, prompts: list[str], tokens: int) -> list[tuple[float, float]]:
    """Mean reward and its standard error at each strength."""
    store = PolicyStore("cpu")
    base, tuned = (store.get(name, lambda *_: None) for name in (f"demo/{family}", f"demo/{family}-dpo"))
    suit_threads(tuned)
    arms = [AskedPolicy(tuned, strength, base) for strength in STRENGTHS]
    totals: list[list[float]] = [[] for _ in STRENGTHS]
    for seed, prompt in enumerate(prompts):
        sums = [0.0] * len(STRENGTHS)
        for piece in answer(arms, prompt, Sampling(max_new_tokens=tokens, seed=seed), log_ratios=True):
            sums[piece.place] += BETA * (piece.log_ratio or 0.0)
        for total, value in zip(totals, sums, strict=True):
            total.append(value)
    return [(statistics.fmean(x), statistics.stdev(x) / len(x) ** 0.5) for x in totals]


def plot(found: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """A small picture with both families, written by hand so that no browser is needed."""
    top = max(mean + error for rows in found.values() for mean, error in rows)
    low = min(0.0, *(mean - error for rows in found.values() for mean, error in rows))

    def place(strength: float, value: float) -> tuple[float, float]:
        return 60 + 150 * strength, 250 - 220 * (value - low) / (top - low)

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="600" height="300" font-family="sans-serif" font-size="12">'
    ]
    parts.append('<rect width="600" height="300" fill="#ffffff"/>')
    for strength in (0, 1, 2, 3):
        x, y = place(strength, low)
        parts.append(f'<line x1="{x}" y1="30" x2="{x}" y2="{y}" stroke="#e3e3dd"/>')
        parts.append(f'<text x="{x}" y="270" text-anchor="middle" fill="#474c57">{strength}</text>')
    for value in (low, (low + top) / 2, top):
        parts.append(
            f'<text x="52" y="{place(0, value)[1] + 4:.0f}" text-anchor="end" fill="#474c57">{value:.1f}</text>'
        )
    for (family, rows), colour in zip(found.items(), ("#4476e5", "#d9691e"), strict=True):
        points = [place(strength, mean) for strength, (mean, _) in zip(STRENGTHS, rows, strict=True)]
        line = " ".join(f"{x:.0f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.25"/>')
        for strength, (mean, error) in zip(STRENGTHS, rows, strict=True):
            (x, y1), (_, y2) = place(strength, mean - error), place(strength, mean + error)
            parts.append(f'<line x1="{x}" y1="{y1:.1f}" x2="{x}" y2="{y2:.1f}" stroke="{colour}"/>')
        label = {"t5": "T5", "gpt2": "GPT-2"}[family]
        parts.append(f'<text x="{points[-1][0] + 8:.0f}" y="{points[-1][1] + 4:.0f}" fill="{colour}">{label}</text>')
    parts.append('<text x="60" y="18" fill="#15171c">Implicit reward of sampled answers, held-out prompts</text>')
    parts.append('<text x="285" y="290" text-anchor="middle" fill="#474c57">lambda</text></svg>')
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")


def main() -> None:
    """Read the flags, measure, print the table."""
    transformers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    pairs = load_preferences("sample", eval_fraction=0.2)
    prompts = list(dict.fromkeys(pairs.held_out["prompt"]))[: arguments.prompts]
    found = {family: rewards(family, prompts, arguments.tokens) for family in ("t5", "gpt2")}
    print(f"{len(prompts)} held-out prompts, up to {arguments.tokens} tokens, beta {BETA}\n")
    print("| lambda | " + " | ".join(f"{family} reward (standard error)" for family in found) + " |")
    print("|---|" + "---|" * len(found))
    for index, strength in enumerate(STRENGTHS):
        cells = [f"{rows[index][0]:.2f} ({rows[index][1]:.2f})" for rows in found.values()]
        print(f"| {strength:g} | " + " | ".join(cells) + " |")
    for family, rows in found.items():
        rising = all(a[0] < b[0] for a, b in itertools.pairwise(rows))
        print(f"{family}: {'rises at every step' if rising else 'does not rise at every step'}")
    if arguments.plot:
        plot(found, arguments.plot)


if __name__ == "__main__":
    main()
