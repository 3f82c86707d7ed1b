"""`dpo merge`, `dpo push` and `dpo pull`."""

from __future__ import annotations

import argparse
from typing import Any

from dpo.cli.arguments import Parser


def add_commands(actions: Any) -> None:
    """Add the three commands to the command line."""
    merge = actions.add_parser(
        "merge", help="fold a LoRA adapter into its base",
        description="Write an adapter policy as one full checkpoint that plain transformers loads.",
    )  # fmt: skip
    assert isinstance(merge, Parser)
    merge.add_argument("run", metavar="RUN", help="a run, a checkpoint, or an adapter's directory")
    merge.add_argument("--output-dir", required=True, metavar="DIR", help="a new or empty directory")
    merge.set_defaults(call=_merge)


def _merge(arguments: argparse.Namespace) -> int:
    from dpo.publishing.merge import merge

    directory = merge(arguments.run, arguments.output_dir)
    print(f"Merged: {directory}")
    print(f'Try it: dpo generate --policy {directory} --prompt "Do you have a favorite food?"')
    return 0
