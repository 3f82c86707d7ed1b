"""The documentation on the Docs page: every page leads to its document, and a document to others that are there."""

from __future__ import annotations

import re

import pytest

from dpo.dashboard.manual import GROUPS, document, titles
from dpo.dashboard.pages import PAGES
from dpo.errors import ConfigError


def test_every_page_has_a_document_and_every_link_leads_somewhere() -> None:
    known = titles()
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(known)
    assert {page.docs for page in PAGES if page.name != "docs"} <= set(known)
    assert known["curves"] == "Reading the curves"
    places = {f"/docs?page={name}" for name in known}
    places |= {f"/docs?page={name}#{section.ident}" for name in known for section in document(name)}
    seen = set()
    for name in known:
        for target in re.findall(r"\]\(([^)\s]+)\)", "".join(section.text for section in document(name))):
            seen.add(target)
            assert target.startswith(("https://", "data:image/svg+xml;base64,")) or target in places, (name, target)
    assert {"/docs?page=sweeps", "/docs?page=evaluation#doc-judges"} <= seen


def test_a_section_is_a_heading_with_what_is_below_it() -> None:
    for name in titles():
        sections = document(name)
        assert len({section.ident for section in sections}) == len(sections), name
        for section in sections:
            assert section.text.startswith("#") and section.text.count("```") % 2 == 0, (name, section.title)


@pytest.mark.parametrize("name", ["", "none", "../README", "curves.md", "/etc/passwd"])
def test_nothing_else_is_read(name: str) -> None:
    with pytest.raises(ConfigError, match="choose one of"):
        document(name)
