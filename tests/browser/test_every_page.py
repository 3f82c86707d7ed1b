"""What holds for every page as it comes: its policy allows all it does, and axe-core finds no fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from axe import Axe
from evaluations import stored
from playwright.sync_api import Browser, Page, expect

# Where each page has come, with what it draws by itself.
PAGES = {
    "/": "#cmp-story",
    "/?prompt=Hello": "#cmp-generate",
    "/training": "#page-training .main-svg >> nth=0",
    "/lens": "#page-lens h1",
    "/evaluate": "#ev-rows .ev-open >> nth=0",
    "/data": "#da-detect tbody tr >> nth=0",
    "/runs": ".ag-center-cols-container .ag-row >> nth=0",
}
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


def come(page: Page, url: str, drawn: str) -> None:
    page.goto(url)
    expect(page.locator(drawn)).to_be_visible()
    if "/runs" in url:
        expect(page.locator("#rn-frontier .main-svg").first).to_be_visible()


def test_every_page_keeps_its_policy_and_is_accessible(
    serve: Any, browser: Browser, tmp_path: Path, write_run: Any
) -> None:
    for name, family in (("one", "gpt2"), ("two", "t5")):
        write_run(tmp_path / name, family)
    stored(tmp_path / "evaluations" / "first", {"tuned": ["Longer, honestly."] * 8, "base": ["Short."] * 8})
    url = serve([tmp_path])
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.add_init_script(WATCH)
    page = context.new_page()
    page.set_default_timeout(60_000)
    axe = Axe(page)
    for path, drawn in PAGES.items():
        come(page, url + path, drawn)
        assert page.evaluate("window.violations") == [], path
        axe.look(path)
    assert axe.found == {}
    # A script that somebody got into the page would not run.
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    assert page.evaluate("[window.ran, window.violations.length]") == [None, 1]
    context.close()
