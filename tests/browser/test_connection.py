"""A server that is gone: every page says so, nothing is thrown away, and what had not come comes once it is back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asking import ask, press_generate, wait_done
from playwright.sync_api import Browser, expect

from dpo.runs import BUNDLED_RUNS

GONE = "The server does not answer"


def test_a_lost_server_takes_nothing_with_it(serve: Any, browser: Browser, tmp_path: Path) -> None:
    """Not by `open_page`: Chromium notes each request that found nobody as an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(serve([tmp_path, BUNDLED_RUNS]) + "/?prompt=Tea&max_new_tokens=8")
    ask(page, "Tea?", tokens=8)
    wait_done(page)
    answers = [page.locator(f"#cmp-out-{pane}").inner_text() for pane in range(4)]
    progress = page.locator("#cmp-progress").inner_text()
    expect(page.locator("#connection")).to_be_hidden()

    context.set_offline(True)
    expect(page.locator("#connection")).to_contain_text(GONE)
    page.locator("#cmp-generate").click()
    expect(page.locator("#cmp-error")).to_contain_text("cannot be reached")
    assert [page.locator(f"#cmp-out-{pane}").inner_text() for pane in range(4)] == answers
    expect(page.locator("#cmp-progress")).to_have_text(progress)
    page.locator('.navigation a[href="/data"]').click()
    expect(page.locator("#page-data")).to_have_text("Opening Data")

    context.set_offline(False)
    expect(page.locator("#connection")).to_contain_text("answers again")
    expect(page.locator("#page-data h1")).to_be_visible()
    expect(page.locator("#connection")).to_be_hidden()
    page.locator('.navigation a[href="/"]').click()
    press_generate(page)
    wait_done(page)
    assert [page.locator(f"#cmp-out-{pane}").inner_text() for pane in range(4)] == answers
    context.close()
