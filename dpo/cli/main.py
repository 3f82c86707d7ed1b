"""`dpo COMMAND`: the commands and how they are called."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from dpo.cli import chat, commands, generation, publishing
from dpo.cli import runs as run_commands
from dpo.cli.arguments import Parser, add_settings, fail
from dpo.cli.data import add_data
from dpo.cli.evaluate import add_eval
from dpo.cli.plan import add_plan
from dpo.cli.score import add_score
from dpo.cli.serve import add_serve
from dpo.cli.sweep import add_sweep
from dpo.cli.users import add_users
from dpo.cli.votes import add_votes
from dpo.errors import DpoError
from dpo.pretraining.config import PretrainConfig
from dpo.training.config import SftConfig, TrainConfig


def parser() -> Parser:
    """The whole command line."""
    root = Parser(prog="dpo", description="Preference tuning of small T5 and GPT-2 models, offline and on a laptop.")
    actions = root.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    train = actions.add_parser("train", help="tune a policy with DPO", description=TrainConfig.__doc__)
    add_settings(train, TrainConfig)
    train.set_defaults(call=commands.train)

    sft = actions.add_parser("sft", help="fine-tune on the answers of preference pairs", description=SftConfig.__doc__)
    add_settings(sft, SftConfig)
    sft.set_defaults(call=commands.sft)

    pretraining = actions.add_parser(
        "pretrain", help="train a small language model from random weights", description=PretrainConfig.__doc__
    )
    add_settings(pretraining, PretrainConfig)
    pretraining.set_defaults(call=commands.pretrain)

    add_sweep(actions)
    add_plan(actions)

    generation.add_commands(actions)
    chat.add_command(actions)

    add_score(actions)
    add_eval(actions)
    add_votes(actions)

    runs = actions.add_parser("runs", help="list, show, compare, export, import or remove runs")
    verbs = runs.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)
    listing = verbs.add_parser("list", help="all runs, newest first")
    show = verbs.add_parser("show", help="one run")
    show.add_argument("run", metavar="RUN", help="name or directory of a run")
    for verb in (listing, show):
        verb.add_argument("--runs", action="append", metavar="DIR", help="where to look [runs and the bundled ones]")
        verb.add_argument("--json", action="store_true", help="for programs")
    listing.set_defaults(call=commands.list_runs)
    show.set_defaults(call=commands.show_run)
    run_commands.add_verbs(verbs)
    run_commands.add_doctor(actions)
    add_data(actions)
    publishing.add_commands(actions)
    add_serve(actions)
    add_users(actions)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0, or 2 for what the user can mend)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that is not UTF-8 is shown, not refused
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = parser().parse_args(argv)
        code: int = arguments.call(arguments)
        return code
    except DpoError as error:
        return fail(error, sys.stderr)
    except KeyboardInterrupt:
        print("dpo: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `dpo runs list | head`
        sys.stderr.close()
        return 0
