"""What the set-up asks for, as settings: every name in it is looked up before anything opens it (no dash here)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo.dashboard.web.names import Allowed
from dpo.dashboard.workbench import Workbench, own_root
from dpo.errors import ConfigError, quoted
from dpo.evaluation.comparison.plan import EvaluationConfig, Plan, make_plan
from dpo.generation.settings import PLAIN
from dpo.runs.record import EVALUATIONS

_MOST_NAMES, _MOST_LETTERS = 12, 500


def config_of(sent: Mapping[str, Any], workbench: Workbench) -> EvaluationConfig:
    """The settings of a request.

    Args:
        sent: `policies`, `against`, `dataset`, `prompts`, `samples`, `temperatures` (a text such as "0, 0.7"),
            `judges`, `until_clear`, `max_new_tokens`, `seed`.

    Raises:
        ConfigError: something of the wrong kind or out of range, or a name that may not be read.
    """
    allowed = workbench.allowed
    policies, judges = _names(sent, "policies"), _names(sent, "judges")
    against, dataset = _name(sent.get("against")), _name(sent.get("dataset"))
    for name in policies:
        allowed.tuned(name)
    if against is not None:
        allowed.policy(against)
    for judge in judges:
        _check_judge(judge, allowed)
    if dataset is not None:
        dataset = workbench.audits.named(dataset)
        allowed.dataset(dataset)
    else:
        for name in policies:
            allowed.pairs_of(name)
    config = EvaluationConfig(
        policies, against, dataset, prompts=_whole(sent, "prompts", 200), samples=_whole(sent, "samples", 1),
        temperatures=_temperatures(sent.get("temperatures")), judges=judges, votes=str(workbench.votes.path),
        until_clear=sent.get("until_clear") is True, max_new_tokens=_whole(sent, "max_new_tokens", 200),
        seed=_whole(sent, "seed", 0),
    )  # fmt: skip
    config.validate()
    return config


def plan_of(sent: Mapping[str, Any], workbench: Workbench) -> Plan:
    """The plan of a request, in a directory of its own below the runs that are shown here.

    Raises:
        DpoError: as for `config_of` and `make_plan`.
    """
    plan = make_plan(config_of(sent, workbench))
    target = plan.directory
    inside = any(target.resolve().is_relative_to(root.resolve()) for root in workbench.roots)
    if not inside:
        target = own_root(workbench.roots) / EVALUATIONS / target.name
    config = dataclasses.replace(plan.config, output_dir=str(target))
    return dataclasses.replace(plan, config=config, directory=target)


def _check_judge(judge: str, allowed: Allowed) -> None:
    """Nothing, for a judge that may be asked from a page.

    Raises:
        ConfigError: its policy or its file may not be read here.
    """
    kind, _, name = judge.partition(":")
    if kind in ("reward", "reward-per-token"):
        allowed.tuned(name)
    elif kind == "reward-model":
        allowed.policy(name)
    elif kind in ("battles", "alpaca-eval"):
        allowed.dataset(str(Path(name)))
    elif kind == "endpoint" and not (allowed.access.local or name.partition("#")[0] in allowed.remotes):
        raise ConfigError(f"{quoted(name, 200)} may not be asked from here: start dpo serve with --remote URL")


def _names(sent: Mapping[str, Any], field: str) -> list[str]:
    values = sent.get(field) or []
    if not isinstance(values, list) or len(values) > _MOST_NAMES:
        raise ConfigError(f"{field} must be a list of {_MOST_NAMES} names at most")
    return [name for value in values if (name := _name(value)) is not None]


def _name(value: Any) -> str | None:
    if value in (None, ""):
        return None
    if not isinstance(value, str) or len(value) > _MOST_LETTERS or value.startswith("-"):
        raise ConfigError(f"{quoted(value, 80)} is no name: choose one of those offered")
    return value.strip() or None


def _whole(sent: Mapping[str, Any], name: str, usual: int) -> int:
    value = sent.get(name, usual)
    if value in (None, ""):
        return usual
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} is {quoted(value, 40)}: it must be a whole number")
    return value


def _temperatures(value: Any) -> tuple[float, ...]:
    """Temperatures from a text such as "0, 0.7"."""
    if value in (None, ""):
        return (PLAIN.temperature,)
    try:
        parts: Sequence[str] = str(value).replace(";", ",").split(",")
        return tuple(float(part) for part in parts if part.strip())
    except ValueError:
        raise ConfigError(f"temperatures are {quoted(value, 40)}: give numbers such as 0, 0.7, 1") from None
