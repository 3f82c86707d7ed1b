"""`dpo eval`: is it better, by how much, and how sure."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dpo.cli.arguments import Parser, add_columns, add_device
from dpo.cli.output import print_json
from dpo.counting import counted
from dpo.errors import ConfigError
from dpo.generation.settings import PLAIN
from dpo.processes import interruptible
from dpo.values import number, whole

if TYPE_CHECKING:
    from dpo.evaluation.comparison.plan import EvaluationConfig, Plan
    from dpo.evaluation.comparison.rows import RowStore
    from dpo.evaluation.comparison.work import Evaluation

_STAGES = {
    "generate": ("generate", "answer"),
    "score": ("score held-out pairs", "pair"),
    "measure": ("measure KL and perplexity", "text"),
    "judge": ("judge", "verdict"),
}


def add_eval(actions: Any) -> None:
    """Register `dpo eval`."""
    command: Parser = actions.add_parser(
        "eval",
        help="is a policy better than what it was tuned from, on prompts it never saw",
        description="Lets policies answer held-out prompts, judges and measures the answers, and says what that "
        "shows, with intervals over prompts. What is there already is not made again: stopped, it goes on.",
    )  # fmt: skip
    command.add_argument("policies", nargs="+", metavar="POLICY", help="a run, a checkpoint, or another policy's name")
    command.add_argument("--against", metavar="POLICY", help="compare each with it [with what each was tuned from]")
    command.add_argument("--dataset", metavar="DATA", help="take the held-out prompts of these pairs [of the run's]")
    add_columns(command)
    command.add_argument(
        "--eval-fraction", metavar="X", help="take prompts of this share, by hash [what the policies' runs held out]"
    )
    command.add_argument("--prompts", default="200", metavar="N", help="held-out prompts at most [200]")
    command.add_argument(
        "--until-clear", action="store_true",
        help="answer the prompts in rounds, and stop once the first --judge can tell of every comparison",
    )  # fmt: skip
    command.add_argument("--samples", default="1", metavar="K", help="answers to each prompt [1]")
    command.add_argument(
        "--temperatures", default=f"{PLAIN.temperature:g}", metavar="X,X", help="0 is greedy [%(default)s]"
    )
    command.add_argument(
        "--judge", action="append", metavar="NAME", default=None,
        help="reward:POLICY or reward-per-token:POLICY, the implicit reward of a tuned policy; reward-model:NAME, "
        "a sequence classifier; endpoint:URL#MODEL, a chat model behind an OpenAI-compatible address; votes, what "
        "people preferred; battles:FILE or alpaca-eval:FILE, verdicts that were given elsewhere; may be given "
        "several times; the rules longer and emoji always judge too",
    )  # fmt: skip
    _add_measures(command)
    command.add_argument("--judge-tokens", metavar="N", help="what endpoints may spend in one go [no limit]")
    command.add_argument("--votes", metavar="FILE", help="where the votes are [runs/votes.sqlite]")
    command.add_argument("--max-new-tokens", default="200", metavar="N", help="of an answer [200]")
    command.add_argument("--seed", default="0", metavar="N", help="same seed, same answers [0]")
    command.add_argument("--batch-size", default="16", metavar="N", help="prompts answered at once [16]")
    add_device(command)
    command.add_argument(
        "--output-dir", metavar="DIR", help="where everything is kept [RUN/evaluations/DATA, or evaluations/...]"
    )
    command.add_argument(
        "--fail-under", metavar="X",
        help="exit with 1 if a win rate by the first --judge, as printed, is under X percent",
    )  # fmt: skip
    command.add_argument(
        "--export", action="append", metavar="FORMAT", default=[],
        help="write it in the files of another tool, into DIR/exports: alpaca-eval, arena-hard, battles, csv, "
        "every-eval-ever, html, latex, llm-comparator, lm-eval or rewardbench; may be given several times",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="print the result for programs, and nothing else")
    command.set_defaults(call=run_eval)


def _add_measures(command: Parser) -> None:
    command.add_argument(
        "--kl-prompts", default="50", metavar="N",
        help="measure the KL to what is compared with on so many of the prompts; 0 for not at all [50]",
    )  # fmt: skip
    command.add_argument(
        "--plain-text", metavar="FILE",
        help="paragraphs whose perplexity says what was forgotten, empty lines between them [30 of the project's own]",
    )  # fmt: skip
    command.add_argument(
        "--slice", action="append", metavar="NAME=PATTERN", default=[],
        help="also tell the win rate on the prompts in which a regular expression is found; may be given several times",
    )  # fmt: skip


def run_eval(arguments: argparse.Namespace) -> int:
    """`dpo eval`."""
    from dpo.evaluation.formats.export import check_formats, export

    config, least = _config(arguments), _least(arguments)
    check_formats(arguments.export)
    from dpo.evaluation.comparison.work import evaluate

    # With --json standard output holds the result alone.
    out = sys.stderr if arguments.json else sys.stdout
    try:
        with interruptible(), bars() as progress:
            made = evaluate(config, announce=lambda plan, store: _announce(plan, store, out), progress=progress)
    except KeyboardInterrupt:
        print(
            "Stopped; every answer and verdict that was finished is kept: run the same command to go on",
            file=sys.stderr,
        )
        return 130
    if arguments.json:
        print_json(made.result)
    else:
        from dpo.cli.evaluation_report import print_report, print_speeds

        print_report(made.result)
        print_speeds(made.speeds)
        print(_work_done(made))
    for path in export(made.path, arguments.export):
        print(f"Exported {path}", file=out)
    nothing = _failures(made)
    code = 0 if least is None else _checked(made, config.judges[0], least, out)
    return 2 if nothing else code


def _config(arguments: argparse.Namespace) -> EvaluationConfig:
    from dpo.evaluation.comparison.plan import EvaluationConfig
    from dpo.evaluation.votes import DEFAULT_VOTES
    from dpo.preferences.spec import columns_of

    counts = {
        name: whole(name.replace("_", "-"), getattr(arguments, name))
        for name in ("prompts", "samples", "max_new_tokens", "seed", "batch_size", "kl_prompts")
    }
    temperatures = [number("temperature", text) for text in arguments.temperatures.split(",")]
    share, most = arguments.eval_fraction, arguments.judge_tokens
    config = EvaluationConfig(
        arguments.policies, arguments.against, arguments.dataset, arguments.split, columns_of(vars(arguments)),
        None if share is None else number("--eval-fraction", share),
        temperatures=temperatures, judges=arguments.judge or [], votes=arguments.votes or str(DEFAULT_VOTES),
        until_clear=arguments.until_clear, device=arguments.device, output_dir=arguments.output_dir,
        plain_text=arguments.plain_text, slices=arguments.slice,
        judge_tokens=None if most is None else whole("--judge-tokens", most), **counts,
    )  # fmt: skip
    config.validate()
    return config


def _least(arguments: argparse.Namespace) -> float | None:
    if arguments.fail_under is None:
        return None
    least = number("--fail-under", arguments.fail_under)
    if not 0 <= least <= 100:
        raise ConfigError(f"--fail-under is {least:g}: it must be a win rate in percent, from 0 to 100")
    if not arguments.judge:
        raise ConfigError("--fail-under needs a --judge whose win rate it looks at")
    return least


def _announce(plan: Plan, store: RowStore, out: Any) -> None:
    from dpo.evaluation.comparison.answering import seconds_to_generate
    from dpo.evaluation.comparison.plan import duration

    config, count = plan.config, len(plan.prompts)
    compared = ", ".join(f"{policy} against {against}" for policy, against in plan.comparisons)
    temperatures = ", ".join(f"{temperature:g}" for temperature in config.temperatures)
    print(
        f"{compared}: {counted(count, 'held-out prompt')} of {plan.data['source']}, "
        f"{counted(config.samples, 'sample')}, temperature {temperatures}",
        file=out,
    )  # fmt: skip
    if count < config.prompts:
        print(f"There are only {count} of the {config.prompts} prompts that were asked for", file=out)
    if config.until_clear:
        print(f"It stops once {config.judges[0]} can tell, which is looked at after some prompts each", file=out)
    difference, needed = plan.detectable()
    print(
        f"This size can show a win rate that is {difference * 100:.1f} points or more from 50 % "
        f"(in 4 of 5 evaluations, without ties); for 5 points it takes {needed:,} prompts",
        file=out,
    )
    for judge in plan.judges:
        if judge.kind == "endpoint":
            print(f"Prompts and answers are sent to {str(judge.path).partition('#')[0]}", file=out)
    missing = plan.missing(store)
    if missing:
        most = duration(seconds_to_generate(plan, store))
        print(f"{counted(missing, 'answer')} to generate: {most} at most, measured on a few tokens just now", file=out)
    out.flush()


@contextlib.contextmanager
def bars() -> Iterator[Any]:
    """A progress bar for each stage, with rate and time left."""
    from tqdm import tqdm

    bar: Any = None
    stage = ""

    def progress(now: str, done: int, total: int) -> None:
        nonlocal bar, stage
        if bar is not None and (now != stage or done < bar.n):
            bar.close()
            bar = None
        if bar is None and total:
            title, unit = _STAGES[now]
            bar, stage = tqdm(total=total, desc=title, unit=unit, disable=not sys.stderr.isatty()), now
        if bar is not None:
            bar.update(done - bar.n)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()


def _work_done(made: Evaluation) -> str:
    if not (made.generated or made.scored or made.judged or made.measured):
        return f"0 answers generated, 0 verdicts asked for: all of it was in {made.path} already"
    return (
        f"{counted(made.generated, 'answer')} generated, {counted(made.scored, 'held-out pair')} scored, "
        f"{counted(made.judged, 'verdict')} asked for; everything is in {made.path}"
    )


def _failures(made: Evaluation) -> bool:
    """Say which judges failed and why; whether one of them has no verdict at all."""
    nothing = False
    for judge, (failed, why) in made.failed.items():
        given = next(card["verdicts"] for card in made.result["judges"] if card["name"] == judge)
        finished = f"{counted(given, 'verdict')} of it kept" if given else "it gave no verdict"
        print(f"dpo: {judge}: {counted(failed, 'question')} failed, {why}; {finished}, run it again", file=sys.stderr)
        nothing = nothing or not given
    return nothing


def _checked(made: Evaluation, judge: str, least: float, out: Any) -> int:
    """Print whether each win rate by a judge is high enough; 1 where one is not."""
    from dpo.evaluation.comparison.wording import passes

    found = [passes(row, least) for row in made.result["comparisons"] if row["judge"] == judge]
    for _, says in found:
        print(says, file=out)
    return 0 if all(passed for passed, _ in found) else 1
