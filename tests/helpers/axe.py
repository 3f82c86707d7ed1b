"""What axe-core finds on a page as it stands, in both themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

AXE = Path(__file__).parents[1] / "js" / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Themes are colours and nothing else: the other rules find the same in both.
RULES = {"light": {"type": "tag", "values": TAGS}, "dark": {"type": "rule", "values": ["color-contrast"]}}
# A colour on its way to the other theme's is neither's: transitions end at once. A skeleton shimmers for ever.
SETTLED = """
() => document.getAnimations()
  .filter(({ effect }) => Number.isFinite(effect.getComputedTiming().endTime))
  .forEach((animation) => animation.finish())
"""
FAULTS = """
async (runOnly) => (await axe.run(document, { resultTypes: ["violations"], preload: false, runOnly })).violations.map(
  ({ id, impact, nodes }) => `${impact} ${id}: ` +
    nodes.map(({ target, html, any }) => `${target} ${html.slice(0, 160)} ${any[0]?.message ?? ""}`).join(" | "))
"""


class Axe:
    """A page, and what was found on it by the name of its state and the theme."""

    def __init__(self, page: Page) -> None:
        if not AXE.is_file():
            pytest.skip("axe-core is not there: `make js` installs it")
        self.page = page
        self.found: dict[str, list[str]] = {}

    def look(self, state: str) -> None:
        """What axe finds as the page stands, in the light theme, which it is left in, and in the dark one."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        for theme in ("light", "dark"):
            expect(self.page.locator("html")).to_have_attribute("data-mantine-color-scheme", theme)
            self.page.evaluate(SETTLED)
            faults = self.page.evaluate(FAULTS, RULES[theme])
            if faults:
                self.found[f"{state}, {theme}"] = faults
            self.page.evaluate("document.getElementById('theme-switch').click()")  # also where a dialog covers it
        self.page.evaluate(SETTLED)
