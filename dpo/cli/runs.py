"""`dpo runs export|compare|rm|import` and `dpo doctor`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from dpo.cli.arguments import Parser, run_roots
from dpo.cli.commands import cell
from dpo.cli.output import print_json, print_table
from dpo.counting import counted
from dpo.errors import RunError, StorageError
from dpo.policies.names import DEFAULT_RUNS
from dpo.runs import BUNDLED_RUNS, Run, find_run, summarise
from dpo.runs.files import one_line

_MARKS = {"ok": "ok ", "note": "-  ", "warning": "!  ", "fault": "!! "}


def add_verbs(verbs: Any) -> None:
    """Register the verbs of `dpo runs`."""
    from dpo.runs.import_export import FORMATS

    export = verbs.add_parser("export", help="all measures of a run as CSV, JSON lines or Parquet")
    export.add_argument("run", metavar="RUN", help="name or directory of a run")
    export.add_argument("--format", choices=FORMATS, default=None, help="[by the file's name, else csv]")
    export.add_argument("--output", metavar="FILE", default=None, help="where to [standard output]")
    export.set_defaults(call=export_run)

    compare = verbs.add_parser("compare", help="runs beside each other: what was set otherwise and what came of it")
    compare.add_argument("names", metavar="RUN", nargs="+", help="names or directories of two or more runs")
    compare.add_argument("--json", action="store_true", help="for programs")
    compare.set_defaults(call=compare_runs)

    remove = verbs.add_parser("rm", help="delete runs with all their files")
    remove.add_argument("names", metavar="RUN", nargs="+", help="names or directories of runs")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.set_defaults(call=remove_runs)

    bring = verbs.add_parser(
        "import", help="bring in a run of another tool",
        description="A Trainer's output directory, a TensorBoard event file, a .jsonl or .csv of measures (W&B's "
        "export too) or a Trackio database becomes a run of dpo.",
    )  # fmt: skip
    bring.add_argument("source", metavar="SOURCE", type=Path, help="a directory or a file")
    bring.add_argument("--output-dir", metavar="DIR", type=Path, default=DEFAULT_RUNS, help=f"[{DEFAULT_RUNS}]")
    bring.add_argument("--name", metavar="NAME", default=None, help="[the source's]")
    bring.set_defaults(call=import_run)
    for verb in (export, compare, remove):
        verb.add_argument("--runs", action="append", metavar="DIR", help="where to look [runs and the bundled ones]")


def add_doctor(actions: Any) -> None:
    """Register `dpo doctor`."""
    doctor: Parser = actions.add_parser(
        "doctor", help="read a run's curves: what happened, the evidence, what to change",
    )  # fmt: skip
    doctor.add_argument("run", metavar="RUN", help="name or directory of a run, an output directory, an event file")
    doctor.add_argument("--runs", action="append", metavar="DIR", help="where to look [runs and the bundled ones]")
    doctor.add_argument(
        "--kl-budget",
        type=float,
        default=None,
        metavar="NATS",
        help="how far from the reference is too far [the run's, else 10]",
    )
    doctor.add_argument(
        "--audit",
        type=Path,
        default=None,
        metavar="FILE",
        help="of its data, by dpo data audit --json [RUN/audit.json]",
    )
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(call=diagnose_run)


def export_run(arguments: argparse.Namespace) -> int:
    """`dpo runs export RUN`."""
    from dpo.runs.import_export import FORMATS, export

    run = find_run(arguments.run, run_roots(arguments))
    suffix = Path(arguments.output).suffix[1:] if arguments.output else ""
    form = arguments.format or (suffix if suffix in FORMATS else "csv")
    content = export(run.metrics(), form)
    if arguments.output is None:
        sys.stdout.buffer.write(content)
        return 0
    try:
        Path(arguments.output).write_bytes(content)
    except OSError as error:
        raise StorageError(
            f"--output {arguments.output} cannot be written ({error.strerror}): name another file"
        ) from error
    print(f"{run.name}: {counted(run.metrics().rows, 'step')} written to {arguments.output}")
    return 0


def compare_runs(arguments: argparse.Namespace) -> int:
    """`dpo runs compare RUN RUN`: settings that differ, then the newest measures."""
    roots = run_roots(arguments)
    runs = [find_run(name, roots) for name in arguments.names]
    if len(runs) < 2:
        raise RunError("dpo runs compare needs two or more runs: name another one")
    from dpo.runs.find import names

    settings = {
        name: [run.config.get(name) for run in runs]
        for name in dict.fromkeys(key for run in runs for key in run.config)
        if len({json.dumps(run.config.get(name), sort_keys=True) for run in runs}) > 1
    }
    facts = [summarise(run) for run in runs]
    shown = ("state", "step", "loss", "margin", "accuracy", "over")
    measures = {name: [fact[name] for fact in facts] for name in shown}
    if arguments.json:
        print_json({"runs": names(runs), "settings": settings, "measures": measures})
        return 0
    rows = [["", *names(runs)]]
    for part in (settings, measures):
        rows += [[name, *(cell(value) for value in values)] for name, values in part.items()]
    print_table(rows)
    return 0


def remove_runs(arguments: argparse.Namespace) -> int:
    """`dpo runs rm RUN`: asks first, and refuses bundled, running and foreign runs."""
    from dpo.runs.import_export import removable

    roots = run_roots(arguments)
    runs = [find_run(name, roots) for name in arguments.names]
    sizes = [_may_remove(run, removable) for run in runs]
    for run, size in zip(runs, sizes, strict=True):
        if not arguments.yes and not _confirmed(f"Delete {one_line(str(run.path))} ({size / 1e6:.1f} MB)? [y/N] "):
            print(f"Kept {one_line(str(run.path))}")
            continue
        try:
            shutil.rmtree(run.path)
        except OSError as error:
            raise StorageError(f"{run.path} cannot be deleted ({error.strerror}): check its permissions") from error
        print(f"Deleted {one_line(str(run.path))}")
    return 0


def import_run(arguments: argparse.Namespace) -> int:
    """`dpo runs import SOURCE`."""
    from dpo.runs.import_export import import_runs

    for directory in import_runs(arguments.source, arguments.output_dir, arguments.name):
        print(f"Imported {directory}. Look at it: dpo doctor {directory}")
    return 0


def diagnose_run(arguments: argparse.Namespace) -> int:
    """`dpo doctor RUN`."""
    from dpo.runs.doctor import Thresholds, diagnose
    from dpo.runs.reader import open_run

    given = Path(arguments.run)
    run = open_run(given) if given.is_file() else find_run(arguments.run, run_roots(arguments))
    verdicts = diagnose(run, Thresholds(kl_budget=arguments.kl_budget), _audit(arguments.audit))
    if arguments.json:
        print_json({"run": run.name, "verdicts": [v.as_json() for v in verdicts]})
        return 0
    metrics = run.metrics()
    print(f"{run.name}: {metrics.rows} logged steps" + (f", up to step {metrics.steps[-1]}" if metrics.rows else ""))
    for verdict in verdicts:
        print(f"\n{_MARKS[verdict.severity]}{verdict.code}: {verdict.sentence}")
        for fact in verdict.evidence:
            print(f"     {fact}")
        if verdict.change is not None:
            print(f"   change: {verdict.change}")
        if verdict.source is not None:
            print(f"   source: {verdict.source}")
    return 0


def _audit(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    import dataclasses

    from dpo.preferences.audit import Audit

    try:
        return dataclasses.asdict(Audit.from_json(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RunError(f"--audit {path} cannot be read ({error.strerror}): check the path") from error


def _may_remove(run: Run, removable: Any) -> int:
    if BUNDLED_RUNS.resolve() in run.path.resolve().parents:
        raise RunError(f"{run.name} comes with dpo and is not deleted: remove a run of your own")
    size: int = removable(run.path)
    return size


def _confirmed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        raise RunError("dpo runs rm asks before it deletes, and nobody can answer here: add --yes") from None
