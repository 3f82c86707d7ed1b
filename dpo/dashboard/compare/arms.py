"""Which policies can stand side by side: every base, tuned policy and checkpoint that is known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpo.dashboard.theme import FAMILY_LABEL
from dpo.errors import DpoError
from dpo.generation.spec import permitted
from dpo.policies.names import BUNDLED, resolve
from dpo.runs import BUNDLED_RUNS, Run, find_runs

# Held-out prompts of the kind that the bundled policies know, and one that they do not.
EXAMPLES = (
    "Do you believe in luck?",
    "Do you have a favorite food?",
    "Any fun plans for the weekend?",
    "What's the best gift you've ever received?",
    "What makes a good friend?",
)
DEFAULT = ("demo/t5", "demo/t5-dpo", "demo/gpt2", "demo/gpt2-dpo")


@dataclass(frozen=True)
class Arm:
    """A policy that can answer.

    `short` is what stands in a pane, `label` what tells it from all others; `reference` is what a
    tuned policy was tuned from, if that is known.
    """

    value: str
    label: str
    short: str
    family: str | None
    tuned: bool
    reference: str | None = None


def arms(roots: Sequence[Path]) -> list[Arm]:
    """The four bundled policies first, then every run, newest first: its policy, its checkpoints, its base."""
    made = {}
    for name in DEFAULT:
        family, tuned = name.removeprefix("demo/").removesuffix("-dpo"), name.endswith("-dpo")
        label = f"{FAMILY_LABEL[family]} {'DPO' if tuned else 'base'}"
        made[name] = Arm(name, label, "DPO" if tuned else "Base", family, tuned, f"demo/{family}" if tuned else None)
    for run in find_runs(roots):
        if run.problem or _bundled(run):
            continue
        tuned = run.kind == "dpo"
        base = str(run.config.get("model") or "") or None
        about = " · ".join(part for part in (run.name, note(run)) if part)
        if run.policy_path:
            made[str(run.path)] = Arm(str(run.path), about, run.name, run.family, tuned, base if tuned else None)
        for step, path in reversed(run.checkpoints):
            name = f"{run.name} @ {step}"
            made[str(path)] = Arm(str(path), name, name, run.family, tuned, base if tuned else None)
        if tuned and base and base not in made and _askable(base, roots):
            made[base] = Arm(base, base, Path(base).name, run.family, False)
    return list(made.values())


def options(known: Sequence[Arm]) -> list[dict[str, Any]]:
    """Data of a pane's picker, grouped by family."""
    return [
        {
            "group": FAMILY_LABEL[family],
            "items": [{"value": arm.value, "label": arm.label} for arm in known if arm.family == family],
        }
        for family in ("t5", "gpt2", None)
        if any(arm.family == family for arm in known)
    ]


def records(known: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    """The arms by value, for the browser."""
    return {arm.value: asdict(arm) for arm in known}


def note(run: Run) -> str:
    """What tells one run from another in a line."""
    parts = [f"β {run.config['beta']:g}"] if "beta" in run.config else []
    if run.config.get("learning_rate"):
        parts.append(f"lr {run.config['learning_rate']:.0e}".replace("e-0", "e-"))
    if run.config.get("lora"):
        parts.append("LoRA")
    return " · ".join(parts)


def _askable(name: str, roots: Sequence[Path]) -> bool:
    """Whether a base is on this machine, where requests may reach."""
    try:
        permitted(name, list(roots), ())
        return resolve(name).kind != "hub"
    except DpoError:
        return False


def _bundled(run: Run) -> bool:
    return run.path.parent.resolve() == BUNDLED_RUNS.resolve() and run.path.name in BUNDLED.values()
