"""Which policies the lens can look at, and what they can be held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo.dashboard.theme import FAMILY_HEADING
from dpo.families import FAMILIES
from dpo.policies.names import BUNDLED
from dpo.runs import BUNDLED_RUNS, Run, find_runs

_ORDER = FAMILIES[::-1]  # the page opens with the first policy


@dataclass(frozen=True)
class Choice:
    """A policy by its name (`value`), what the page calls it (`label`), and its model's architecture (`model`)."""

    value: str
    label: str
    family: str
    model: str


def tuned(roots: Sequence[Path]) -> list[Choice]:
    """The bundled DPO policies first, then every DPO run and its checkpoints, newest first."""
    made = [Choice(facts.tuned, f"Bundled {facts.label}", facts.key, facts.label) for facts in _ORDER]
    for run in _others(roots):
        if run.kind != "dpo" or run.family is None:
            continue
        if run.policy_path:
            made.append(_choice(run, run.path, run.name))
        made += [_choice(run, path, f"{run.name} @ {step}") for step, path in reversed(run.checkpoints)]
    return made


def references(roots: Sequence[Path]) -> list[Choice]:
    """Policies to hold a policy against instead of its recorded reference."""
    made = [Choice(facts.base, f"{facts.label} base", facts.key, facts.label) for facts in _ORDER]
    made += [_choice(run, run.path, run.name) for run in _others(roots) if run.policy_path and run.family]
    return made


def options(choices: Sequence[Choice]) -> list[dict[str, object]]:
    """Data of a select, grouped by family."""
    return [
        {
            "group": FAMILY_HEADING[facts.key],
            "items": [{"value": c.value, "label": c.label} for c in choices if c.family == facts.key],
        }
        for facts in _ORDER
        if any(c.family == facts.key for c in choices)
    ]


def _choice(run: Run, path: Path, label: str) -> Choice:
    return Choice(str(path), label, run.family or "", run.label or "")


def _others(roots: Sequence[Path]) -> list[Run]:
    bundled = {(BUNDLED_RUNS / name).resolve() for name in BUNDLED.values()}
    return [run for run in find_runs(roots) if run.path.resolve() not in bundled and not run.damaged]
