"""`python -m scripts.study TABLE --work DIR`: train, evaluate and write one table; run again, it goes on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dpo.cli.arguments import Parser, fail
from dpo.errors import ConfigError, DpoError
from dpo.processes import interruptible
from dpo.values import whole
from scripts.study.plan import read_table
from scripts.study.runs import evaluate_all, train_all
from scripts.study.table import measured, write

_MOST_SEEDS = 20


def main(arguments: Sequence[str]) -> int:
    """Make one table; 2 where it cannot be made, 130 where it was stopped."""
    parser = Parser(prog="python -m scripts.study", description="Train, evaluate and write one table of docs/study.md.")
    parser.add_argument("table", metavar="TABLE", help="a name in configs/study, or a .yaml file")
    parser.add_argument(
        "--work", required=True, type=Path, metavar="DIR", help="where runs, answers and tables are kept"
    )
    parser.add_argument("--data", default="human-like", help="the pairs as they are published [human-like]")
    parser.add_argument("--seeds", default="3", metavar="K", help="trainings of each variant [3]")
    parser.add_argument("--updates", metavar="N", help="of each training [as the table says]")
    parser.add_argument("--prompts", metavar="N", help="held-out prompts [as the table says]")
    try:
        given = parser.parse_args(arguments)
        seeds = whole("--seeds", given.seeds)
        if not 1 <= seeds <= _MOST_SEEDS:
            raise ConfigError(f"--seeds is {seeds}: it must be from 1 to {_MOST_SEEDS}")
        updates, prompts = (
            None if text is None else whole(flag, text)
            for flag, text in (("--updates", given.updates), ("--prompts", given.prompts))
        )
        table = read_table(given.table).changed(updates, prompts)
        given.work.mkdir(parents=True, exist_ok=True)
        with interruptible():
            runs, judge = train_all(table, given.data, given.work, seeds)
            evaluation = evaluate_all(table, runs, judge, given.data, given.work)
        command = shlex.join(["python", "-m", "scripts.study", *arguments])
        for path in write(table, measured(table, runs, evaluation), command, evaluation, given.work):
            print(f"Wrote {path}")
    except DpoError as error:
        return fail(error, sys.stderr)
    except OSError as error:
        return fail(DpoError(f"--work {error.filename} cannot be written: {error.strerror}"), sys.stderr)
    except KeyboardInterrupt:
        print("Stopped; what is finished is kept: run the same command to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
