"""Small building blocks shared by all pages."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dpo.dashboard.theme import SYMBOL, blank
from dpo.severity import Severity

_TINTS = ("n4", "n3", "n2", "n1", "z", "p1", "p2", "p3", "p4")


def icon(name: str, size: int = 16) -> html.Span:
    """A mask from icons.css, in the colour of the text around it."""
    return html.Span(className=f"i i-{name}", style={"width": size, "height": size}, **{"aria-hidden": "true"})


def glyph(family: str | None, tuned: bool = True, rank: int = 0) -> html.Span:
    """Policy identity: shape is the family, filled is tuned, hollow is base.

    `rank` counts the runs of a family on screen: each has the colour of its curve (`theme.line_color`).
    """
    classes = f"glyph {SYMBOL[family]} {family or 'other'} {'solid' if tuned else 'hollow'}"
    return html.Span(className=classes + (f" step-{rank + 1}" if rank else ""), **{"aria-hidden": "true"})


def policy_name(family: str | None, tuned: bool, label: str, rank: int = 0) -> html.Span:
    """Glyph and name."""
    return html.Span([glyph(family, tuned, rank), label], className="policy")


def card(*children: Any, cls: str = "", **attributes: Any) -> html.Section:
    """A surface with a hairline border."""
    return html.Section(list(children), className=f"card {cls}".strip(), **attributes)


def box(*children: Any, cls: str = "", **attributes: Any) -> html.Div:
    """A plain part of a page."""
    return html.Div(list(children), **({"className": cls} if cls else {}), **attributes)


def page_title(title: str, sub: Any, *right: Any) -> html.Div:
    """The page's H1 with a line beneath and actions at the right."""
    return html.Div(
        [html.Div([html.H1(title), html.P(sub, className="sub")]), html.Div(list(right), className="row")],
        className="page-title",
    )


def card_head(title: Any, note: Any, *right: Any, cls: str = "") -> html.Div:
    """The head of a card: its title with a line beneath, and controls at the right."""
    return box(box(title, note), *right, cls=f"card-head {cls}".strip())


def light(state: Severity) -> html.Span:
    """A severity by shape first, colour second."""
    name, text = {
        "ok": ("check", "OK"), "warning": ("warn", "Check"), "fault": ("stop", "Problem"), "note": ("help", "Note"),
    }[state]  # fmt: skip
    return html.Span([icon(name, 14), html.Span(text, className="vh")], className=f"light {state}")


def action(name: str, label: str, **attributes: Any) -> Any:
    """An icon button with a tooltip that says the same as its accessible name."""
    return dmc.Tooltip(
        dmc.ActionIcon(icon(name), variant="subtle", color="gray", size=32, **{"aria-label": label}, **attributes),
        label=label,
    )


def button(
    text: str, icon_name: str | None = None, variant: str = "default", kbd: str | None = None, **attributes: Any
) -> Any:
    """A button; `filled` is the one main action of a screen."""
    attributes.setdefault("size", "sm")
    return dmc.Button(
        text,
        leftSection=icon(icon_name) if icon_name else None,
        variant=variant,
        rightSection=dmc.Kbd(kbd, size="xs") if kbd else None,
        **attributes,
    )


def dialog(children: Any, ident: str, title: str, size: int) -> Any:
    """A modal dialog, whose button to close it has a name (shell.js: its head is no banner)."""
    return dmc.Modal(
        children, id=ident, title=title, size=size, centered=True, closeButtonProps={"aria-label": "Close"}
    )


def number(label: str, **attributes: Any) -> Any:
    """A labelled number field without spinner buttons."""
    return dmc.NumberInput(label=label, size="sm", hideControls=True, className="num-input", **attributes)


def chart(ident: str, height: int, about: str, figure: dict[str, Any] | None = None) -> html.Figure:
    """A chart; `about` says in words what it shows, or is the ids of the texts that do (`#name #note`)."""
    named = {"aria-labelledby": about.replace("#", "")} if about.startswith("#") else {"aria-label": about}
    graph = dcc.Graph(
        id=ident,
        figure=figure or blank(),
        config={"displayModeBar": False, "responsive": True},
        style={"height": height},
    )
    # Its room is there before Plotly is: what stands below doesn't move.
    return html.Figure(graph, className="figure", role="img", style={"minHeight": height}, **named)


def tint_scale() -> html.Span:
    """The colours of tokens, from pushed down to pulled up."""
    return html.Span([html.I(className=name) for name in _TINTS], className="scale", **{"aria-hidden": "true"})


def problem_card(text: str) -> html.Section:
    """What went wrong, for a page's `role="alert"`."""
    return card(html.Div([icon("stop", 18), html.P(text)], className="row nowrap"), cls="pad problem")


def command(text: str, ident: str | None = None) -> html.Div:
    """A command line with a copy button (assets/js/shell.js copies the code beside it)."""
    # It scrolls where it is long: by keyboard, too.
    code = html.Code(text, tabIndex=0, **({"id": ident} if ident else {}))
    return html.Div([code, action("copy", "Copy command", className="js-copy")], className="cmd")
