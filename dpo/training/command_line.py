"""From settings back to the command line that gives them."""

from __future__ import annotations

import dataclasses
import shlex
from decimal import Decimal
from typing import Any

from dpo.training.config import CommonConfig, RunConfig, SftConfig


def in_order(config: type[CommonConfig]) -> list[dataclasses.Field[Any]]:
    """The settings as people read them: what is trained on what comes first, what every command has last."""
    everywhere = {spec.name for spec in dataclasses.fields(RunConfig)}
    return sorted(dataclasses.fields(config), key=lambda spec: spec.name in everywhere)


def arguments(config: CommonConfig) -> list[str]:
    """The flags of `dpo train` or `dpo sft` that give this config: those that differ from the defaults."""
    flags: list[str] = []
    usual = type(config)()
    for spec in in_order(type(config)):
        value = getattr(config, spec.name)
        if value == getattr(usual, spec.name) or value is None:
            continue
        flag = "--" + spec.name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(flag if value else "--no-" + flag[2:])
        elif isinstance(value, list):
            flags += [flag, *map(_shown, value)]
        else:
            text = _shown(value)
            flags += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return flags


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    # argparse takes -1e-05 for a flag, and -0.00001 for a number.
    short = f"{value:g}" if float(f"{value:g}") == value else str(value)
    return f"{Decimal(short):f}" if value < 0 else short


def command_line(config: CommonConfig) -> str:
    """The line that starts the same training in a terminal."""
    return shlex.join(["dpo", *command(config)])


def command(config: CommonConfig) -> list[str]:
    """What follows `dpo` on that line."""
    return ["sft" if isinstance(config, SftConfig) else "train", *arguments(config)]
