"""How much something matters: one list of words for the doctor, the audit, the pre-flight check and what shows them."""

from __future__ import annotations

from typing import Any, Literal

Severity = Literal["ok", "note", "warning", "fault"]
SEVERITIES: tuple[Severity, ...] = ("fault", "warning", "ok", "note")
"""In the order of showing: do not use it, look before trusting it, nothing is wrong, worth knowing."""
_EARLIER: dict[Any, Severity] = {"high": "fault", "bad": "fault", "warn": "warning", "info": "note"}


def severity_of(word: str) -> Severity:
    """The severity that a file says, also one of an earlier version.

    Raises:
        ValueError: no word for a severity.
    """
    found = _EARLIER.get(word, word)
    if found not in SEVERITIES:
        raise ValueError(f"{word!r} is no severity: {', '.join(SEVERITIES)} are")
    return found  # type: ignore[return-value]


def rank(severity: Severity) -> int:
    """The place of a severity in what is shown, the most severe first: a key to sort by."""
    return SEVERITIES.index(severity)


def is_severe(severity: Severity) -> bool:
    """Whether it is a warning or a fault."""
    return severity in ("fault", "warning")
