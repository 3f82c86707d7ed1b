"""lm-eval's client for completions, also where its extra `api` is not installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

# What its module names when it is imported.  aiohttp is for requests at once, tenacity for asking again after an
# error; one request at a time that succeeds needs neither.
_EXTRA = {
    "aiohttp": ("ClientSession", "ClientTimeout", "TCPConnector"),
    "tenacity": ("RetryError", "retry", "stop_after_attempt", "wait_exponential"),
}


def local_completions(**arguments: Any) -> Any:
    """lm-eval's `local-completions` model."""
    with pytest.MonkeyPatch.context() as patch:
        for name, members in _EXTRA.items():
            if importlib.util.find_spec(name) is None:
                patch.setitem(sys.modules, name, _stand_in(name, members))
        from lm_eval.models.openai_completions import LocalCompletionsAPI

        return LocalCompletionsAPI(**arguments)


def _stand_in(name: str, members: tuple[str, ...]) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    for member in members:
        setattr(module, member, _Unused)
    if name == "tenacity":
        module.retry = _once  # type: ignore[attr-defined]
    return module


class _Unused(Exception):
    """Takes what the real one takes."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        super().__init__()


def _once(**_options: Any) -> Callable[[Any], Any]:
    return lambda function: function
