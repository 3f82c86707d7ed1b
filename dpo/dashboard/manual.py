"""The Docs page: the documentation that comes with dpo, to which every page leads; it needs no network."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

from dash import Dash, Input, Output, State, dcc, html, no_update

from dpo.dashboard.components import box, card, problem_card
from dpo.dashboard.workbench import Workbench
from dpo.errors import ConfigError, DpoError, quoted
from dpo.resources import resource

_FIRST = "training"
_LINK = re.compile(r"(!?)\[([^\]]+)\]\(([^)\s]+)\)")


def titles() -> dict[str, str]:
    """The documents by name, and what each is called: its first line."""
    found = {}
    for path in sorted(resource("docs").glob("*.md")):
        with path.open(encoding="utf-8") as file:
            found[path.stem] = file.readline().lstrip("# ").replace("`", "").strip()
    return found


def document(name: str) -> str:
    """A document as Markdown; what it links to among the others leads to them on this page, files of the repository
    are named alone.

    Raises:
        ConfigError: there is no document of that name.
    """
    known = titles()
    if name not in known:
        raise ConfigError(f"There is no document {quoted(name)}: choose one of {', '.join(known)}")

    def lead(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if picture:
            return f"*{text}*"
        if target.startswith(("http://", "https://")):
            return link[0]
        other = target.partition("#")[0].removesuffix(".md")
        return f"[{text}]({address(other)})" if other in known else text

    return _LINK.sub(lead, (resource("docs") / f"{name}.md").read_text(encoding="utf-8"))


def address(name: str) -> str:
    """Where a document is read."""
    return f"/docs?page={name}"


def page(workbench: Workbench) -> list[Any]:
    """All documents by name, and the one that the address means."""
    links = [html.A(title, href=address(name), className="js-nav") for name, title in titles().items()]
    return [
        html.Div(id="docs-problem", role="alert"),
        box(
            html.Nav(links, className="docs-list", **{"aria-label": "Documents"}),
            card(dcc.Markdown("", id="docs-text", className="docs-text"), cls="pad docs-card"),
            cls="docs",
        ),
    ]  # fmt: skip


def register(app: Dash, workbench: Workbench) -> None:
    """What the address means is read here."""

    @app.callback(
        Output("docs-text", "children"), Output("docs-problem", "children"),
        Input("url", "search"), State("url", "pathname"),
    )  # fmt: skip
    def show(search: str | None, path: str | None) -> tuple[Any, Any]:
        if path != "/docs":
            return no_update, no_update
        try:
            return document((parse_qs((search or "").lstrip("?")).get("page") or [_FIRST])[0]), None
        except DpoError as error:
            return "", problem_card(str(error))
