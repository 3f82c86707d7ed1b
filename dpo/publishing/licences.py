"""What is known about the licences of the data and the bases that policies are made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo.errors import RunError
from dpo.policies.names import BUNDLED, SHORT_NAMES
from dpo.preferences.reading import SUFFIXES
from dpo.preferences.sources import LICENCES, NAMED
from dpo.runs import open_run

LLAMA3 = "llama3"
DATA: Mapping[str, str] = {NAMED.get(name, name): licence for name, licence in LICENCES.items()}
BASES: Mapping[str, str] = {
    **dict.fromkeys(BUNDLED, LLAMA3),
    "google-t5/t5-small": "apache-2.0",
    "openai-community/gpt2": "mit",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": "apache-2.0",
}
_STRICTEST_FIRST = (LLAMA3, "apache-2.0", "mit")


def sources(info: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Names of the data and of the base with their licences (None where unknown).

    A base that is a run of this machine counts with the data and the base it was made from.
    """
    data = str((info.get("dataset") or {}).get("source") or "")
    data = NAMED.get(data, data)
    found = [(_shown(data), DATA.get(data))]
    model = str((info.get("config") or {}).get("model") or "")
    model = SHORT_NAMES.get(model, model)
    if Path(model).is_dir():
        try:
            earlier = open_run(model).info
        except RunError:
            earlier = {}
        return found + (sources(earlier) if earlier.get("config") else [(_shown(model), None)])
    return [*found, (_shown(model), BASES.get(model))]


def combined(parts: list[tuple[str, str | None]]) -> str | None:
    """The strictest of the licences as the hub spells it; None if any part's is unknown."""
    named = {licence for _, licence in parts}
    if None in named:
        return None
    return next((licence for licence in _STRICTEST_FIRST if licence in named), None)


def is_file(name: str) -> bool:
    """Whether a source or a base is a path here rather than a name that others know."""
    path = Path(name)
    return path.is_absolute() or path.suffix.lower() in SUFFIXES or path.exists()


def _shown(name: str) -> str:
    return Path(name).name if is_file(name) else name
