"""Asking on the Compare page, as the browser tests do it."""

from __future__ import annotations

from playwright.sync_api import Page, expect

_RUN = "window.dpo.compare?.state()?.id"


def press_generate(page: Page) -> None:
    """Press Generate, and see that a new run began: what stands there from before is not its answer."""
    before = page.evaluate(_RUN)
    page.get_by_role("button", name="Generate").click()
    page.wait_for_function(f"before => {_RUN} !== before", arg=before)


def ask(page: Page, prompt: str = "Do you like tea?", tokens: int = 12) -> None:
    """Fill in the prompt and its length, and generate."""
    page.get_by_role("textbox", name="Prompt").fill(prompt)
    page.get_by_label("Max new tokens").fill(str(tokens))
    press_generate(page)


def wait_done(page: Page, count: int = 4) -> None:
    """Wait until so many answers are there."""
    expect(page.locator("#cmp-progress")).to_contain_text(f"{count} of {count} answered", timeout=120_000)
