"""Policies that can be chosen on several pages: the bundled ones, and what runs have left behind (no dash here)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from dpo.counting import counted
from dpo.families import FAMILIES
from dpo.policies.names import BUNDLED
from dpo.runs import BUNDLED_RUNS, Run, find_runs, open_run

_ORDER = FAMILIES[::-1]  # Lens opens with the first policy
_NAMES = {run: name for name, run in BUNDLED.items()}


@dataclass(frozen=True)
class Choice:
    """A policy in a picker.

    `value` is its name, `label` tells it from all others, `short` is what stands above its answers; `reference` is
    what a tuned policy was tuned from, if that is known.  `value` may name an engine or a server too, `policy` is
    what it answers as; `note` is there where same noise, lambda and tint don't act.  `family` decides colour and
    shape, `model` is what the architecture is called, `about` how large it is and what it learned from.
    """

    value: str
    label: str
    family: str | None
    short: str = ""
    tuned: bool = False
    reference: str | None = None
    policy: str = ""
    note: str | None = None
    model: str | None = None
    about: str = ""

    def record(self) -> dict[str, Any]:
        """As plain values, for the browser."""
        return asdict(self)


def tuned(roots: Sequence[Path]) -> list[Choice]:
    """The bundled DPO policies first, then every DPO run and its checkpoints, newest first."""
    made = [Choice(facts.tuned, f"{facts.label} DPO", facts.key, model=facts.label) for facts in _ORDER]
    for run in own_runs(roots):
        if run.kind != "dpo" or run.family is None:
            continue
        if run.policy_path:
            made.append(_choice(run, run.path, run.name))
        made += [_choice(run, path, f"{run.name} @ {step}") for step, path in reversed(run.checkpoints)]
    return made


def references(roots: Sequence[Path]) -> list[Choice]:
    """Policies to hold a policy against instead of its recorded reference."""
    made = [Choice(facts.base, f"{facts.label} base", facts.key, model=facts.label) for facts in _ORDER]
    return made + [_choice(run, run.path, run.name) for run in own_runs(roots) if run.policy_path and run.family]


def _choice(run: Run, path: Path, label: str) -> Choice:
    return Choice(str(path), label, run.family, model=run.label)


def own_runs(roots: Sequence[Path]) -> list[Run]:
    """The readable runs that do not come with dpo, newest first."""
    return [run for run in find_runs(roots) if not run.damaged and not is_bundled(run)]


def is_bundled(run: Run) -> bool:
    """Whether one of the bundled policies is this run's."""
    return run.path.parent.resolve() == BUNDLED_RUNS.resolve() and run.path.name in _NAMES


def policies_of(run: Run) -> dict[int, str]:
    """The policies that a run left behind, as `load_policy` calls them, by step: its checkpoints and its result."""
    found = {step: str(path) for step, path in run.checkpoints}
    if run.policy_path is not None:
        found[run.policy_step] = _NAMES[run.path.name] if is_bundled(run) else str(run.path)
    return found


def base_of(run: Run) -> str | None:
    """Name of what the run started from, if it says."""
    return str(run.config.get("model") or "") or None


def settings_line(run: Run) -> str:
    """What tells one run from another in a line."""
    parts = [f"β {run.config['beta']:g}"] if "beta" in run.config else []
    if run.config.get("learning_rate"):
        parts.append(f"lr {run.config['learning_rate']:.0e}".replace("e-0", "e-"))
    if run.config.get("lora"):
        parts.append("LoRA")
    return " · ".join(parts)


def about(run: Run) -> str:
    """How large a run's policy is and what it learned from, in a line; empty where the record does not say.

    For example `8.0 M parameters · then 3,464 pairs in 90 steps`.
    """
    policy, data = run.info.get("policy") or {}, run.info.get("dataset") or {}
    size, learned, steps = policy.get("parameters"), data.get("train"), run.progress.get("step")
    parts = [f"{size_text(size)} parameters"] if isinstance(size, int) and size > 0 else []
    if isinstance(learned, int) and learned > 0:
        what = f"then {counted(learned, 'pair')}" if run.kind == "dpo" else f"learned from {counted(learned, 'answer')}"
        parts.append(f"{what} in {counted(steps, 'step')}" if isinstance(steps, int) and steps > 0 else what)
    return " · ".join(parts)


def size_text(parameters: int) -> str:
    """A number of parameters as people say it.

    >>> size_text(7_968_000), size_text(124_439_808), size_text(1_540_000_000)
    ('8.0 M', '124 M', '1.5 B')
    """
    unit, name = (1e9, "B") if parameters >= 1e9 else (1e6, "M")
    return f"{parameters / unit:.{0 if parameters >= 100 * unit else 1}f} {name}"


def bundled_run(name: str) -> Run:
    """The run that one of the bundled policies comes from."""
    return open_run(BUNDLED_RUNS / BUNDLED[name])


def evaluate_link(policies: Sequence[str]) -> str:
    """The address where an evaluation of policies is set up."""
    return "/evaluate?" + urlencode([("new", "1"), *(("policy", name) for name in policies[:8])])


def training_link(paths: Sequence[Path | str]) -> str:
    """The address where the curves of runs are drawn over each other."""
    return "/training?" + urlencode([("run", str(path)) for path in paths[:6]])


def run_link(path: Path | str) -> str:
    """The address of the page of a run."""
    return "/run?" + urlencode([("run", str(path))])


def sweep_link(key: str) -> str:
    """The address of a sweep's own page."""
    return "/sweep?" + urlencode({"name": key})


def evaluation_link(directory: Path | str) -> str:
    """The address where an evaluation is looked at."""
    return "/evaluate?" + urlencode([("evaluation", str(directory))])


def compare_link(run: Run, step: int | None = None, prompt: str | None = None) -> str | None:
    """Where a policy of a run (its result, or that of a step) answers beside its base; None if it has none."""
    saved = policies_of(run)
    policy = saved.get(max(saved, default=0) if step is None else step)
    if policy is None:
        return None
    asked = [] if prompt is None else [("prompt", prompt)]
    return "/?" + urlencode([*asked, *(("policy", name) for name in (base_of(run), policy) if name)])


def grouped(choices: Sequence[tuple[str, Choice]]) -> list[dict[str, Any]]:
    """Data of a select from choices with the names of their groups; groups stand in the order of their first choice."""
    groups: dict[str, list[dict[str, str]]] = {}
    for group, choice in choices:
        groups.setdefault(group, []).append({"value": choice.value, "label": choice.label})
    return [{"group": group, "items": items} for group, items in groups.items()]


def by_family(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """Data of a select, grouped by family."""
    return grouped([(facts.kind, choice) for facts in _ORDER for choice in choices if choice.family == facts.key])
