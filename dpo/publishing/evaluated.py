"""What evaluations of a run found, for its card: in the words of their record, without this machine's paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpo.runs import Run
from dpo.runs.files import read_object

_RESULTS = "evaluations/*/eval.json"  # where `dpo eval` of one run keeps its results
_UNFIT = (AttributeError, KeyError, OSError, TypeError, ValueError)


def evaluated(run: Run) -> list[dict[str, Any]]:
    """The last evaluation of the run: its prompts, the headline, what changed in words, and a line for each comparison.

    And the `directory` that it is in.  An empty list where there is none, or none that can be read.
    """
    files = sorted(run.path.glob(_RESULTS), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        try:
            return [_shown(read_object(file)) | {"directory": file.parent}]
        except _UNFIT:
            continue
    return []


def _shown(made: dict[str, Any]) -> dict[str, Any]:
    plan = made["plan"]
    judging = [judge["policy"] for judge in plan["judges"] if judge.get("policy")]
    known = sorted({*plan["policies"], *judging}, key=len, reverse=True)

    def named(text: str) -> str:
        for name in known:
            text = text.replace(name, name if name.startswith("demo/") else Path(name).name)
        return text

    rows = [row for row in made["comparisons"] if row["win_rate"] is not None]
    if not rows:
        raise ValueError("nothing was judged")
    return {
        "prompts": made["prompts"], "complete": made["complete"],
        "headline": [named(row["sentence"]) for row in rows if row["judge"] == rows[0]["judge"]],
        "words": [named(row["sentence"]) for row in made["changes"] if row["temperature"] == rows[0]["temperature"]],
        "rows": [
            [named(f"{row['policy']} against {row['against']}"), named(row["says"]), f"{row['temperature']:g}",
             _rate(row["win_rate"]), "a rule" if row["kind"] == "rule" else row["verdict"]]
            for row in rows
        ],
    }  # fmt: skip


def _rate(estimate: dict[str, Any]) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    return f"{100 * value:.1f} %" + ("" if low is None else f" ({100 * low:.1f} to {100 * high:.1f})")
