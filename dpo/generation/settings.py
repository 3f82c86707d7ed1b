"""How text is sampled (no torch here: the dashboard and the command line read this)."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any, Self, get_type_hints

from dpo.errors import ConfigError
from dpo.values import converted

MAX_SAMPLES = 8
LAMBDA_LIMITS = (0.0, 3.0)
_STOPS, _STOP_LENGTH = 8, 200


def _number(
    default: float, low: float, high: float, text: str, above: bool = False, *, label: str = "", step: float = 0.1
) -> Any:
    """A numeric setting from `low` (excluded where `above`) to `high`.

    One with a `label` has a field on the Compare page, which goes up and down by `step` if it is no whole number.
    """
    shown = {"label": label, "step": step} if label else {}
    return field(default=default, metadata={"low": low, "high": high, "help": text, "above": above, **shown})


@dataclass(frozen=True)
class Sampling:
    """Sampling settings.

    `temperature` 0 is greedy; `top_p` 1, `top_k` 0, `min_p` 0, `repetition_penalty` 1 and
    `no_repeat_ngram` 0 switch those off.  The same seed and prompt give the same text, whatever else
    is generated beside it.  With `same_noise` all policies draw with the same random numbers, so that what
    differs between their answers comes from their weights; without, each policy has its own.
    `beams` above 1 searches instead of sampling (temperature 0) and can't stream.
    The defaults are what read best of the bundled policies (docs/bundled.md); an evaluation draws more plainly.
    """

    temperature: float = _number(0.3, 0.0, 5.0, "0 is greedy", label="Temperature")
    top_p: float = _number(
        0.8, 0.0, 1.0, "smallest set of tokens with this probability; 1 is off", above=True, label="Top-p", step=0.05
    )
    top_k: int = _number(0, 0, 100_000, "most likely tokens only; 0 is off", label="Top-k")
    max_new_tokens: int = _number(200, 1, 2048, "stop after this many", label="Max new tokens")
    seed: int = _number(0, 0, 2**32 - 1, "same seed, same text", label="Seed")
    min_p: float = _number(0.0, 0.0, 1.0, "drop tokens below this share of the likeliest one; 0 is off")
    repetition_penalty: float = _number(
        1.1, 0.0, 10.0, "above 1 repeats less; 1 is off", above=True, label="Repetition penalty", step=0.05
    )
    no_repeat_ngram: int = _number(0, 0, 100, "never repeat this many tokens in a row; 0 is off")
    beams: int = _number(1, 1, 16, "beam search over this many; needs temperature 0, doesn't stream")
    stop: tuple[str, ...] = field(default=(), metadata={"help": "end before this text; may be given several times"})
    same_noise: bool = field(default=True, metadata={"help": "all policies draw with the same random numbers"})

    def validate(self) -> Self:
        """Itself, if every value is within its limits.

        Raises:
            ConfigError: one line naming the value and what is allowed.
        """
        for spec in fields(self):
            if "low" in spec.metadata:
                check_number(spec.name, getattr(self, spec.name), **_limits(spec.metadata))
        if not isinstance(self.same_noise, bool):
            raise ConfigError(f"same_noise is {self.same_noise!r}: it must be true or false")
        if not isinstance(self.stop, tuple) or not all(isinstance(text, str) and text for text in self.stop):
            raise ConfigError(f"stop is {self.stop!r}: it must be a list of texts that are not empty")
        if len(self.stop) > _STOPS or any(len(text) > _STOP_LENGTH for text in self.stop):
            raise ConfigError(
                f"stop takes at most {_STOPS} texts of {_STOP_LENGTH} characters: give fewer or shorter ones"
            )
        if self.beams > 1 and self.temperature != 0:
            raise ConfigError(
                f"beams is {self.beams} and temperature {self.temperature:g}: beam search needs temperature 0"
            )
        return self

    def beyond(self, known: Collection[str]) -> str | None:
        """The first setting that is neither one of `known` nor at its default: an engine that knows those refuses it.

        >>> Sampling(top_k=5, min_p=0.1).beyond({"top_k"}), Sampling(top_k=5).beyond({"top_k"})
        ('min_p', None)
        """
        return next(
            (spec.name for spec in fields(self) if spec.name not in known and getattr(self, spec.name) != spec.default),
            None,
        )

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Settings from loosely typed values (a web form, JSON); absent ones keep their default.

        Raises:
            ConfigError: unknown name, not a number, or out of its limits.
        """
        kinds = get_type_hints(cls)
        for name in values:
            if name not in kinds:
                raise ConfigError(f"no sampling setting is called {name!r}: use {', '.join(kinds)}")
        given = {name: value for name, value in values.items() if value is not None and value != ""}
        return cls(**{name: converted(name, value, kinds[name]) for name, value in given.items()}).validate()


PLAIN = Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.0)
"""How trainings and evaluations draw answers: records of all times compare, and nothing hides what a policy does."""


def check_number(name: str, value: Any, low: float, high: float, above: bool = False) -> None:
    """Refuse what is no finite number from `low` (excluded where `above`) to `high`.

    Raises:
        ConfigError: with the limits in its text.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ConfigError(f"{name} is {value!r}: it must be a number from {low:g} to {high:g}")
    if not low <= value <= high or (above and value == low):
        start = f"above {low:g}" if above else f"{low:g}"
        raise ConfigError(f"{name} is {value:g}: it must be from {start} to {high:g}")


def check_lambda(value: float) -> float:
    """The alignment strength, if it is from 0 (the reference) over 1 (the policy) to 3.

    Raises:
        ConfigError: out of these limits.
    """
    check_number("lambda", value, *LAMBDA_LIMITS)
    return float(value)


def _limits(metadata: Any) -> dict[str, Any]:
    return {name: metadata[name] for name in ("low", "high", "above")}
