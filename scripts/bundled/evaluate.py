"""How the bundled policies answer held-out prompts and rank held-out pairs: the tables of the model cards.

    python -m scripts.bundled.evaluate --dataset build/pairs.jsonl --also human_like_dpo.jsonl \\
        --policies demo/t5 demo/t5-dpo

An answer counts as casual when it holds an emoji or does not speak of being an AI.  Tuned policies also rank
every held-out pair that fits into their context, long ones too, beside the rule "the answer with more emoji".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpo.evaluation.comparison.measures import EMOJI, SPEAKS_OF_AI, emoji_count, repeated_4grams
from dpo.evaluation.lens import open_lens
from dpo.evaluation.pairs import PairScore, score_pairs, summary
from dpo.evaluation.statistics.intervals import wilson
from dpo.generation.pieces import Generation
from dpo.generation.sampler import generate
from dpo.generation.settings import Sampling
from dpo.policies.loading import load_policy
from dpo.policies.names import BUNDLED, BUNDLED_RUNS
from dpo.preferences import load_preferences
from dpo.runs.record import RUN, read_json
from scripts.bundled.cards import card


@dataclass(frozen=True)
class Quality:
    """Shares over answers, except `tokens` (mean) and `n`."""

    n: int
    casual: float
    emoji: float
    speaks_of_ai: float
    ended: float
    repeated_4grams: float
    tokens: float


def quality(answers: Sequence[Generation]) -> Quality:
    """Measure a set of answers."""
    texts = [answer.text for answer in answers]
    emoji = [bool(EMOJI.search(text)) for text in texts]
    formal = [bool(SPEAKS_OF_AI.search(text)) for text in texts]
    count = len(answers)
    return Quality(
        n=count,
        casual=sum(e or not f for e, f in zip(emoji, formal, strict=True)) / count,
        emoji=sum(emoji) / count,
        speaks_of_ai=sum(formal) / count,
        ended=sum(answer.end == "eos" for answer in answers) / count,
        repeated_4grams=sum(map(repeated_4grams, texts)) / count,
        tokens=sum(answer.tokens for answer in answers) / count,
    )


@dataclass(frozen=True)
class Ranking:
    """How the reward ranks held-out pairs: accuracy with Wilson's 95 % interval, means over pairs, pairs left out.

    `more_emoji` is the accuracy of the rule that takes the answer with more emoji; ties are half right.
    """

    pairs: int
    left_out: int
    accuracy: float
    low: float
    high: float
    margin: float
    chosen: float
    rejected: float
    more_emoji: float


def ranking(name: str, pairs: Sequence[Mapping[str, Any]]) -> Ranking:
    """Measure a tuned policy on pairs with `prompt`, `chosen`, `rejected`."""
    scores, left_out = score_pairs(open_lens(name), pairs)
    means = summary(scores)
    accuracy = float(means["rewards/accuracies"])
    low, high = wilson(accuracy, len(scores))
    return Ranking(
        pairs=len(scores),
        left_out=left_out,
        accuracy=accuracy,
        low=low,
        high=high,
        margin=float(means["rewards/margins"]),
        chosen=float(means["rewards/chosen"]),
        rejected=float(means["rewards/rejected"]),
        more_emoji=sum(map(_by_emoji, scores)) / len(scores),
    )


def _by_emoji(score: PairScore) -> float:
    gap = emoji_count(score.chosen) - emoji_count(score.rejected)
    return 0.5 if gap == 0 else float(gap > 0)


def _write(name: str, measured: dict[str, Any]) -> None:
    """Store the measures in the bundled run, and the card that tells them."""
    run = BUNDLED_RUNS / BUNDLED[name]
    (run / "eval.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    info = read_json(run / RUN)
    base = BUNDLED_RUNS / BUNDLED.get(str(info["config"]["model"]), "") / "eval.json"
    compared = json.loads(base.read_text(encoding="utf-8")) if base.is_file() else None
    (run / "policy" / "README.md").write_text(card(info, measured, compared), encoding="utf-8")


def main() -> None:
    """Print one JSON object for each policy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--also", help="top up with prompts of this source that were never trained on")
    parser.add_argument("--policies", nargs="+", required=True)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="keep the result as the bundled run's eval.json and card")
    parser.add_argument("--show", type=int, default=0, help="print this many answers")
    arguments = parser.parse_args()
    pairs = load_preferences(arguments.dataset)
    prompts = list(dict.fromkeys(pairs.held_out["prompt"]))
    if arguments.also:
        # Prompts that the recipe left out are as unseen as the held-out ones.
        seen = {*pairs.train["prompt"], *prompts}
        every = load_preferences(arguments.also, eval_fraction=0).train["prompt"]
        prompts += [prompt for prompt in dict.fromkeys(every) if prompt not in seen]
    prompts = prompts[: arguments.prompts]
    sampling = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=200, seed=arguments.seed)
    for name in arguments.policies:
        answers = generate(load_policy(name), prompts, sampling)
        measured: dict[str, Any] = asdict(quality(answers))
        run = BUNDLED_RUNS / BUNDLED[name] if name in BUNDLED else Path(name)
        if read_json(run / RUN)["kind"] == "dpo":
            measured["held_out"] = asdict(ranking(name, list(pairs.held_out)))
        print(json.dumps({"policy": name, **measured}), flush=True)
        if arguments.write:
            _write(name, measured)
        for prompt, answer in list(zip(prompts, answers, strict=True))[: arguments.show]:
            print(f"  > {prompt}\n    {answer.text!r}")


if __name__ == "__main__":
    main()
