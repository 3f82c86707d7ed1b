"""`dpo votes stats|export|train`: what people preferred, and the next round of tuning on it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dpo.cli.arguments import Parser, add_settings
from dpo.cli.output import print_json
from dpo.counting import counted
from dpo.errors import DataError
from dpo.evaluation.votes import DEFAULT_VOTES, Vote, Votes, export_pairs
from dpo.training.config import TrainConfig

# With fewer pairs a held-out side would be empty or too small to say anything.
_ENOUGH_TO_HOLD_OUT = 100


def add_votes(actions: Any) -> None:
    """Register `dpo votes`."""
    votes = actions.add_parser("votes", help="statistics of blind votes, and training on them")
    verbs = votes.add_subparsers(dest="verb", required=True, metavar="stats|export|train", parser_class=Parser)
    stats = verbs.add_parser("stats", help="Bradley-Terry scores and win rates with 95%% intervals")
    stats.add_argument("--json", action="store_true", help="for programs")
    stats.add_argument("--resamples", type=int, default=1000, metavar="N", help="bootstrap samples [1000]")
    stats.set_defaults(call=run_stats)
    export = verbs.add_parser("export", help="votes as preference pairs (prompt, chosen, rejected)")
    export.add_argument("--output", required=True, metavar="FILE.jsonl", help="where to write them")
    export.set_defaults(call=run_export)
    train = verbs.add_parser(
        "train",
        help="the next DPO round, on the votes",
        description="Writes the votes' pairs and trains on them; takes every setting of dpo train.",
    )
    add_settings(train, TrainConfig)
    train.set_defaults(call=run_train)
    for verb in (stats, export, train):
        verb.add_argument("--votes", metavar="FILE", default=str(DEFAULT_VOTES), help=f"[{DEFAULT_VOTES}]")


def run_stats(arguments: argparse.Namespace) -> int:
    """`dpo votes stats`."""
    from dpo.evaluation.vote_statistics import MANY, statistics

    made = statistics(_votes(arguments.votes), resamples=max(1, arguments.resamples))
    if arguments.json:
        print_json(made.record())
        return 0
    who = f"({made.blind} blind) by {counted(made.voters, 'voter')}"
    print(f"{counted(made.votes, 'vote')} {who}; {made.level:.0%} intervals")
    scores = f"bootstrap from {MANY} prompts on, normal with fewer or where all agree"
    print(f"(by prompt: Wilson's for rates; for scores {scores})")
    print("\nBradley-Terry score, log-odds")
    for strength in made.strengths:
        interval = "(too few votes)"
        if strength.low is not None and strength.high is not None:
            interval = f"({strength.low:+.2f} to {strength.high:+.2f})"
        print(f"  {strength.score:+.2f} {interval}  n {strength.n:<5} {strength.policy}")
    print("\nWin rate of the first over the second")
    for rate in made.win_rates:
        shown = "no preference" if rate.win_rate is None else f"{rate.win_rate:.0%}"
        if rate.low is not None and rate.high is not None:
            shown += f" ({rate.low:.0%}-{rate.high:.0%})"
        tally = f"{rate.wins} won, {rate.losses} lost, {rate.ties} tied, {rate.bad} both bad"
        print(f"  {shown:>16}  {rate.first} / {rate.second}  temperature {rate.temperature:g}: {tally}")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """`dpo votes export`."""
    count, left_out = export_pairs(_votes(arguments.votes), arguments.output)
    print(f"Wrote {counted(count, 'pair')} to {arguments.output}{_described(left_out)}")
    print(f"Train on them: dpo train --dataset {arguments.output}")
    return 0


def run_train(arguments: argparse.Namespace) -> int:
    """`dpo votes train`."""
    from dpo.cli.commands import train

    votes = _votes(arguments.votes)
    if hasattr(arguments, "dataset"):
        raise DataError("--dataset is the votes here: leave it out, or use dpo train")
    if not hasattr(arguments, "resume"):
        # Beside the votes, so that the run's record names a file that stays.
        target = Path(arguments.votes).with_suffix("") / f"pairs-{len(votes)}.jsonl"
        count, left_out = export_pairs(votes, target)
        print(f"{counted(count, 'pair')} from {counted(len(votes), 'vote')}{_described(left_out)}: {target}")
        arguments.dataset = str(target)
        if not hasattr(arguments, "eval_fraction") and count < _ENOUGH_TO_HOLD_OUT:
            arguments.eval_fraction = 0.0
        if not hasattr(arguments, "batch_size"):
            arguments.batch_size = min(TrainConfig().batch_size, count)
    return train(arguments)


def _votes(path: str) -> list[Vote]:
    votes = Votes(path).all()
    if not votes:
        raise DataError(f"There are no votes in {path}: vote on the Compare page, or name a file with --votes")
    return votes


def _described(left_out: dict[str, int]) -> str:
    return f" ({', '.join(f'{count} {reason} left out' for reason, count in left_out.items())})" if left_out else ""
