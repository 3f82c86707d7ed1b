"""`dpo COMMAND`: the commands and how they are called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from dpo.cli import commands, publishing
from dpo.cli import runs as run_commands
from dpo.cli.arguments import Parser, add_settings, fail
from dpo.cli.evaluation import add_score
from dpo.cli.votes import add_votes
from dpo.errors import DpoError
from dpo.generation.settings import Sampling
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

    generate = actions.add_parser("generate", help="let one policy answer a prompt")
    generate.add_argument("--policy", required=True, metavar="NAME", help="a name, a run, a directory or a hub id")
    _add_sampling(generate)
    generate.set_defaults(call=commands.generate)

    compare = actions.add_parser("compare", help="let several policies answer one prompt")
    compare.add_argument(
        "--policies", nargs="+", metavar="NAME", default=list(commands.ARMS), help="[the four bundled policies]"
    )
    _add_sampling(compare)
    compare.set_defaults(call=commands.compare)

    add_score(actions)
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
    publishing.add_commands(actions)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0, or 2 for what the user can mend)."""
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


def _add_sampling(command: Any) -> None:
    defaults = Sampling()
    command.add_argument("--prompt", required=True, metavar="TEXT", help="- reads it from standard input")
    for name, text in (
        ("temperature", "0 is greedy"),
        ("top_p", "smallest set of tokens with this probability"),
        ("top_k", "most likely tokens only; 0 is off"),
        ("max_new_tokens", "stop after this many"),
        ("seed", "same seed, same text"),
    ):
        value = getattr(defaults, name)
        command.add_argument(
            "--" + name.replace("_", "-"), dest=name, metavar="N" if isinstance(value, int) else "X",
            default=value, help=f"{text} [{value}]",
        )  # fmt: skip
    command.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps [auto]")
