"""The documentation on the Docs page: every page leads to its document, and a document to others that are there."""

from __future__ import annotations

import re

import pytest

from dpo.dashboard.manual import document, titles
from dpo.dashboard.pages import PAGES
from dpo.errors import ConfigError


def test_every_page_has_a_document_and_every_link_leads_somewhere() -> None:
    known = titles()
    assert {page.docs for page in PAGES if page.name != "docs"} <= set(known)
    assert known["curves"] == "Reading the curves"
    seen = set()
    for name in known:
        for target in re.findall(r"\]\(([^)\s]+)\)", document(name)):
            seen.add(target)
            assert target.startswith("https://") or target.removeprefix("/docs?page=") in known, (name, target)
    assert "/docs?page=sweeps" in seen


@pytest.mark.parametrize("name", ["", "none", "../README", "curves.md", "/etc/passwd"])
def test_nothing_else_is_read(name: str) -> None:
    with pytest.raises(ConfigError, match="choose one of"):
        document(name)
