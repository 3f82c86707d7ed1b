"""Dash's HTML components as text, for parts of a page that change many times a minute.

Each component on a page takes part in every update of Dash; hundreds of them, replaced every few
seconds, are what makes a page slow.  Parts without callbacks need none of that.
"""

from __future__ import annotations

from html import escape
from typing import Any

_NAMES = {"className": "class", "htmlFor": "for", "tabIndex": "tabindex"}
_VOID = {"br", "hr", "img", "input"}


def literal(text: str) -> str:
    """A name for a chart's label: Plotly reads a little HTML there, links among it.

    >>> literal('<a href="http://elsewhere">run</a>')
    '&lt;a href="http://elsewhere">run&lt;/a>'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;")


def to_html(node: Any) -> str:
    """Text is escaped, None left out, `style` written as CSS; for `dash.html` components only."""
    if node is None:
        return ""
    if isinstance(node, list | tuple):
        return "".join(to_html(child) for child in node)
    if not hasattr(node, "_type"):
        return escape(str(node))
    tag = str(node._type).lower()
    attributes = []
    for name in node._prop_names:
        value = getattr(node, name, None)
        if name != "children" and value is not None and value is not False:
            attributes.append(_attribute(name, value))
    for name, value in vars(node).items():  # aria-… and data-…
        if name.startswith(("aria-", "data-")) and name not in node._prop_names:
            attributes.append(_attribute(name, value))
    start = "".join(f" {attribute}" for attribute in attributes)
    return f"<{tag}{start}>" if tag in _VOID else f"<{tag}{start}>{to_html(getattr(node, 'children', None))}</{tag}>"


def _attribute(name: str, value: Any) -> str:
    key = _NAMES.get(name, name)
    if value is True and not name.startswith("aria-"):
        return key
    if isinstance(value, dict):
        value = ";".join(f"{_dashed(part)}:{size}px" if isinstance(size, int) else f"{_dashed(part)}:{size}"
                         for part, size in value.items())  # fmt: skip
    return f'{key}="{escape(str(value), quote=True)}"'


def _dashed(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
