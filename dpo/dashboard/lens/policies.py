"""Which policies the lens can look at, and what they can be held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo.dashboard.theme import FAMILY_LABEL
from dpo.policies.names import BUNDLED
from dpo.runs import BUNDLED_RUNS, Run, find_runs


@dataclass(frozen=True)
class Choice:
    """A policy by its name (`value`) and what the page calls it."""

    value: str
    label: str
    family: str


def tuned(roots: Sequence[Path]) -> list[Choice]:
    """The bundled DPO policies first, then every DPO run and its checkpoints, newest first."""
    made = [Choice(f"demo/{family}-dpo", f"Bundled {FAMILY_LABEL[family]}", family) for family in ("gpt2", "t5")]
    for run in _others(roots):
        if run.kind != "dpo" or run.family is None:
            continue
        if run.policy_path:
            made.append(Choice(str(run.path), run.name, run.family))
        made += [Choice(str(path), f"{run.name} @ {step}", run.family) for step, path in reversed(run.checkpoints)]
    return made


def references(roots: Sequence[Path]) -> list[Choice]:
    """Policies to hold a policy against instead of its recorded reference."""
    made = [Choice(f"demo/{family}", f"{FAMILY_LABEL[family]} base", family) for family in ("gpt2", "t5")]
    made += [Choice(str(run.path), run.name, run.family) for run in _others(roots) if run.policy_path and run.family]
    return made


def options(choices: Sequence[Choice]) -> list[dict[str, object]]:
    """Data of a select, grouped by family."""
    return [
        {
            "group": FAMILY_LABEL[family],
            "items": [{"value": c.value, "label": c.label} for c in choices if c.family == family],
        }
        for family in ("gpt2", "t5")
        if any(c.family == family for c in choices)
    ]


def _others(roots: Sequence[Path]) -> list[Run]:
    bundled = {(BUNDLED_RUNS / name).resolve() for name in BUNDLED.values()}
    return [run for run in find_runs(roots) if run.path.resolve() not in bundled and not run.damaged]
