"""`dpo sweep`: many trainings, to find good settings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dpo.cli.output import print_json
from dpo.policies.names import DEFAULT_RUNS
from dpo.training.sweep_plan import SweepPlan, read_plan

_ABOUT = """Trains the same thing with different settings and says which did best on the held-out pairs.
The file names fixed settings, the space to search, and how (see docs/sweeps.md). The same command again goes on with
a sweep, or works on it beside others: in a second terminal, or on other machines with --storage on one database."""


def add_sweep(actions: Any) -> None:
    """Register `dpo sweep`."""
    sweep = actions.add_parser("sweep", help="try many settings: grid, random or TPE, with pruning", description=_ABOUT)
    sweep.add_argument("--config", required=True, metavar="FILE.yaml", help="what to try")
    sweep.add_argument("--dir", type=Path, default=None, metavar="DIR", help="where the runs go [runs/NAME]")
    sweep.add_argument(
        "--storage", default=None, metavar="URL", help="database shared by all workers [SQLite in the directory]"
    )
    sweep.add_argument("--json", action="store_true", help="the outcome for programs")
    sweep.set_defaults(call=run_sweep)


def run_sweep(arguments: argparse.Namespace) -> int:
    """`dpo sweep --config FILE`."""
    plan = read_plan(arguments.config)
    directory = arguments.dir or DEFAULT_RUNS / plan.name
    from dpo.training.sweep import Sweep

    storage = arguments.storage or f"sqlite:///{directory / 'sweep.db'}"
    quiet = arguments.json
    sweep = Sweep(plan, directory, storage, (lambda text: None) if quiet else (lambda text: print(text, flush=True)))
    outcomes = sweep.run()
    if quiet:
        print_json([vars(outcome) for outcome in outcomes])
        return 0
    _report(plan, outcomes, directory)
    return 0


def _report(plan: SweepPlan, outcomes: list[Any], directory: Path) -> None:
    counts = {state: sum(outcome.state == state for outcome in outcomes) for state in ("finished", "pruned", "failed")}
    print("\n" + ", ".join(f"{count} {state}" for state, count in counts.items() if count))
    done = [outcome for outcome in outcomes if outcome.state == "finished"]
    done.sort(key=lambda outcome: outcome.value, reverse=plan.more_is_better)
    for outcome in done[:5]:
        drawn = ", ".join(f"{name}={value}" for name, value in outcome.params.items())
        print(f"{plan.measure} {outcome.value:.4g}  {drawn}  {outcome.directory}")
    for outcome in outcomes:
        if outcome.state == "failed":
            print(f"failed: {outcome.directory}: {outcome.reason}")
    print(f"See them beside each other: dpo serve --runs {directory}, page Runs")
