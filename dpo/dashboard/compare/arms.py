"""Which policies can stand side by side: the base and the tuned policy of each family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo.policies.names import BUNDLED
from dpo.runs import BUNDLED_RUNS, Run, find_runs

# Held-out prompts of the kind that the bundled policies know, and one that they do not.
EXAMPLES = (
    "Do you have a favorite food?",
    "Any fun plans for the weekend?",
    "What's the best gift you've ever received?",
    "Do you believe in luck?",
    "What makes a good friend?",
)


@dataclass(frozen=True)
class Pair:
    """A base and the policy tuned from it; `value` names the pair in the page and the address."""

    value: str
    label: str
    base: str
    tuned: str
    note: str


def pairs(family: str, roots: Sequence[Path]) -> list[Pair]:
    """The bundled pair first, then every DPO run of the family that has saved its policy."""
    label = "T5" if family == "t5" else "GPT-2"
    found = [Pair("demo", f"Bundled {label}", f"demo/{family}", f"demo/{family}-dpo", "trained on Human-Like chat")]
    for run in find_runs(roots):
        if run.kind == "dpo" and run.family == family and run.policy_path and not _bundled(run):
            base = str(run.config.get("model") or "")
            if base:
                found.append(Pair(str(run.path), run.name, base, str(run.path), note(run)))
    return found


def note(run: Run) -> str:
    """What tells one run from another in a line."""
    parts = [f"β {run.config['beta']:g}"] if "beta" in run.config else []
    if run.config.get("learning_rate"):
        parts.append(f"lr {run.config['learning_rate']:.0e}".replace("e-0", "e-"))
    if run.config.get("lora"):
        parts.append("LoRA")
    return " · ".join(parts)


def _bundled(run: Run) -> bool:
    return run.path.parent.resolve() == BUNDLED_RUNS.resolve() and run.path.name in BUNDLED.values()
