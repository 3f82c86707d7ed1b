"""What we rely on in the libraries, a line each, and what of it is no longer so.

A line is one of

    library.name                    it is there
    library.name(one, two)          it takes arguments of these names (fields of a dataclass count, too)
    library.Class ~ one two         the code of the class, or of those it inherits from, uses these names or texts: its
                                    attributes that are made at run time, keys that it reads
    library.name == 'value'         it has this value
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from types import CodeType
from typing import Any

_CALL = re.compile(r"^(?P<name>[\w.]+)\((?P<arguments>[\w, ]*)\)$")


def moved(lines: str) -> list[str]:
    """The lines that do not hold, each with the reason."""
    wanted = [line.split("  #")[0].strip() for line in lines.splitlines()]
    reasons = ((line, _reason(line)) for line in wanted if line and not line.startswith("#"))
    return [f"{line}: {reason}" for line, reason in reasons if reason]


def _reason(line: str) -> str | None:
    call = _CALL.match(line)
    name = call["name"] if call else line.split(" ")[0]
    try:
        found = _found(name)
    except (ImportError, AttributeError) as error:
        return f"gone ({error})"
    if call:
        missing = set(filter(None, re.split(r"[, ]+", call["arguments"]))) - _arguments(found)
        return f"takes no {', '.join(sorted(missing))}" if missing else None
    if " ~ " in line:
        missing = set(line.split(" ~ ")[1].split()) - words_of(found)
        return f"its code has no {', '.join(sorted(missing))}" if missing else None
    if " == " in line:
        value = ast.literal_eval(line.split(" == ")[1])
        return None if found == value else f"is {found!r}"
    return None if line == name else "not a line that is understood"


def _found(name: str) -> Any:
    first, *parts = name.split(".")
    found: Any = importlib.import_module(first)
    for number, part in enumerate(parts, start=1):
        # A package may show a function under the name of the module that it is in: in the middle the module is meant.
        if inspect.ismodule(found) and (number < len(parts) or not hasattr(found, part)):
            with contextlib.suppress(ModuleNotFoundError):
                found = importlib.import_module(f"{found.__name__}.{part}")
                continue
        found = getattr(found, part)
    return found


def _arguments(found: Any) -> set[str]:
    fields = {field.name for field in dataclasses.fields(found)} if dataclasses.is_dataclass(found) else set()
    return fields | set(inspect.signature(found).parameters)


def words_of(found: Any) -> set[str]:
    """Names and texts in the code of a class and of its bases, or of a function."""
    owners = found.__mro__ if isinstance(found, type) else ()
    members = [found, *(member for owner in owners for member in vars(owner).values())]
    functions = [inspect.unwrap(getattr(part, "fget", None) or getattr(part, "__func__", part)) for part in members]
    return {text for function in functions if hasattr(function, "__code__") for text in _words(function.__code__)}


def _words(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _words(constant)
        elif isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple | frozenset):
            yield from (part for part in constant if isinstance(part, str))
