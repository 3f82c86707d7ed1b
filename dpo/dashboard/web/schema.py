"""What a browser may send to a callback: the annotations of its parameters are the schema.

Dash hands over whatever a request says.  `checked` stands before every callback (`application._App.callback`) and
refuses what the annotations do not allow, so that a callback may rely on them.  A parameter whose name begins with `_`
is not looked at, neither here nor in the callback.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_type_hints

# Dash depends on pydantic, so it is always there.
from pydantic import Field, TypeAdapter, ValidationError

from dpo.errors import ConfigError

MOST = 2**31 - 1
"""Of a count, a place or a row."""
Count = Annotated[int, Field(ge=0, le=MOST)]


def checked(callback: Callable[..., Any]) -> Callable[..., Any]:
    """The callback, called only with what its annotations allow.

    Raises:
        ConfigError: (when it is called) a value does not fit; the message names it.
    """

    @functools.cache
    def adapters() -> list[tuple[inspect.Parameter, TypeAdapter[Any]]]:
        # With the first call: the names in annotations may stand further down in the module.
        hints = get_type_hints(callback, include_extras=True)
        parameters = inspect.signature(callback).parameters.values()
        return [(parameter, TypeAdapter(_hint(parameter, hints))) for parameter in parameters]

    @functools.wraps(callback)
    def call(*values: Any) -> Any:
        for (parameter, adapter), value in zip(_each(adapters(), len(values)), values, strict=True):
            try:
                adapter.validate_python(value, strict=True)
            except (ValidationError, RecursionError) as error:
                raise ConfigError(_problem(parameter.name, error)) from error
        return callback(*values)

    return call


def _hint(parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    return Any if parameter.name.startswith("_") else hints.get(parameter.name, Any)


def _each(
    known: list[tuple[inspect.Parameter, TypeAdapter[Any]]], count: int
) -> Iterator[tuple[inspect.Parameter, TypeAdapter[Any]]]:
    """One for each value: a parameter with a star stands for all that are left."""
    for entry in known:
        many = entry[0].kind is inspect.Parameter.VAR_POSITIONAL
        yield from [entry] * (count - len(known) + 1 if many else 1)


def _problem(name: str, error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return f"{name} is nested too deeply: reload the page"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, (name, *first["loc"])))[:80]
    return f"{where} does not fit ({first['msg'][:120]}): reload the page"
