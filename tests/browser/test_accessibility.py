"""No state of a page has anything that axe-core finds fault with, in either theme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe import Axe
from evaluations import stored
from playwright.sync_api import Page, expect

from dpo.runs import BUNDLED_RUNS

WAIT = 120_000
"""Loading policies and what an audit computes with, on a machine that has other work."""


def visit(page: Page, name: str) -> None:
    """Go to a page by the navigation that is shown."""
    page.locator(".navigation, .tabbar").get_by_role("link", name=name).locator("visible=true").last.click()
    expect(page.locator(f"#page-{name.lower()} h1").first).to_be_attached()


def first_visit_walk_and_help(axe: Axe) -> None:
    page = axe.page
    expect(page.locator("#cmp-story-why")).to_be_visible()
    axe.look("first visit")
    page.get_by_role("button", name="Show me around").first.click()
    expect(page.locator(".walk")).to_be_visible()
    axe.look("walk")
    page.keyboard.press("Escape")
    page.locator("#open-help").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    axe.look("help")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Search commands").fill("ask t5")
    expect(page.locator("#palette-list").get_by_role("option").first).to_contain_text("Ask T5")
    axe.look("command palette")
    page.keyboard.press("Escape")


def compare(axe: Axe) -> None:
    page = axe.page
    page.get_by_role("button", name="Try yours").click()
    axe.look("Compare")
    page.set_viewport_size({"width": 420, "height": 900})
    expect(page.locator(".tabbar")).to_be_visible()
    axe.look("Compare, narrow")
    page.set_viewport_size({"width": 1440, "height": 900})


def training_and_its_form(axe: Axe) -> None:
    page = axe.page
    visit(page, "Training")
    page.wait_for_function("document.querySelectorAll('#tr-fig-loss .scatterlayer .trace').length > 0")
    axe.look("Training")
    page.get_by_role("button", name="New run").first.click()
    page.get_by_label("Search settings").fill("pull towards")
    page.locator("#st-f-beta").fill("-1")
    expect(page.locator("#st-f-beta-error")).to_contain_text("must be above 0")
    page.get_by_label("Search settings").fill("")
    axe.look("new run, with a mistake")
    page.keyboard.press("Escape")


def runs_and_a_run(axe: Axe) -> None:
    page = axe.page
    visit(page, "Runs")
    expect(page.locator("#rn-grid .ag-row").first).to_be_visible()
    axe.look("Runs")
    page.get_by_role("button", name="New sweep").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    axe.look("new sweep")
    page.keyboard.press("Escape")
    page.locator("#rn-grid").get_by_role("link").first.click()
    expect(page.locator("#page-run h1")).to_be_visible(timeout=WAIT)
    expect(page.locator("#page-run .scatterlayer .trace").first).to_be_attached()
    axe.look("run")


def lens_evaluate_and_data(axe: Axe) -> None:
    page = axe.page
    visit(page, "Evaluate")
    expect(page.locator("#ev-rows .ev-open").first).to_be_visible()
    axe.look("Evaluate")
    visit(page, "Lens")
    axe.look("Lens, being scored")
    expect(page.locator("#lens-heats .tok.sel")).to_be_visible(timeout=WAIT)
    axe.look("Lens")
    visit(page, "Data")
    expect(page.locator("#da-detect tbody tr")).to_have_count(3)
    axe.look("Data")
    page.get_by_role("button", name="Audit", exact=True).click()
    expect(page.locator("#da-rows .ag-row").first).to_be_visible(timeout=WAIT)
    axe.look("Data, audited")


PARTS = (
    first_visit_walk_and_help,
    compare,
    training_and_its_form,
    runs_and_a_run,
    lens_evaluate_and_data,
)


@pytest.mark.slow  # fifteen states, one after the other; test_every_page.py has the pages as they come
@pytest.mark.timeout(600)
def test_no_state_of_a_page_has_a_violation(serve: Any, open_page: Any, tmp_path: Path) -> None:
    stored(tmp_path / "evaluations" / "first", {"tuned": ["Longer, honestly."] * 8, "base": ["Short."] * 8})
    axe = Axe(open_page(serve([BUNDLED_RUNS, tmp_path]) + "/", width=1440, first_visit=True))
    for part in PARTS:
        part(axe)
    assert axe.found == {}
