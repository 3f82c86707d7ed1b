"""Bars: how much each setting mattered."""

from __future__ import annotations

from collections.abc import Sequence

from dash import html

from dpo.dashboard.components import box
from dpo.dashboard.runs_page.table import heading


def weights(shares: Sequence[tuple[str, float]]) -> list[html.Div]:
    """A bar for each setting and its share of a measure's spread (`figures.importance`)."""
    return [
        box(
            html.Span(heading(name)),
            html.Div(html.I(style={"width": f"{100 * share:.1f}%"}), className="bar"),
            html.B(f"{share:.0%}", className="num"),
            cls="weight",
        )
        for name, share in shares
    ]
