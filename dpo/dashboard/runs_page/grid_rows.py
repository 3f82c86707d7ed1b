"""Rows of the grid as the browser sends them back: they name runs, and do not say what is in them (no dash here)."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict


class Named(TypedDict):
    """A row as the browser sends it back: it names a run, and does not say what is in it."""

    path: str


GridRows = list[Named] | dict[str, Any] | None  # the grid also takes a function that says which


def paths_of(rows: GridRows) -> list[str]:
    """The paths of the runs that rows name."""
    return [row["path"] for row in rows] if isinstance(rows, list) else []
