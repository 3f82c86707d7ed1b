"""How settings are declared, read and checked: one dataclass field each, in `config.py` and its like.

This module imports no torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import yaml

from dpo.errors import ConfigError, RunError, quoted
from dpo.runs import Run, open_run
from dpo.values import converted, inner, nearest

if TYPE_CHECKING:
    from dpo.training.config import RunConfig

Config = TypeVar("Config", bound="RunConfig")
# The command that makes each kind of run.
COMMANDS = {"dpo": "train", "sft": "sft", "pretrain": "pretrain"}


def setting(
    group: str,
    help: str,
    default: Any = dataclasses.MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with what the command line and the form need to know about it.

    `low` and `high` are inclusive bounds, `above` an exclusive one.
    """
    metadata = {"group": group, "help": help, "low": low, "high": high, "above": above, "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def read_yaml(path: str | Path, config: type[Config]) -> dict[str, Any]:
    """The settings of a YAML file, names checked against `config`.

    Raises:
        ConfigError: no such file, not a mapping, or an unknown name.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise ConfigError(f"--config {path} is not valid YAML{line}: mend it there") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--config {path} must be 'name: value' lines, it is {type(content).__name__}")
    settings = {str(name).replace("-", "_"): value for name, value in content.items()}
    return {name: coerce(name, value, config, f"--config {path}") for name, value in settings.items()}


def make(config: type[Config], values: dict[str, Any]) -> Config:
    """A validated config from `values` (names as in the dataclass)."""
    settings = config(**{name: coerce(name, value, config, "the settings") for name, value in values.items()})
    settings.validate()
    return settings


def coerce(name: str, value: Any, config: type[RunConfig], where: str) -> Any:
    """`value` in the type of the field `name`; YAML reads 1e-5 as text and 1 for 1.0.

    Raises:
        ConfigError: no such setting, or not of its type.
    """
    hints = get_type_hints(config)
    if name not in hints:
        command = COMMANDS[config.kind]
        raise ConfigError(
            f"{where}: no setting is called {quoted(name)}{nearest(name, hints)}; see dpo {command} --help"
        )
    wanted = hints[name]
    if value is None and inner(wanted) is not wanted:
        return None
    return converted(name, value, inner(wanted), f"{where}: ")


def alone(name: str, value: Any, config: type[RunConfig], where: str) -> Any:
    """One setting's value in its type and range, whatever the others are.

    Raises:
        ConfigError: no such setting, not of its type, or out of its range.
    """
    made = coerce(name, value, config, where)
    check_range(name, made, config.__dataclass_fields__[name].metadata)
    return made


def stored_run(directory: str | Path) -> Run:
    """The run in a directory, with all settings that it was made with, to go on with it.

    Raises:
        RunError: there is none, it was not made here, or a setting in its record cannot be read.
    """
    run = open_run(directory)
    if not run.config:
        raise RunError(f"{directory} was not made by dpo: only its own runs can be resumed")
    if run.problem:  # what was left out would be trained on with its default
        raise RunError(f"{run.problem}. Mend run.json before --resume, or start a new run")
    return run


def check_range(name: str, value: Any, limits: Any) -> None:
    flag = "--" + name.replace("_", "-")
    for item in value if isinstance(value, list) else [value]:
        if item is None:
            continue
        if limits["choices"] and item not in limits["choices"]:
            hint = nearest(item, limits["choices"])
            raise ConfigError(f"{flag} {str(item)[:80]}{hint}: choose from {', '.join(limits['choices'])}")
        if limits["above"] is not None and not item > limits["above"]:
            raise ConfigError(f"{flag} is {item}: it must be above {limits['above']:g}")
        if limits["low"] is not None and item < limits["low"]:
            raise ConfigError(f"{flag} is {item}: it must be at least {limits['low']:g}")
        if limits["high"] is not None and item > limits["high"]:
            raise ConfigError(f"{flag} is {item}: it must be at most {limits['high']:g}")
