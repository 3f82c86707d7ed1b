"""Which policies can stand side by side: every base, tuned policy, checkpoint and server that is known here."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dpo.dashboard.theme import FAMILY_HEADING
from dpo.errors import DpoError
from dpo.families import FAMILIES
from dpo.generation.remote import Remote
from dpo.generation.spec import ArmSpec, permitted
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
DEFAULT = tuple(BUNDLED)


@dataclass(frozen=True)
class Arm:
    """A policy that can answer.

    `short` is what stands in a pane, `label` what tells it from all others; `reference` is what a
    tuned policy was tuned from, if that is known.  `value` may name an engine or a server too, `policy`
    is what it answers as; `note` is there where same noise, lambda and tint don't act.  `family` decides colour
    and shape, `model` is what the architecture is called.
    """

    value: str
    label: str
    short: str
    family: str | None
    tuned: bool
    reference: str | None = None
    policy: str = ""
    note: str | None = None
    model: str | None = None


def arms(roots: Sequence[Path], remotes: Sequence[Remote] = ()) -> list[Arm]:
    """Policies, then those that CTranslate2 can serve (where it is installed), then other servers."""
    own = policies(roots)
    fast = [arm for arm in own if "checkpoint-" not in arm.value] if importlib.util.find_spec("ctranslate2") else []
    return [
        *own,
        *(_converted(arm, engine) for engine in ("ctranslate2", "ctranslate2-int8") for arm in fast),
        *(
            Arm(remote.policy, remote.name, remote.name, None, False, None, remote.policy, ArmSpec(remote.policy).note)
            for remote in remotes
        ),
    ]


def _converted(arm: Arm, engine: str) -> Arm:
    value = f"{arm.value}#{engine}"
    suffix = "CT2 int8" if engine.endswith("int8") else "CT2"
    return replace(
        arm, value=value, label=f"{arm.label} · {suffix}", short=f"{arm.short} · {suffix}", note=ArmSpec.of(value).note
    )


def policies(roots: Sequence[Path]) -> list[Arm]:
    """The four bundled policies first, then every run, newest first: its policy, its checkpoints, its base."""
    made = {}
    for facts in FAMILIES:
        name, key = facts.label, facts.key
        made[facts.base] = Arm(facts.base, f"{name} base", "Base", key, False, model=name)
        made[facts.tuned] = Arm(facts.tuned, f"{name} DPO", "DPO", key, True, facts.base, model=name)
    for run in find_runs(roots):
        if run.damaged or _bundled(run):
            continue
        tuned = run.kind == "dpo"
        base = str(run.config.get("model") or "") or None
        about = " · ".join(part for part in (run.name, note(run)) if part)
        if run.policy_path:
            start = base if tuned else None
            made[str(run.path)] = Arm(str(run.path), about, run.name, run.family, tuned, start, model=run.label)
        for step, path in reversed(run.checkpoints):
            name = f"{run.name} @ {step}"
            made[str(path)] = Arm(str(path), name, name, run.family, tuned, base if tuned else None, model=run.label)
        if tuned and base and base not in made and _askable(base, roots):
            made[base] = Arm(base, base, Path(base).name, run.family, False, model=run.label)
    return [replace(arm, policy=arm.value) for arm in made.values()]


def options(known: Sequence[Arm]) -> list[dict[str, Any]]:
    """Data of a picker: by family, then by what else can answer."""
    groups: dict[str, list[dict[str, str]]] = {}
    order = list(FAMILY_HEADING)
    for arm in sorted(known, key=lambda arm: (arm.note is not None, order.index(arm.family))):
        group = "CTranslate2, plain sampling" if "#ctranslate2" in arm.value else FAMILY_HEADING[arm.family]
        if arm.note and arm.family is None:
            group = "Other servers"
        groups.setdefault(group, []).append({"value": arm.value, "label": arm.label})
    return [{"group": group, "items": items} for group, items in groups.items()]


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
