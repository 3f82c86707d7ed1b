"""What an evaluation is asked to do, and which prompts it may use (no torch here)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dpo.errors import ConfigError, DataError, PolicyError
from dpo.evaluation.comparison.drift import plain_texts
from dpo.evaluation.comparison.judges import JudgeSpec, parse_judge
from dpo.evaluation.comparison.lineage import base_policy, held_out_fraction, policy_hash, relation, trained_on
from dpo.evaluation.comparison.rows import Row, RowStore, answer_key, key_of
from dpo.evaluation.comparison.slices import slices_of
from dpo.evaluation.statistics.planning import detectable_difference, prompts_needed, spread
from dpo.evaluation.tuning import tuning_of
from dpo.evaluation.votes import DEFAULT_VOTES
from dpo.generation.settings import MAX_SAMPLES, PLAIN, Sampling
from dpo.policies.names import resolve
from dpo.preferences.normalise import Columns
from dpo.preferences.spec import DataSpec
from dpo.preferences.split import is_held_out, position
from dpo.runs.record import EVALUATIONS, RUN

MARGIN = 0.05
"""Win rates this near to a half count as equal where the whole interval lies within."""
_FIRST_LOOK, _GROWTH = 30, 1.3  # prompts of the first round, and how much larger each next one is
_SHORT, _LONG = 10, 30  # words of a prompt


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of an evaluation.

    `against` is what every policy is compared with; None: each with the policy that it was tuned from.
    `dataset` None is the data of the first policy's run.  `eval_fraction` is the share of its prompts, by
    hash, that may be used; None: what all the policies' runs held out, which is the most that is allowed.
    `judges` are read by `parse_judge`; the two rules "the longer answer" and "more emoji" always judge too.
    `judge_tokens` is what endpoints may spend in one go, None for no limit.  `output_dir` None is a directory in
    the run that all policies are of, or in `evaluations`.  With `until_clear` prompts are answered in rounds, until
    the first of `judges` can tell of every comparison, or until there are no more.  `kl_prompts` is on how many of the
    prompts the KL to what is compared with is measured; `plain_text` a file of paragraphs, None for the project's.
    `slices` are read by `own_slices`: parts of the prompts with results of their own.
    """

    policies: Sequence[str]
    against: str | None = None
    dataset: str | None = None
    split: str | None = None
    columns: Columns = Columns()
    eval_fraction: float | None = None
    prompts: int = 200
    samples: int = 1
    temperatures: Sequence[float] = (PLAIN.temperature,)
    judges: Sequence[str] = ()
    votes: str = str(DEFAULT_VOTES)
    judge_tokens: int | None = None
    until_clear: bool = False
    kl_prompts: int = 50
    plain_text: str | None = None
    slices: Sequence[str] = ()
    max_new_tokens: int = 200
    seed: int = 0
    batch_size: int = 16
    device: str = "auto"
    output_dir: str | None = None

    def validate(self) -> None:
        """Refuse what cannot be done.

        Raises:
            ConfigError: one line that names the setting and what is allowed.
        """
        if not self.policies:
            raise ConfigError("No policy is named: give a run, a checkpoint or demo/gpt2-dpo")
        for name, twice in (("policy", self.policies), ("temperature", self.temperatures), ("judge", self.judges)):
            if len(set(twice)) < len(twice):
                raise ConfigError(f"A {name} is named twice: {', '.join(map(str, twice))}")
        self._check_numbers()
        for wrong, says in (
            (self.until_clear and not self.judges, "until_clear needs a judge that is to tell: name one with --judge"),
            (not self.temperatures, "No temperature is named: give one, such as 0.7"),
        ):
            if wrong:
                raise ConfigError(says)
        for temperature in self.temperatures:
            self.sampling(temperature).validate()

    def _check_numbers(self) -> None:
        for name, value, most in (
            ("prompts", self.prompts, 100_000), ("samples", self.samples, MAX_SAMPLES),
            ("batch_size", self.batch_size, 1024),
        ):  # fmt: skip
            if not 1 <= value <= most:
                raise ConfigError(f"{name} is {value}: it must be from 1 to {most:,}")
        if not 0 <= self.kl_prompts <= 100_000:
            raise ConfigError(f"kl_prompts is {self.kl_prompts}: it must be from 0 (not measured) to 100,000")
        if self.eval_fraction is not None and not 0 < self.eval_fraction < 1:
            raise ConfigError(f"eval_fraction is {self.eval_fraction:g}: it must be above 0 and under 1")
        if self.judge_tokens is not None and self.judge_tokens < 1:
            raise ConfigError(f"judge_tokens is {self.judge_tokens}: it must be at least 1")

    def sampling(self, temperature: float) -> Sampling:
        """How answers are drawn: plain sampling from the filtered distribution, the same noise for all policies."""
        return replace(PLAIN, temperature=temperature, max_new_tokens=self.max_new_tokens, seed=self.seed)

    def samples_at(self, temperature: float) -> int:
        """Answers to each prompt: without chance there is only one."""
        return 1 if temperature == 0 else self.samples


@dataclass(frozen=True)
class Plan:
    """An evaluation that can begin: everything is found and named by its hash."""

    config: EvaluationConfig
    policies: Mapping[str, str]
    """Name and hash of every policy that answers, bases included."""
    comparisons: tuple[tuple[str, str], ...]
    judges: tuple[JudgeSpec, ...]
    tuned: Mapping[str, tuple[str, str | None, float]]
    """Hash, reference and beta of every policy with an implicit reward, those that only judge too."""
    prompts: tuple[Row, ...]
    data: Row
    directory: Path
    texts: tuple[Row, ...] = ()
    """Plain texts, whose likelihood says what was forgotten."""
    slices: Mapping[str, list[str]] = field(default_factory=dict)
    """Slices by the prompt's key, beside those in its row."""

    def row(self) -> Row:
        """The plan as a row of `rows.jsonl`."""
        config = self.config
        content = {
            "policies": dict(self.policies),
            "comparisons": [list(pair) for pair in self.comparisons],
            "judges": [self._judge_row(judge) for judge in self.judges],
            "tuned": {name: list(facts) for name, facts in self.tuned.items()},
            "temperatures": [float(temperature) for temperature in config.temperatures],
            "samples": config.samples,
            "seed": config.seed,
            "sampling": self.sampling_row(),
            "data": self.data,
            "prompts": [prompt["key"] for prompt in self.prompts],
            "margin": MARGIN,
            "kl_prompts": config.kl_prompts,
            "slices": {key: self.slices[key] for prompt in self.prompts if (key := prompt["key"]) in self.slices},
            "texts": [text["key"] for text in self.texts],
        } | ({"until_clear": self.judges[0].name} if config.until_clear else {})
        return {"kind": "plan", "key": key_of(content)} | content

    def rounds(self, store: RowStore) -> list[int]:
        """After how many prompts it is looked whether more are needed; the last is all of them.

        Those that an evaluation has behind it, which is resumed, are left out: they were not clear.
        """
        count, looks, behind = _FIRST_LOOK, [], 0
        if store.plan is not None and "until_clear" in store.plan:
            keys = store.plan["prompts"]
            behind = len(keys) if keys == [prompt["key"] for prompt in self.prompts[: len(keys)]] else 0
        while self.config.until_clear and count < len(self.prompts):
            if count >= behind:
                looks.append(count)
            count = math.ceil(count * _GROWTH)
        return [*looks, len(self.prompts)]

    def sampling_row(self) -> Row:
        """What besides temperature and seed decides how an answer is drawn."""
        sampling = self.config.sampling(1.0)
        return {"top_p": sampling.top_p, "top_k": sampling.top_k, "max_new_tokens": sampling.max_new_tokens}

    def answer_key(self, prompt: Row, policy: str, temperature: float, sample: int) -> str:
        """By what an answer is found again."""
        seed = self.config.seed + sample
        return answer_key(self.policies[policy], prompt["hash"], temperature, seed, self.sampling_row())

    def draws(self) -> list[tuple[float, int]]:
        """All (temperature, sample)."""
        config = self.config
        return [(float(t), sample) for t in config.temperatures for sample in range(config.samples_at(t))]

    def waiting(self, store: RowStore) -> dict[str, list[tuple[tuple[float, int], Row]]]:
        """Draws and prompts that each policy is still to answer; equal weights under two names answer once."""
        taken = set(store.answers)
        found: dict[str, list[tuple[tuple[float, int], Row]]] = {}
        for policy in self.policies:
            found[policy] = []
            for (t, sample), prompt in itertools.product(self.draws(), self.prompts):
                key = self.answer_key(prompt, policy, t, sample)
                if key not in taken:
                    taken.add(key)
                    found[policy].append(((t, sample), prompt))
        return found

    def missing(self, store: RowStore) -> int:
        """How many answers are still to be generated."""
        return sum(map(len, self.waiting(store).values()))

    def detectable(self) -> tuple[float, int]:
        """The difference from 50 % that this size shows in 80 of 100 evaluations, and prompts needed for 5 points."""
        samples = max(self.config.samples_at(t) for t in self.config.temperatures)
        sd = spread(samples=samples)
        return detectable_difference(len(self.prompts), sd), prompts_needed(0.05, sd)

    def _judge_row(self, judge: JudgeSpec) -> Row:
        row: Row = {"name": judge.name, "kind": judge.kind, "identity": judge.identity, "says": judge.says}
        row["orders"] = list(judge.orders)
        if judge.policy is not None:
            judged = dict.fromkeys(name for pair in self.comparisons for name in pair)
            relations = {name: relation(judge.policy, name) for name in judged}
            row["policy"] = judge.policy
            row["relations"] = {name: [found.word, found.why] for name, found in relations.items()}
        return row


def make_plan(config: EvaluationConfig) -> Plan:
    """Find everything that an evaluation needs, before anything is loaded.

    Raises:
        ConfigError: a setting that is out of range, or nothing to compare with.
        PolicyError: a policy that is not there.
        DataError: no prompts.
    """
    config.validate()
    names = list(config.policies)
    for name in [*names, *([config.against] if config.against else [])]:
        resolve(name)
    comparisons = []
    for name in names:
        other = config.against or base_policy(name)
        if other is not None and other != name:
            comparisons.append((name, other))
    if not comparisons and len(names) > 1:
        comparisons = [(name, names[0]) for name in names[1:]]
    if not comparisons:
        raise ConfigError(
            f"{names[0]} does not say what it was tuned from: name what to compare it with, --against POLICY"
        )
    judges = tuple(parse_judge(text, config.votes) for text in (*config.judges, "longer", "emoji"))
    every = list(dict.fromkeys(name for pair in comparisons for name in pair))
    prompts, data = _prompts(config, tuple(every))
    texts, slices = plain_texts(config.plain_text), slices_of(prompts, config.slices)
    hashes = {name: policy_hash(name) for name in every}
    tuned = _tuned([*every, *(judge.policy for judge in judges if judge.policy is not None)])
    once = tuple({judge.name: judge for judge in judges}.values())
    return Plan(config, hashes, tuple(comparisons), once, tuned, prompts, data, _directory(config, data), texts, slices)


def _tuned(names: Sequence[str]) -> dict[str, tuple[str, str | None, float]]:
    made: dict[str, tuple[str, str | None, float]] = {}
    for name in names:
        try:
            tuning = tuning_of(name)
        except PolicyError:  # no reference is known: it has no implicit reward
            continue
        made[name] = policy_hash(name), tuning.reference, tuning.beta
    return made


def _prompts(config: EvaluationConfig, policies: tuple[str, ...]) -> tuple[tuple[Row, ...], Row]:
    """Held-out prompts, those with the smallest hashes first, and what is recorded about the data."""
    from dpo.preferences.load import load

    trained = [spec for name in policies for spec in trained_on(name)]
    own = next((spec for spec in trained if config.dataset in (None, spec.source)), None)
    if own is None and config.dataset is None:
        raise ConfigError(f"{policies[0]} does not say what it was trained on: name the prompts with --dataset")
    fraction = _fraction(config, policies, bool(trained))
    spec = _spec(config, own, fraction)
    shared = own is not None and all(other.source == own.source for other in trained)
    try:
        loaded = load(spec)
    except DataError as error:
        if config.dataset is not None:
            raise
        raise DataError(f"The pairs of the run cannot be read ({error}). Name the prompts with --dataset") from error
    # Of few prompts a run holds one out whatever its hash, and another run may have been trained on that one.
    strict = bool(trained) and not shared
    found = _by_prompt(pair for pair in loaded.held_out if not strict or is_held_out(pair["prompt"], fraction))
    if not found:
        raise DataError(
            f"{spec.source}: none of its prompts is held out by the runs' --eval-fraction {fraction:g}: give more pairs"
        )
    rows = sorted(found.values(), key=lambda row: (position(row["prompt"]), row["hash"]))[: config.prompts]
    rule = _shortcut(list(loaded.train.select(range(min(len(loaded.train), 20_000)))))
    for row in rows:
        row["key"] = key_of(row["hash"], row["pairs"])
    data = {
        "source": loaded.info["source"], "fingerprint": loaded.info["fingerprint"], "fraction": fraction,
        "held_out_prompts": len(found), "shortcut": rule,
    }  # fmt: skip
    return tuple(rows), data


def _fraction(config: EvaluationConfig, policies: tuple[str, ...], trained: bool) -> float:
    """The share of the prompts that no policy's run was trained on."""
    fraction = held_out_fraction(policies)
    if fraction == 0:
        raise ConfigError("A policy's run held nothing out (--eval-fraction 0): no prompt of it is known to be unseen")
    if config.eval_fraction is None:
        return fraction
    if trained and config.eval_fraction > fraction:
        raise ConfigError(
            f"--eval-fraction {config.eval_fraction:g}: a policy's run held out {fraction:g} of the prompts, by their "
            f"hash in whatever data, and may have been trained on any other: give {fraction:g} at most, or leave it out"
        )
    return config.eval_fraction


def _spec(config: EvaluationConfig, own: DataSpec | None, fraction: float) -> DataSpec:
    """The data as a run had it (`own`) with what was asked for otherwise, or as it was named."""
    if own is None:
        return DataSpec(str(config.dataset), config.split or "train", config.columns, eval_fraction=fraction)
    columns = own.columns if config.columns == Columns() else config.columns
    return replace(
        own, num_samples=None, max_eval_pairs=None, eval_fraction=fraction, split=config.split or own.split,
        columns=columns,
    )  # fmt: skip


def _by_prompt(pairs: Iterable[Row]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for pair in pairs:
        messages = pair.get("messages")
        row = found.setdefault(key_of(pair["prompt"], messages), _prompt_row(pair["prompt"], messages))
        row["pairs"].append({"chosen": pair["chosen"], "rejected": pair["rejected"]})
    return found


def _prompt_row(prompt: str, messages: Any) -> Row:
    words = len(prompt.split())
    size = "short" if words <= _SHORT else "long" if words > _LONG else "medium"
    slices = [f"{size} prompt"] + (["several turns"] if messages and len(messages) > 1 else [])
    return {
        "kind": "prompt", "key": "", "hash": key_of(prompt, messages), "prompt": prompt, "messages": messages,
        "slices": slices, "pairs": [],
    }  # fmt: skip


def _shortcut(pairs: Sequence[Mapping[str, Any]]) -> Row | None:
    """The audit's rule that tells chosen from rejected best on the training pairs: a count, and which way."""
    import numpy as np
    import pyarrow as pa

    from dpo.preferences.audit.surface import NAMES, features

    if not pairs:
        return None
    sides = [features(pa.array([pair[side] for pair in pairs], pa.string())) for side in ("chosen", "rejected")]
    signs = np.sign(sides[0] - sides[1])
    means = signs.mean(0)
    best = int(np.argmax(np.abs(means)))
    return {
        "feature": NAMES[best],
        "more": bool(means[best] >= 0),
        "training_accuracy": 0.5 + abs(float(means[best])) / 2,
    }


def _directory(config: EvaluationConfig, data: Row) -> Path:
    if config.output_dir:
        return Path(config.output_dir)
    source = "".join(c if c.isalnum() or c in "-_." else "-" for c in Path(str(data["source"])).stem) or "data"
    runs = {_run_of(name) for name in config.policies}
    run = runs.pop() if len(runs) == 1 else None
    if run is not None:
        count = len(config.policies)
        return run / EVALUATIONS / (source if count == 1 else f"{count}-policies-on-{source}")
    names = "-".join("".join(c if c.isalnum() else "-" for c in Path(name).name) for name in config.policies)
    return Path(EVALUATIONS) / f"{names[:80]}-on-{source}"


def _run_of(name: str) -> Path | None:
    """The directory of the run that a policy on disk belongs to."""
    found = resolve(name)
    location = Path(found.location)
    run = next((path for path in (location, location.parent) if (path / RUN).is_file()), None)
    return run if found.kind != "bundled" else None


def duration(seconds: float) -> str:
    """A time in words, rounded up.

    >>> duration(8), duration(130), duration(7300)
    ('8 s', '3 min', '2 h 2 min')
    """
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
