"""Mantine's theme and one Plotly template for both colour schemes, in the colours of `assets/tokens.css`.

Line colours are the same in light and dark (at least 3:1 on both cards), so a theme switch is pure
CSS: `assets/tokens.css` recolours text and grid lines, no figure is rebuilt.
"""

from __future__ import annotations

from typing import Any

from dpo.families import FAMILIES
from dpo.palette import palette

_LIGHT = palette().light
CHOSEN, REJECTED = _LIGHT["chosen"], _LIGHT["rejected"]
NEUTRAL = _LIGHT["line-strong"]  # at least 3:1 on both card colours
FAMILY_COLOR: dict[str | None, str] = {facts.key: _LIGHT.get(facts.key, NEUTRAL) for facts in FAMILIES} | {
    None: NEUTRAL
}
FAMILY_HEADING: dict[str | None, str] = {facts.key: facts.kind for facts in FAMILIES} | {None: "Other"}
SYMBOL: dict[str | None, str] = {facts.key: facts.symbol for facts in FAMILIES} | {None: "square"}
HELD_OUT = "5px,4px"  # a dash means held out, everywhere
DOTTED = "2px,3px"  # second measures, and values to hold a measure against
SANS = (
    '"Emoji only", Inter, "Inter stand-in", "DejaVu stand-in", ui-sans-serif, -apple-system, "Segoe UI", Roboto, '
    '"DejaVu Sans", sans-serif'
)

# Mantine wants ten steps of each; the pages' own greys are the tokens.
_INK = ["#f7f7f5", "#ececea", "#d9dade", "#b9bcc4", "#8f949f", "#6b717c", "#4d535e", "#30343c", "#1c1f25", "#15171c"]
_GRAY = ["#f7f7f5", "#f0f0ec", "#e6e6e1", "#d9d9d3", "#c9c9c2", "#a4a6ab", "#8a8e97", "#636973", "#474c57", "#15171c"]
_DARK = ["#eceef2", "#b4bac5", "#8f96a3", "#444b56", "#2f343c", "#1d2025", "#16181c", "#0e1013", "#0b0c0f", "#08090b"]

MANTINE: dict[str, Any] = {
    "primaryColor": "ink",
    "primaryShade": {"light": 9, "dark": 1},
    "autoContrast": True,
    "colors": {"ink": _INK, "gray": _GRAY, "dark": _DARK},
    "fontFamily": "var(--sans)",
    "fontFamilyMonospace": "var(--mono)",
    "defaultRadius": "6px",
    "focusRing": "auto",
    "fontSizes": {"xs": "12px", "sm": "13px", "md": "14px", "lg": "16px", "xl": "20px"},
    "components": {"Tooltip": {"defaultProps": {"withArrow": True, "openDelay": 250}}},
}


def _steps(family: str | None) -> tuple[str, ...]:
    own = family if f"{family}-2" in _LIGHT else "other"
    return (FAMILY_COLOR[family], *(_LIGHT[f"{own}-{step}"] for step in range(2, 7)))


# As many as can be on screen at once (`run_reader.MOST_RUNS`): none looks like another.
_STEPS = {family: _steps(family) for family in FAMILY_COLOR}


def line_color(family: str | None, rank: int) -> str:
    """`#rrggbb` of a curve: the colour of its family, in a step of its own for each run of it (`rank` from 0)."""
    steps = _STEPS[family]
    return steps[rank % len(steps)]


def rgba(color: str, alpha: float) -> str:
    """`#rrggbb` with an alpha."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def layout() -> dict[str, Any]:
    """Layout shared by every figure; text is neutral and recoloured by CSS.

    Without `transition`, even one of 0 ms: with it Plotly moves axes instead of fitting them, and the
    ranges and clip paths of the picture before stay.
    """
    axis = {
        "showline": False, "ticks": "", "gridwidth": 1, "gridcolor": _LIGHT["grid"], "zeroline": False,
        "automargin": False, "tickfont": {"size": 12, "color": NEUTRAL}, "nticks": 5,
    }  # fmt: skip
    return {
        "font": {"family": SANS, "size": 12, "color": NEUTRAL},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 44, "r": 54, "t": 8, "b": 28},
        "showlegend": False,
        "hovermode": "x unified",
        "hoverlabel": {
            "font": {"family": SANS, "size": 12}, "align": "left",
            "bgcolor": _LIGHT["surface"], "bordercolor": _LIGHT["axis"],
        },
        "xaxis": axis | {
            "showgrid": False, "showline": True, "linecolor": _LIGHT["axis"], "showspikes": True, "spikethickness": 1,
            "spikedash": "solid", "spikemode": "across", "spikesnap": "data",
        },
        "yaxis": axis | {"tickformat": "~g"},
        "dragmode": "zoom",
        "uirevision": "keep",
        "template": None,
    }  # fmt: skip


def blank() -> dict[str, Any]:
    """A figure before its data have come: without axes, whose numbers would be nobody's."""
    made = layout()
    for axis in ("xaxis", "yaxis"):
        made[axis] |= {"visible": False}
    return {"data": [], "layout": made}
