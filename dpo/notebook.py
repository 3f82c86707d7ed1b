"""How results show themselves in a notebook: as a table, as a figure, as a DataFrame (each is imported when asked for).

A result that can be shown names itself, its rows and its curves; the rest is here, once.
"""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objects import Figure

_FIRST = 12  # rows of a table that are shown; all are in the DataFrame
_LONGEST = 160  # characters of a cell that are shown


@dataclass(frozen=True)
class PlotLine:
    """Values `y` at places `x`, of one length: a line, or bars."""

    name: str
    x: Sequence[Any]
    y: Sequence[float | None]
    bars: bool = False


@dataclass(frozen=True)
class Sheet:
    """What of a result is shown: a `title`, `columns` of one length by name, and `curves` with what the axes are."""

    title: str
    columns: Mapping[str, Sequence[Any]]
    curves: Sequence[PlotLine]
    x: str
    y: str


class NotebookView(ABC):
    """What shows itself in a notebook, by its `sheet`."""

    @abstractmethod
    def sheet(self) -> Sheet:
        """What of it is shown."""

    def to_pandas(self) -> DataFrame:
        """The rows of its table."""
        import pandas

        return pandas.DataFrame(dict(self.sheet().columns))

    def plot(self) -> Figure:
        """Its curves as a Plotly figure."""
        from plotly import graph_objects

        sheet = self.sheet()
        figure = graph_objects.Figure(
            [
                graph_objects.Bar(name=curve.name, x=list(curve.x), y=list(curve.y))
                if curve.bars
                else graph_objects.Scatter(name=curve.name, x=list(curve.x), y=list(curve.y), mode="lines+markers")
                for curve in sheet.curves
            ]
        )
        figure.update_layout(title=sheet.title, xaxis_title=sheet.x, yaxis_title=sheet.y, showlegend=True)
        return figure

    def _repr_html_(self) -> str:
        sheet = self.sheet()
        names = list(sheet.columns)
        count = len(sheet.columns[names[0]]) if names else 0
        heads = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_cell(sheet.columns[name][row])}</td>' for name in names)}</tr>"
            for row in range(min(count, _FIRST))
        )
        more = f"<p>{count - _FIRST:,} more rows: to_pandas()</p>" if count > _FIRST else ""
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        return f"<h4>{html.escape(sheet.title)}</h4>{table}{more}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return html.escape(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")
