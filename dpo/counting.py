"""How many of something, and how long, in words: the only place that knows when a noun has its plural."""

from __future__ import annotations


def counted(number: int, one: str, more: str | None = None) -> str:
    """`1 run`, `2 runs`, `1,024 runs`; `more` is the plural of a noun that does not just take an s.

    >>> counted(1, "entry", "entries"), counted(0, "entry", "entries")
    ('1 entry', '0 entries')
    """
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def duration(seconds: float) -> str:
    """Two units at most: 45 s, 3 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
