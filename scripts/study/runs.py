"""The pairs, trainings and evaluation of a table: what is there already is not made again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dpo.cli.evaluate import bars
from dpo.errors import ConfigError, RunError
from dpo.evaluation.comparison.plan import EvaluationConfig
from dpo.evaluation.comparison.work import evaluate
from dpo.families import facts_of
from dpo.preferences.audit.clean import Remedies, clean
from dpo.runs import Run, open_run
from dpo.runs.record import RUN
from dpo.training.config import CommonConfig, SftConfig, TrainConfig
from dpo.training.job import resumable
from dpo.training.recipes.dpo import train
from dpo.training.recipes.sft import sft
from scripts.study.plan import StudyTable, Variant

_REMEDIES = {
    "repaired": Remedies(repair_mispaired=True),
    "without-emoji": Remedies(repair_mispaired=True, strip=("emoji",)),
}


@dataclass(frozen=True)
class Trained:
    """A finished run of a table."""

    variant: str
    model: str
    seed: int
    directory: Path
    base: str


def pairs_of(kind: str, source: str, work: Path) -> Path:
    """The file of the pairs as a variant wants them, made of `source` where it isn't there; `source` if unchanged.

    Raises:
        DpoError: the source cannot be read, or the file not written.
    """
    if kind == "published":
        return Path(source)
    target = work / f"pairs-{kind}.jsonl"
    if not target.exists():
        clean(source, target, _REMEDIES[kind])
    return target


def train_all(
    table: StudyTable, source: str, work: Path, seeds: int, tell: Callable[[str], None] = print
) -> tuple[list[Trained], Path]:
    """Train every run of a table that isn't finished; the runs, and the directory of the judge.

    Raises:
        ConfigError: a run of that name was made with other settings.
        RunError: a training was stopped.
        DpoError: whatever a training refuses.
    """
    judge = work / "runs" / f"{table.name}-judge"
    first = next(iter(table.models.values()))
    todo = [(table.judge, Trained("judge", "", 0, judge, first)), *_asked(table, work, seeds)]
    made = []
    for place, (variant, one) in enumerate(todo, start=1):
        config = variant.config(one.base, pairs_of(variant.pairs, source, work), one.seed, one.directory)
        name = one.directory.name
        same = None if (one.directory / RUN).is_file() else _same(config, work / "runs")
        if same is not None:
            one = dataclasses.replace(one, directory=same)
        done = f"is {same.name}" if same is not None else _finish(config, one.directory)
        tell(f"{place} of {len(todo)}: {name}: {done}")
        made.append(one)
    return made[1:], made[0].directory


def _asked(table: StudyTable, work: Path, seeds: int) -> Iterator[tuple[Variant, Trained]]:
    for model, base in table.models.items():
        for variant in table.variants:
            for seed in range(seeds):
                directory = work / "runs" / f"{table.name}-{model}-{variant.name}-{seed}"
                yield variant, Trained(variant.name, model, seed, directory, base)


def _same(config: CommonConfig, runs: Path) -> Path | None:
    """The finished run of another table with the same settings: no table trains again what another has trained."""
    for path in sorted(runs.glob(f"*/{RUN}")):
        run = open_run(path.parent)
        alike = run.config.keys() == set(dataclasses.asdict(config))  # of the same recipe
        if run.state == "finished" and alike and _differing(config, run) == ["output_dir"]:
            return path.parent
    return None


def _differing(config: CommonConfig, run: Run) -> list[str]:
    """The settings in which a run was made otherwise."""
    wanted = dataclasses.asdict(config)
    facts = facts_of(run.info.get("family"))
    if config.learning_rate is None and facts is not None:
        wanted["learning_rate"] = facts.rates[config.kind, bool(wanted.get("lora"))]  # as training fills it in
    return [name for name, value in wanted.items() if run.config.get(name, value) != value]


def _finish(config: CommonConfig, directory: Path) -> str:
    """Train a run, go on with it, or leave it as it is; which of these, in a word."""
    done = "trained"
    if (directory / RUN).is_file():
        run = open_run(directory)
        differing = _differing(config, run)
        if differing:
            raise ConfigError(
                f"{directory} was trained with another {', '.join(differing[:4])}: name another --work, or remove it"
            )
        if run.state == "finished":
            return "is there"
        if resumable(directory):
            config, done = type(config)(resume=str(directory)), "gone on with"
    if isinstance(config, SftConfig):
        made = sft(config)
    else:
        assert isinstance(config, TrainConfig)
        made = train(config)
    if made.state != "finished":
        raise RunError(f"{directory} is {made.state}: run the same command to go on")
    return done


def evaluate_all(table: StudyTable, runs: list[Trained], judge: Path, source: str, work: Path) -> Path:
    """Evaluate all runs of a table on the same prompts with the same noise, each against its base; where.

    Raises:
        DpoError: whatever an evaluation refuses.
    """
    settings = dict(table.evaluation)
    temperature = float(settings.pop("temperature", 0.7))
    # A directory for each set of runs: the verdicts of a smaller one are no part of a larger one's result.
    seeds = 1 + max(run.seed for run in runs)
    target = work / "evaluations" / f"{table.name}-{seeds}-seeds"
    config = EvaluationConfig(
        [str(run.directory) for run in runs], dataset=str(pairs_of("repaired", source, work)),
        judges=[f"reward:{judge}"], temperatures=(temperature,), output_dir=str(target),
        votes=str(work / "votes.sqlite"), **settings,
    )  # fmt: skip
    with bars() as progress:
        evaluate(config, progress=progress)
    return target
