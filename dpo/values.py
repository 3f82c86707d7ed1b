"""Values from a command line, YAML, a form or JSON, in the type that their setting has (no torch here)."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterable
from typing import Any, Literal, Union, get_args, get_origin

from dpo.errors import ConfigError, quoted


def inner(hint: Any) -> Any:
    """A type without `None`: `int` for `int | None`."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(option for option in get_args(hint) if option is not type(None))
    return hint


def converted(name: str, value: Any, kind: Any, where: str = "") -> Any:
    """`value` as `kind` (bool, int, float, str, or a list or tuple of one); YAML reads 1e-5 as text and 1 for 1.0.

    Raises:
        ConfigError: it cannot be read so; `where` tells the place.
    """
    try:
        return _as(kind, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{where}{name} is {quoted(value)}: it must be {_described(kind)}") from error


def number(name: str, value: Any) -> float:
    """See `converted`."""
    return float(converted(name, value, float))


def whole(name: str, value: Any) -> int:
    """See `converted`."""
    return int(converted(name, value, int))


def nearest(word: object, known: Iterable[str]) -> str:
    """` (did you mean X?)` for the known word that is most like `word`, or nothing.

    >>> nearest("bta", ["beta", "seed"])
    ' (did you mean beta?)'
    """
    near = difflib.get_close_matches(str(word), known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _as(kind: Any, value: Any) -> Any:
    if get_origin(kind) in (list, tuple):
        items = value if isinstance(value, list | tuple) else [value]
        return get_origin(kind)(_as(get_args(kind)[0], item) for item in items)
    if get_origin(kind) is Literal:
        return value  # the range check lists the choices
    if kind in (bool, str):
        if not isinstance(value, kind):
            raise TypeError(value)
        return value
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError(value)
    if kind is int and float(value) != int(float(value)):
        raise ValueError(value)
    return kind(float(value))


def _described(kind: Any) -> str:
    if get_origin(kind) in (list, tuple):
        return {int: "a list of whole numbers", float: "a list of numbers"}.get(get_args(kind)[0], "a list of texts")
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(kind, str(kind))
