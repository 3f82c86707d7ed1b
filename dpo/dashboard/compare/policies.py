"""Which policies can stand side by side: every base, tuned policy, checkpoint and server that is known here."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpo.dashboard.choices import Choice, about, base_of, bundled_run, grouped, own_runs, settings_line
from dpo.dashboard.theme import FAMILY_HEADING
from dpo.errors import DpoError
from dpo.families import FAMILIES
from dpo.generation.remote import Remote
from dpo.generation.spec import PolicySpec, permitted
from dpo.policies.names import BUNDLED, resolve

# Of the prompts that neither trained nor judged the bundled policies five whose answers end, hold no invented word, and
# differ between base and DPO in both families, under each of three seeds (docs/bundled.md).
EXAMPLES = (
    "What's your go-to coffee order or morning routine?",
    "Are you a fan of karaoke? What's your go-to song?",
    "What's the latest TV show or movie you binge-watched?",
    "What's your favorite type of cuisine or cooking style?",
    "What's your favorite thing to do on a lazy Sunday morning?",
)
DEFAULT = tuple(BUNDLED)


def answering(roots: Sequence[Path], remotes: Sequence[Remote] = ()) -> list[Choice]:
    """Policies, then those that CTranslate2 can serve (where it is installed), then other servers."""
    own = policies(roots)
    fast = [one for one in own if "checkpoint-" not in one.value] if importlib.util.find_spec("ctranslate2") else []
    servers = [
        Choice(remote.policy, remote.name, None, remote.name, policy=remote.policy, note=PolicySpec(remote.policy).note)
        for remote in remotes
    ]
    converted = [_converted(one, engine) for engine in ("ctranslate2", "ctranslate2-int8") for one in fast]
    return [*own, *converted, *servers]


def _converted(choice: Choice, engine: str) -> Choice:
    value = f"{choice.value}#{engine}"
    suffix = "CT2 int8" if engine.endswith("int8") else "CT2"
    label, short = (f"{text} · {suffix}" for text in (choice.label, choice.short))
    return replace(choice, value=value, label=label, short=short, note=PolicySpec.of(value).note)


def policies(roots: Sequence[Path]) -> list[Choice]:
    """The four bundled policies first, then every run, newest first: its policy, its checkpoints, its base."""
    made = {}
    for facts in FAMILIES:
        name, key = facts.label, facts.key
        base, tuned = (about(bundled_run(bundled)) for bundled in (facts.base, facts.tuned))
        made[facts.base] = Choice(facts.base, f"{name} base", key, "Base", model=name, about=base)
        made[facts.tuned] = Choice(facts.tuned, f"{name} DPO", key, "DPO", True, facts.base, model=name, about=tuned)
    for run in own_runs(roots):
        is_tuned, started_from = run.kind == "dpo", base_of(run)
        reference = started_from if is_tuned else None
        if run.policy_path:
            label = " · ".join(part for part in (run.name, settings_line(run)) if part)
            made[str(run.path)] = Choice(
                str(run.path), label, run.family, run.name, is_tuned, reference, model=run.label, about=about(run)
            )
        for step, path in reversed(run.checkpoints):
            name = f"{run.name} @ {step}"
            made[str(path)] = Choice(str(path), name, run.family, name, is_tuned, reference, model=run.label)
        if is_tuned and started_from and started_from not in made and _askable(started_from, roots):
            made[started_from] = Choice(
                started_from, started_from, run.family, Path(started_from).name, model=run.label
            )
    return [replace(choice, policy=choice.value) for choice in made.values()]


def options(known: Sequence[Choice]) -> list[dict[str, Any]]:
    """Data of a picker: by family, then by what else can answer."""
    order = list(FAMILY_HEADING)
    ordered = sorted(known, key=lambda choice: (choice.note is not None, order.index(choice.family)))
    return grouped([(_group(choice), choice) for choice in ordered])


def _group(choice: Choice) -> str:
    if choice.note and choice.family is None:
        return "Other servers"
    return "CTranslate2, plain sampling" if "#ctranslate2" in choice.value else FAMILY_HEADING[choice.family]


def records(known: Sequence[Choice]) -> dict[str, dict[str, Any]]:
    """The policies by value, for the browser."""
    return {choice.value: choice.record() for choice in known}


def _askable(name: str, roots: Sequence[Path]) -> bool:
    """Whether a base is on this machine, where requests may name it."""
    try:
        permitted(name, list(roots), ())
        return resolve(name).kind != "hub"
    except DpoError:
        return False
