"""The Docs page: the documentation that comes with dpo, to which every page leads; it needs no network."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from dash import Dash, Input, Output, State, dcc, html, no_update

from dpo.dashboard.components import box, problem_card
from dpo.dashboard.workbench import Workbench
from dpo.errors import ConfigError, DpoError, quoted
from dpo.resources import resource

_FIRST = "training"
_LINK = re.compile(r"(!?)\[([^\]]+)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^##+ (.+)$", re.MULTILINE)
GROUPS = {
    "Train": ("install", "data", "training", "curves", "losses", "sweeps", "pretraining", "scale"),
    "Ask and judge": ("generation", "lens", "evaluation", "harnesses", "publishing"),
    "Look up": ("glossary", "bundled", "study", "benchmarks", "security", "reliability", "compatibility"),
}
"""The documents in the order in which one reads them."""


@dataclass(frozen=True)
class Chapter:
    """A heading with what stands below it, as Markdown; `ident` is what a link within the page names."""

    title: str
    ident: str
    text: str


def titles() -> dict[str, str]:
    """The documents by name, and what each is called: its first line."""
    found = {}
    for path in sorted(resource("docs").glob("*.md")):
        with path.open(encoding="utf-8") as file:
            found[path.stem] = file.readline().lstrip("# ").replace("`", "").strip()
    return found


def document(name: str) -> list[Chapter]:
    """A document's sections; what it links to among the others leads to them on this page, files of the repository are
    named alone, and pictures are in the text.

    Raises:
        ConfigError: there is no document of that name.
    """
    known = titles()
    if name not in known:
        raise ConfigError(f"There is no document {quoted(name)}: choose one of {', '.join(known)}")

    def lead(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        if picture:
            return f"![{text}]({_inline(resource('docs') / target)})"
        if target.startswith(("http://", "https://")):
            return link[0]
        file, _, heading = target.partition("#")
        other = file.removesuffix(".md") or name
        return f"[{text}]({address(other, heading)})" if other in known else text

    text = _LINK.sub(lead, (resource("docs") / f"{name}.md").read_text(encoding="utf-8"))
    fences = [fence.span() for fence in _FENCE.finditer(text)]
    starts = [
        heading
        for heading in _HEADING.finditer(text)
        if not any(first < heading.start() < last for first, last in fences)
    ]
    ends = [heading.start() for heading in starts] + [len(text)]
    return [Chapter(known[name], "doc-top", text[: ends[0]])] + [
        Chapter(heading[1].replace("`", ""), _ident(heading[1]), text[heading.start() : end])
        for heading, end in zip(starts, ends[1:], strict=True)
    ]


def address(name: str, heading: str = "") -> str:
    """Where a document is read, from one of its headings on (as GitHub writes it)."""
    return f"/docs?page={name}" + (f"#{_ident(heading)}" if heading else "")


def _ident(heading: str) -> str:
    """A heading as GitHub's links name it, apart from the ids of the app."""
    return "doc-" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _inline(picture: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.read_bytes()).decode()}"


def page(workbench: Workbench) -> list[Any]:
    """All documents by name, and the one that the address means."""
    known = titles()
    groups = [
        box(
            html.H2(group, className="label"),
            *(html.A(known[name], href=address(name), className="js-nav", **{"data-doc": name}) for name in names),
        )
        for group, names in GROUPS.items()
    ]
    return [
        html.Div(id="docs-problem", role="alert"),
        box(
            html.Nav(groups, className="docs-list", **{"aria-label": "Documents"}),
            html.Div(id="docs-shown", className="docs-shown"),
            cls="docs",
        ),
    ]


def register(app: Dash, workbench: Workbench) -> None:
    """What the address means is read here."""

    @app.callback(
        Output("docs-shown", "children"), Output("docs-problem", "children"),
        Input("url", "search"), State("url", "pathname"),
    )  # fmt: skip
    def show(search: str | None, path: str | None) -> tuple[Any, Any]:
        if path != "/docs":
            return no_update, no_update
        try:
            name = (parse_qs((search or "").lstrip("?")).get("page") or [_FIRST])[0]
            return _drawn(name, document(name)), None
        except DpoError as error:
            return [], problem_card(str(error))


def _drawn(name: str, sections: list[Chapter]) -> list[Any]:
    """The text, and beside it what it has."""
    texts = [html.Section(dcc.Markdown(section.text), id=section.ident) for section in sections]
    shown = [html.Article(texts, className="card pad docs-text", **{"data-doc": name})]
    if len(sections) > 2:
        links = [html.A(section.title, href=f"#{section.ident}") for section in sections]
        shown.append(html.Nav(links, className="docs-contents", **{"aria-label": "On this page"}))
    return shown
