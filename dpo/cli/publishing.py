"""`dpo merge`, `dpo push` and `dpo pull`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from dpo.cli.arguments import Parser, run_roots
from dpo.runs import find_run


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

    push = actions.add_parser(
        "push", help="publish a run's policy on the Hugging Face hub",
        description="Publish a run's policy with a model card, its curves and its record. Log in first: hf auth login.",
    )  # fmt: skip
    push.add_argument("run", metavar="RUN", help="name or directory of a finished run")
    push.add_argument("--repo-id", required=True, metavar="USER/NAME", help="the model on the hub; made if it is new")
    push.add_argument("--private", action="store_true", help="make a new repository private")
    push.add_argument("--merge", action="store_true", help="fold an adapter into its base first")
    push.add_argument("--license", metavar="ID", help="what you give the policy under, e.g. apache-2.0")
    push.add_argument("--dry-run", metavar="DIR", help="write the files there and publish nothing")
    push.add_argument("--runs", action="append", metavar="DIR", help="where to look [runs and the bundled ones]")
    push.set_defaults(call=_push)

    pull = actions.add_parser(
        "pull", help="fetch a published policy from the Hugging Face hub",
        description="Fetch weights (safetensors only), tokenizer, card and record into a directory that the dashboard "
        "and the other commands find.",
    )  # fmt: skip
    pull.add_argument("hub_id", metavar="HUB_ID", help="USER/NAME of a model on the hub")
    pull.add_argument("--output-dir", metavar="DIR", help="a new directory [runs/NAME]")
    pull.add_argument("--revision", metavar="TEXT", help="a branch, a tag or a commit [main]")
    pull.add_argument("--base", metavar="NAME", help="the policy it was tuned from, if its card does not say")
    pull.set_defaults(call=_pull)


def _merge(arguments: argparse.Namespace) -> int:
    from dpo.publishing.merge import merge

    directory = merge(arguments.run, arguments.output_dir)
    print(f"Merged: {directory}")
    print(f'Try it: dpo generate --policy {directory} --prompt "Do you have a favorite food?"')
    return 0


def _push(arguments: argparse.Namespace) -> int:
    from dpo.publishing.push import push

    run = find_run(arguments.run, run_roots(arguments))
    pushed = push(
        run,
        arguments.repo_id,
        private=arguments.private,
        merged=arguments.merge,
        licence=arguments.license,
        dry_run=arguments.dry_run,
    )
    for name, size in pushed.files.items():
        print(f"{size / 1e6:9.3f} MB  {name}")
    for note in pushed.notes:
        print(f"dpo: note: {note}", file=sys.stderr)
    where = arguments.dry_run and f"Written to {arguments.dry_run}, nothing published"
    print(where or f"Published: {pushed.url}")
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    from dpo.publishing.pull import pull

    pulled = pull(arguments.hub_id, arguments.output_dir, revision=arguments.revision, base=arguments.base)
    print(f"Fetched {arguments.hub_id} at {pulled.revision[:12]} into {pulled.path}")
    if pulled.base is None:
        print("dpo: note: its card names no base; with --base NAME the dashboard shows both", file=sys.stderr)
    print(f'Try it: dpo generate --policy {pulled.path} --prompt "Do you have a favorite food?"')
    return 0
