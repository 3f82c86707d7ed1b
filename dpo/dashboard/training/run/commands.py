"""What can be done with a run in a terminal: lines to copy (no dash here)."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from dpo.dashboard.training.jobs_api import KINDS
from dpo.errors import DpoError
from dpo.runs import Run
from dpo.training.command_line import command_line
from dpo.training.config import CommonConfig
from dpo.training.settings import make

# Where a run was written and what it went on from is no setting that another run could take.
_OF_ITS_OWN = ("output_dir", "resume")


def commands(run: Run) -> list[tuple[str, str]]:
    """What a line does, and the line: train again, talk with it, evaluate it, look at it, publish it, fold it.

    What the run does not have (a policy, an adapter, settings) has no line.
    """
    where, made = shlex.quote(str(run.path)), again(run)
    lines = [("Train again", command_line(made))] if made is not None else []
    if run.policy_path is not None and run.family is not None:
        lines += [("Chat beside its base", f"dpo chat --policy {where} --compare"), ("Evaluate", f"dpo eval {where}")]
    lines.append(("Doctor", f"dpo doctor {where}"))
    lines.append(("Measures as CSV", f"dpo runs export {where} --output {shlex.quote(run.path.name)}.csv"))
    if run.policy_path is not None and run.config:
        lines.append(("Publish on the hub", f"dpo push {where} --repo-id USER/{shlex.quote(run.path.name)}"))
        if is_adapter(run):
            lines.append(("Merge the adapter", f"dpo merge {where} --output-dir {where}-merged"))
    return lines


def again(run: Run) -> CommonConfig | None:
    """The settings of a run, for another one; None where it was not made by dpo, or by one with other settings."""
    if run.kind not in KINDS or run.info.get("foreign"):
        return None
    kind = KINDS[run.kind]
    known = {spec.name for spec in dataclasses.fields(kind)} - set(_OF_ITS_OWN)
    try:
        return make(kind, {name: value for name, value in run.config.items() if name in known})
    except DpoError:
        return None


def is_adapter(run: Run) -> bool:
    """Whether its policy is an adapter on a base."""
    return run.policy_path is not None and (run.policy_path / "adapter_config.json").is_file()


def settings(run: Run) -> tuple[list[tuple[str, Any, Any]], list[tuple[str, Any]]]:
    """Settings that differ from the defaults with those, and the others; all are others where no default is known."""
    usual = dataclasses.asdict(KINDS[run.kind]()) if run.kind in KINDS else {}
    mine = {name: value for name, value in run.config.items() if name not in _OF_ITS_OWN}
    differ = [(name, value, usual[name]) for name, value in mine.items() if name in usual and usual[name] != value]
    named = {name for name, _, _ in differ}
    return differ, [(name, value) for name, value in mine.items() if name not in named]
