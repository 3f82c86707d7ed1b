"""How the bundled policies write and rank: the figures of their cards and of docs/bundled.md.

    python -m scripts.bundled.evaluate demo/t5 demo/t5-dpo --work build --conversations conversations/

Answers are to the prompts that the split holds out.  An invented word is one that stands nowhere in what the policies
learned from.  Tuned policies also rank every held-out pair that fits into their context, however long, beside the rule
"the answer with more emoji"; bases predict the held-out conversations.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
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
from dpo.pretraining.documents import read_corpus
from dpo.pretraining.measure import bits_per_byte, continuations
from dpo.runs.record import RUN, read_json
from scripts.bundled.cards import card

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_CONVERSATIONS = 400  # held-out ones that are predicted


@dataclass(frozen=True)
class Share:
    """A share of `n` answers or pairs with Wilson's 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, flags: Sequence[bool | float]) -> Share:
        """The mean of flags, a tie being a half."""
        value = sum(flags) / len(flags)
        return cls(value, *wilson(value, len(flags)), len(flags))


@dataclass(frozen=True)
class Quality:
    """What is counted in answers: shares of them, and means over them (`tokens`, `repeated_4grams`)."""

    emoji: Share
    speaks_of_ai: Share
    ended: Share
    invented: Share
    repeated_4grams: float
    tokens: float
    tokens_per_second: float


def words(texts: Iterator[str] | Sequence[str]) -> set[str]:
    """The words of texts, in small letters."""
    return {word.lower().replace("’", "'") for text in texts for word in _WORD.findall(text)}


def invented(text: str, known: set[str]) -> list[str]:
    """The words of a text that are not known, neither whole nor without an ending in `'s`."""
    return sorted(word for word in words([text]) if word not in known and word.removesuffix("'s") not in known)


def quality(answers: Sequence[Generation], known: set[str], seconds: float) -> Quality:
    """Measure a set of answers that took so many seconds together."""
    texts = [answer.text for answer in answers]
    tokens = sum(answer.tokens for answer in answers)
    return Quality(
        emoji=Share.of([bool(EMOJI.search(text)) for text in texts]),
        speaks_of_ai=Share.of([bool(SPEAKS_OF_AI.search(text)) for text in texts]),
        ended=Share.of([answer.end == "eos" for answer in answers]),
        invented=Share.of([bool(invented(text, known)) for text in texts]),
        repeated_4grams=sum(map(repeated_4grams, texts)) / len(texts),
        tokens=tokens / len(texts),
        tokens_per_second=tokens / seconds,
    )


@dataclass(frozen=True)
class Ranking:
    """How the reward ranks held-out pairs (means), how many were left out, and what a rule without a model reaches."""

    accuracy: Share
    left_out: int
    margin: float
    chosen: float
    rejected: float
    more_emoji: float


def ranking(name: str, pairs: Sequence[Mapping[str, Any]]) -> Ranking:
    """Measure a tuned policy on pairs with `prompt`, `chosen`, `rejected`."""
    scores, left_out = score_pairs(open_lens(name), pairs)
    means = summary(scores)
    return Ranking(
        accuracy=Share.of([score.right for score in scores]),
        left_out=left_out,
        margin=float(means["rewards/margins"]),
        chosen=float(means["rewards/chosen"]),
        rejected=float(means["rewards/rejected"]),
        more_emoji=sum(map(_by_emoji, scores)) / len(scores),
    )


def _by_emoji(score: PairScore) -> float:
    gap = emoji_count(score.chosen) - emoji_count(score.rejected)
    return 0.5 if gap == 0 else float(gap > 0)


def learned_words(conversations: Sequence[Path], pairs: Path) -> set[str]:
    """Every word of what the policies learned from."""

    def texts() -> Iterator[str]:
        for path in conversations:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                yield from lines
        for row in load_preferences(str(pairs)).train:
            yield from (row["prompt"], row["chosen"], row["rejected"])

    return words(texts())


def _directory(name: str) -> Path:
    return BUNDLED_RUNS / BUNDLED[name] if name in BUNDLED else Path(name)


def _write(name: str, measured: dict[str, Any]) -> None:
    """Store the measures in the bundled run, and the card that tells them."""
    run = _directory(name)
    (run / "eval.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    info = read_json(run / RUN)
    base = BUNDLED_RUNS / BUNDLED.get(str(info["config"]["model"]), "") / "eval.json"
    compared = json.loads(base.read_text(encoding="utf-8")) if base.is_file() else None
    (run / "policy" / "README.md").write_text(card(info, measured, compared), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("policies", nargs="+")
    parser.add_argument("--work", type=Path, required=True, help="where scripts.bundled.prepare wrote")
    parser.add_argument("--conversations", type=Path, required=True, help="the directory that it read")
    parser.add_argument("--prompts", help="a file of pairs whose prompts are answered (default: the held-out ones)")
    parser.add_argument("--most", type=int, default=1000, help="answer at most so many")
    parser.add_argument("--answers", type=Path, help="write the answers here, for reading")
    parser.add_argument("--write", action="store_true", help="keep the result as the bundled run's eval.json and card")
    for name in ("temperature", "top-p", "repetition-penalty"):
        parser.add_argument(f"--{name}", type=float, default=getattr(Sampling(), name.replace("-", "_")))
    return parser.parse_args()


def main() -> None:
    """Print one JSON object for each policy."""
    arguments = _arguments()
    pairs = load_preferences(str(arguments.work / "pairs.jsonl"))
    asked = load_preferences(arguments.prompts, eval_fraction=0).train if arguments.prompts else pairs.held_out
    prompts = list(dict.fromkeys(asked["prompt"]))[: arguments.most]
    conversations = sorted(arguments.conversations.glob("*.jsonl.gz"))
    known = learned_words(conversations, arguments.work / "pairs.jsonl") | words(prompts)
    corpus = read_corpus([str(path) for path in conversations], 0.01)
    every = max(1, len(corpus.held_out) // _CONVERSATIONS)
    held_out = continuations(sorted(corpus.held_out)[::every], _CONVERSATIONS)
    sampling = Sampling(
        temperature=arguments.temperature, top_p=arguments.top_p, repetition_penalty=arguments.repetition_penalty
    )
    for name in arguments.policies:
        policy = load_policy(name)
        begun = time.perf_counter()
        answers = generate(policy, prompts, sampling)
        measured: dict[str, Any] = asdict(quality(answers, known, time.perf_counter() - begun))
        if read_json(_directory(name) / RUN)["kind"] == "dpo":
            measured["held_out"] = asdict(ranking(name, list(pairs.held_out)))
        measured["bits_per_byte"] = bits_per_byte(policy, held_out)[0]
        measured["sampling"] = {key: getattr(sampling, key) for key in ("temperature", "top_p", "repetition_penalty")}
        print(json.dumps({"policy": name, **measured}), flush=True)
        if arguments.write:
            _write(name, measured)
        if arguments.answers:
            with arguments.answers.open("a", encoding="utf-8") as out:
                for prompt, answer in zip(prompts, answers, strict=True):
                    row = {"policy": name, "prompt": prompt, "text": answer.text, "end": answer.end}
                    out.write(json.dumps(row | {"invented": invented(answer.text, known)}) + "\n")


if __name__ == "__main__":
    main()
