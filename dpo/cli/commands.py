"""What each command does.  Heavy imports are inside, so that help and mistakes are quick."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from dpo.cli.arguments import run_roots, settings
from dpo.cli.output import print_json, print_table
from dpo.counting import counted
from dpo.pretraining.config import PretrainConfig
from dpo.processes import process_count, process_index
from dpo.runs import Run, find_run, find_runs, summarise
from dpo.runs.files import one_line
from dpo.runs.newest import HELD_OUT
from dpo.training.config import SftConfig, TrainConfig


def train(arguments: argparse.Namespace) -> int:
    """`dpo train`."""
    config = settings(arguments, TrainConfig)
    from dpo.training.recipes.dpo import train as run_training

    return _report(run_training(config), "train")


def sft(arguments: argparse.Namespace) -> int:
    """`dpo sft`."""
    config = settings(arguments, SftConfig)
    from dpo.training.recipes.sft import sft as run_sft

    return _report(run_sft(config), "sft")


def pretrain(arguments: argparse.Namespace) -> int:
    """`dpo pretrain`."""
    config = settings(arguments, PretrainConfig)
    from dpo.pretraining.recipe import pretrain as run_pretraining

    return _report(run_pretraining(config), "pretrain")


def list_runs(arguments: argparse.Namespace) -> int:
    """`dpo runs list`."""
    runs = find_runs(run_roots(arguments))
    rows = [_facts(run) for run in runs]
    if arguments.json:
        print_json(rows)
        return 0
    if not rows:
        print("No runs yet. Start one with: dpo train --model demo/gpt2 --dataset sample")
        return 0
    columns = ("name", "kind", "family", "state", "step", "loss", "margin", "accuracy", "over")
    print_table([columns, *([cell(row[column]) for column in columns] for row in rows)])
    for row in rows:
        if "problem" in row:
            print(f"! {row['name']}: {row['problem']}", file=sys.stderr)
    return 0


def show_run(arguments: argparse.Namespace) -> int:
    """`dpo runs show RUN`."""
    run = find_run(arguments.run, run_roots(arguments))
    parts = {name: run.info.get(name) for name in ("dataset", "policy", "reference")}
    facts = _facts(run) | {"step_zero": run.step_zero, **parts, "config": run.config}
    if arguments.json:
        print_json(facts | {"metrics": run.metrics().columns})
        return 0
    for name in ("name", "kind", "family", "state", "step", "loss", "margin", "accuracy", "over", "path"):
        print(f"{name:10} {cell(facts[name])}")
    if run.step_zero:
        check = run.step_zero
        verdict = "passed" if check["passed"] else "FAILED"
        print(f"{'step 0':10} {verdict}: loss {check['loss']:.6f}, expected {check['expected']:.6f}")
    data = run.info.get("dataset") or {}
    if data:
        print(f"{'data':10} {data.get('source')} · {data.get('train')} train · {data.get('held_out')} held out")
    for name in ("model", "beta", "learning_rate", "batch_size", "gradient_accumulation", "seed"):
        if run.config.get(name) is not None:
            print(f"{name.replace('_', ' '):10} {run.config[name]}")
    for problem in run.problems():
        print(f"{'left out':10} {problem}")
    return 0


def _facts(run: Run) -> dict[str, Any]:
    problems = run.problems()
    return summarise(run) | ({"problem": "; ".join(problems)} if problems else {})


def _report(run: Run, command: str) -> int:
    if process_count() > 1:
        # Of a training that ended well; another process may never come where one failed.
        import torch.distributed

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    if process_index() > 0:  # of several processes one speaks
        return 0
    facts = summarise(run)
    if run.state == "stopped":
        print(f"Stopped at step {run.progress.get('step')}, saved. Go on with: dpo {command} --resume {run.path}")
        return 0
    print(f"Finished {run.name} at step {facts['step']}" + reached_line(facts, run.info.get("dataset") or {}))
    print(f"Policy: {run.path / 'policy'}")
    print(f'Try it: dpo generate --policy {run.path} --prompt "Do you have a favorite food?"')
    return 0


def reached_line(facts: dict[str, Any], dataset: dict[str, Any]) -> str:
    """How far a run came and on which pairs, or nothing; `facts` are those of `summarise`."""
    parts = [f"{name} {facts[name]:.4g}" for name in ("loss", "margin", "accuracy") if facts[name] is not None]
    if not parts:
        return ""
    if facts["over"] == HELD_OUT:
        count = dataset.get("held_out")
        of = "chosen answers" if facts["kind"] == "sft" else counted(count, "pair") if isinstance(count, int) else ""
    else:
        of = "nothing was held out" if dataset.get("held_out") == 0 else ""
    return f": {facts['over']} {', '.join(parts)}" + (f" ({of})" if of else "")


def cell(value: Any) -> str:
    """A value in a table: a dash where there is none, four digits of a fraction.

    >>> cell(None), cell(0.69314), cell(2e-5), cell(64)
    ('-', '0.6931', '2e-5', '64')
    """
    if value is None:
        return "-"
    if not isinstance(value, float):
        return one_line(str(value))
    return f"{value:.4g}".replace("e-0", "e-") if 0 < abs(value) < 1e-3 else f"{value:.4f}"
