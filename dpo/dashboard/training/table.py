"""A chart as a table: every logged point, whatever the picture leaves out or smooths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dpo.arrays import Floats
from dpo.dashboard.training.charts import Chart, View, axis_title, call, word
from dpo.dashboard.training.series import Curve


def table(chart: Chart, curves: tuple[Sequence[Curve], Sequence[Curve]], view: View, unit: str) -> dict[str, Any]:
    """`head` and `rows`: the axis, then for each run and measure what was logged, smoothed, and held out.

    A column is named `T5 (raw)`, `T5 (smoothed)`, `T5 (held out)`, with the measure in a chart of
    two (`T5 chosen (raw)`) and the unit of normalised rewards (`T5 (raw, ÷ β)`).  Rows are sorted
    along the axis; a cell without a point is None.
    """
    first, second = curves
    of_unit = f", {unit}" if chart.reward and unit != "Reward" else ""
    below = {item.run: item for item in second}
    columns: list[tuple[str, Floats, Floats]] = []
    for item in first:
        for line, measure in ((item, chart.first[0]), (below.get(item.run), chart.second)):
            if line is None:
                continue
            name = f"{call(item, view)} {word(measure)}" if chart.second else call(item, view)
            parts = [("raw", line.x, line.y), ("held out", line.eval_x, line.eval_y)]
            if line.has_smoothed:
                parts.insert(1, (f"smoothed {line.weight:.2f}", line.x, line.smooth))
            columns += [(f"{name} ({kind}{of_unit})", x, y) for kind, x, y in parts if len(x)]
    rows: dict[tuple[float, int], list[float | None]] = {}
    for place, (_, x, y) in enumerate(columns):
        met: dict[float, int] = {}  # a clock that stands still has several points at one place
        for at, value in zip(x.tolist(), y.tolist(), strict=True):
            met[at] = met.get(at, -1) + 1
            rows.setdefault((at, met[at]), [None] * len(columns))[place] = value
    return {
        "head": [axis_title(view.axis), *(name for name, _, _ in columns)],
        "rows": [[at, *values] for (at, _), values in sorted(rows.items())],
    }
