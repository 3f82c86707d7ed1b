"""The trials of a sweep as rows: which did best, and what was searched (no dash here)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dpo.dashboard.runs_page.table import Row, differing, heading
from dpo.dashboard.sweeps import SweepRuns
from dpo.runs import Run
from dpo.runs.newest import HELD_OUT
from dpo.training.config import BEST_BY


def outcomes(rows: Sequence[Row], sweep: SweepRuns, measure: str) -> list[Row]:
    """The trials' rows with what each came to (`value`), the best first and then those that have none.

    A trial that has not ended has a value so far; it is never called best (`best`).
    """
    runs = {str(run.path): run for run in sweep.runs}
    more = BEST_BY[measure][1]
    made = []
    for row in rows:
        value = _value(runs[row["path"]], row, measure)
        made.append(row | {"value": value, "best": False})
    made.sort(key=lambda row: (row["value"] is None, 0.0 if row["value"] is None else -row["value"] if more
                               else row["value"], row["path"]))  # fmt: skip
    for row in made:
        if row["value"] is not None and row["state"] == "done":
            row["best"] = True
            break
    return made


def _value(run: Run, row: Row, measure: str) -> float | None:
    """As `dpo sweep` judges: of the policy that was kept, where that was chosen by this measure; else the newest."""
    best = run.info.get("best") or {}
    held_out = row.get(measure) if row["over"] == HELD_OUT else None
    value = best.get("value") if best.get("by") == measure else held_out
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def searched(rows: Sequence[Row], sweep: SweepRuns) -> list[tuple[str, str, str]]:
    """Name, heading and space of each setting that was searched: as its plan says, or as its runs differ."""
    space = sweep.plan.get("search")
    if isinstance(space, dict):
        return [(name, heading(name), _space(part)) for name, part in space.items() if isinstance(part, dict)]
    names = [name for name in differing(rows)[0] if any(row.get(f"set/{name}") is not None for row in rows)]
    return [(name, heading(name), _seen([row.get(f"set/{name}") for row in rows])) for name in names]


def _space(part: Mapping[str, Any]) -> str:
    if "values" in part:
        return ", ".join(_word(value) for value in part["values"])
    text = f"{part.get('low'):g} to {part.get('high'):g}"
    step = part.get("step")
    return text + (f", steps of {step:g}" if step else ", evenly in its logarithm" if part.get("log") else "")


def _word(value: Any) -> str:
    """A value of a plan, where a list is kept as its JSON text."""
    if isinstance(value, str) and value.startswith("["):
        return " + ".join(map(str, json.loads(value)))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _seen(values: Sequence[Any]) -> str:
    known = {value for value in values if value is not None}
    if len(known) > 4 and all(isinstance(value, int | float) for value in known):
        return f"{min(known):.2g} to {max(known):.2g}"
    return ", ".join(sorted(f"{v:g}" if isinstance(v, int | float) else str(v) for v in known))
