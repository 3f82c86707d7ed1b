"""How text is sampled (no torch here: the dashboard and the command line read this)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Self

from dpo.errors import ConfigError

_LIMITS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 5.0),
    "top_p": (0.0, 1.0),
    "top_k": (0, 100_000),
    "max_new_tokens": (1, 2048),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class Sampling:
    """Sampling settings.

    `temperature` 0 is greedy; `top_p` 1 and `top_k` 0 switch those filters off.  The same seed and
    prompt give the same text, whatever else is generated beside it.
    """

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0
    max_new_tokens: int = 200
    seed: int = 0

    def validate(self) -> Self:
        """Itself, if every value is within its limits.

        Raises:
            ConfigError: one line naming the value and what is allowed.
        """
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                raise ConfigError(f"{name} is {value!r}: it must be a number from {low:g} to {high:g}")
            if not low <= value <= high or (name == "top_p" and value == 0):
                start = "above 0" if name == "top_p" else f"{low:g}"
                raise ConfigError(f"{name} is {value:g}: it must be from {start} to {high:g}")
        return self

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Settings from loosely typed values (a web form, JSON); absent ones keep their default.

        Raises:
            ConfigError: unknown name, not a number, or out of its limits.
        """
        kinds = {field.name: type(field.default) for field in fields(cls)}
        made: dict[str, Any] = {}
        for name, value in values.items():
            if name not in kinds:
                raise ConfigError(f"no sampling setting is called {name!r}: use {', '.join(kinds)}")
            if value is None or value == "":
                continue
            try:
                number = float(value)
                made[name] = int(number) if kinds[name] is int and number == int(number) else number
            except (TypeError, ValueError, OverflowError) as error:
                raise ConfigError(f"{name} is {value!r}: it must be a number") from error
            if kinds[name] is int and not isinstance(made[name], int):
                raise ConfigError(f"{name} is {value!r}: it must be a whole number")
        return cls(**made).validate()
