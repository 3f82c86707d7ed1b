"""Make the finished comparison that the Compare page opens with: `dpo/demo/example.json`.

    python -m scripts.bundled.example

Which one is a rule, not a choice: of the page's example prompts and a few seeds the first under which all four answers
end by themselves, are short enough to be read at a glance, and differ between base and DPO in a trait that is counted,
in both families; else the one that comes nearest.  The file keeps how many were tried.  Run it again when a bundled
policy has changed: the page shows no answers of other policies.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from dpo.dashboard.compare.example import EXAMPLE
from dpo.dashboard.compare.policies import EXAMPLES
from dpo.evaluation.comparison.lineage import policy_hash
from dpo.evaluation.comparison.measures import measure
from dpo.evaluation.lens import open_lens
from dpo.families import FAMILIES
from dpo.generation.engine import Engine
from dpo.generation.settings import Sampling
from dpo.policies.names import BUNDLED

_SEEDS = 8
_MOST_WORDS = 80
_TRAITS = ("has_emoji", "speaks_of_ai")


@dataclass(frozen=True)
class Comparison:
    """One prompt, one seed, and the answer of each bundled policy by its name."""

    prompt: str
    sampling: Sampling
    answers: dict[str, dict[str, Any]]

    @property
    def words(self) -> int:
        """Of the longest answer; one that was cut counts as longer than any."""
        return max(
            len(answer["text"].split()) + (10_000 if answer["end"] != "eos" else 0) for answer in self.answers.values()
        )

    @property
    def shown(self) -> int:
        """The families whose base and DPO differ in a trait."""
        return sum(self._traits(facts.base) != self._traits(facts.tuned) for facts in FAMILIES)

    @property
    def rank(self) -> tuple[bool, int, int]:
        """The higher the better: short enough, then what it shows, then how short it is."""
        return self.words <= _MOST_WORDS, self.shown, -self.words

    @property
    def fits(self) -> bool:
        """Whether no other has to be asked for."""
        return self.rank[:2] == (True, len(FAMILIES))

    def _traits(self, name: str) -> list[float | None]:
        answer = self.answers[name]
        measured = measure(answer["text"], answer["tokens"], answer["end"])
        return [measured[trait] for trait in _TRAITS]


def ask(engine: Engine, prompt: str, sampling: Sampling) -> Comparison:
    """Ask the four as the page does, by the same engine."""
    names = list(BUNDLED)
    answers: dict[str, dict[str, Any]] = {name: {"text": ""} for name in names}
    for event in engine.follow(engine.submit(prompt, names, sampling)):
        kind = event["event"]
        if kind == "failed":
            raise SystemExit(f"{names[event['arm']]}: {event['message']}")
        if kind not in ("start", "token", "done"):
            continue
        answer = answers[names[event["arm"]]]
        if kind == "start":
            answer |= {"seen": event["seen"], "prompt_tokens": event["prompt_tokens"]}
            continue
        answer["text"] += event["text"]
        if kind == "done":
            answer |= {"tokens": event["tokens"], "end": event["end"]}
    return Comparison(prompt, sampling, answers)


def candidates(engine: Engine) -> Iterator[Comparison]:
    """Every example prompt under every seed; the seeds first, so that the page's own default comes first of all."""
    for prompt, seed in itertools.product(EXAMPLES, range(_SEEDS)):
        yield ask(engine, prompt, Sampling(seed=seed))


def look(name: str, prompt: str, text: str) -> dict[str, Any]:
    """What the reward tint draws: the reward, and both log-probabilities of each token."""
    [found] = open_lens(name, device="cpu").look(prompt, [text])
    record = found.record()
    tokens = [
        {
            key: round(token[key], 4) if key != "text" else token[key]
            for key in ("text", "policy_logp", "reference_logp")
        }
        for token in record["tokens"]
    ]
    return {
        "reward": round(record["reward"], 4),
        "reward_per_token": round(record["reward_per_token"], 5),
        "units": {"token": record["units"]["token"]},
        "tokens": tokens,
    }


def made(comparison: Comparison, tried: int) -> dict[str, Any]:
    """What the file holds."""
    tuned = {facts.tuned for facts in FAMILIES}
    answers = []
    for name, answer in comparison.answers.items():
        scored = {"look": look(name, comparison.prompt, answer["text"])} if name in tuned else {}
        answers.append({"policy": name, "weights": policy_hash(name), **answer, **scored})
    settings = {key: value for key, value in asdict(comparison.sampling).items() if key != "stop"}
    return {"prompt": comparison.prompt, "settings": settings, "tried": tried, "answers": answers}


def main() -> None:
    """Write the file, and print what is in it."""
    engine = Engine("cpu", memory=1 << 40)
    seen: list[Comparison] = []
    try:
        for one in candidates(engine):
            seen.append(one)
            if one.fits:
                break
    finally:
        engine.close()
    best = max(seen, key=lambda one: (one.fits, one.rank))
    EXAMPLE.write_text(json.dumps(made(best, len(seen)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{best.prompt} (seed {best.sampling.seed}, {len(seen)} tried)")
    for name, answer in best.answers.items():
        print(f"  {name}: {answer['text']}")


if __name__ == "__main__":
    main()
