"""What stands in the document's head beside Dash's own: what the page is, its icon and colours, its scripts."""

from __future__ import annotations

import importlib.metadata
import re
from urllib.parse import quote

from dpo.palette import palette

_GRID = re.compile(r'<script src="([^"]*/dash_ag_grid\.[^"]*)"></script>')
_TABLE = re.compile(r'<script src="[^"]*/dash_table/[^"]*"></script>\s*')


def description() -> str:
    """The meta elements that say what this is and in which colour a browser frames it."""
    said = importlib.metadata.metadata("dpo-workbench")["Summary"]
    colors = palette()
    schemes = (("light", colors.light["page"]), ("dark", colors.dark["page"]))
    return f'<meta name="description" content="{said}">' + "".join(
        f'<meta name="theme-color" media="(prefers-color-scheme: {scheme})" content="{color}">'
        for scheme, color in schemes
    )


def favicon() -> str:
    """The page's sign, as in its header: a circle and another, in the families' colours; no request of its own."""
    colors = palette().light
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 22 22">'
        f'<rect width="22" height="22" rx="6" fill="{colors["ink"]}"/>'
        f'<circle cx="7.3" cy="13.6" r="4.4" fill="{colors["seq2seq"]}"/>'
        f'<circle cx="14.7" cy="8.4" r="4.4" fill="{colors["causal"]}"/></svg>'
    )
    return f'<link rel="icon" type="image/svg+xml" href="data:image/svg+xml,{quote(drawing)}">'


def without_grid(scripts: str, grids: bool) -> tuple[str, str]:
    """Dash's script elements as a page needs them, and a link to the script of its grids.

    That script is a quarter of all that Dash sends.  Where a page has no grid, it is fetched when nothing more is to
    do, and run when a page with one is visited (assets/js/shell.js).  Dash's older tables are sent whether or not a
    page has one; none of ours has.
    """
    scripts = _TABLE.sub("", scripts)
    grid = _GRID.search(scripts)
    if grid is None:
        return scripts, ""
    link = f'<link rel="prefetch" as="script" id="grid-script" href="{grid[1]}">'
    return (scripts if grids else scripts.replace(grid[0], "")), link
