"""What holds for every page as it comes: its policy allows all it does, nothing moves, and axe-core finds no fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from axe import Axe
from evaluations import stored
from playwright.sync_api import Browser, Page

# Where each page has come, with what it draws by itself.
PAGES = {
    "/": "#cmp-story",
    "/?prompt=Hello": "#cmp-generate",
    "/training": "#tr-fig-loss .scatterlayer .trace >> nth=0",
    "/lens": "#lens-heats .tok >> nth=0",
    "/evaluate": "#ev-rows .ev-open >> nth=0",
    "/data": "#da-detect tbody tr >> nth=0",
    "/docs?page=generation": ".docs-text h1",
    "/sweep?name=rates": ".sweep-trials tbody tr >> nth=0",
    "/runs": "#rn-frontier .main-svg >> nth=0",
}
MOST_SHIFT = 0.05
"""Cumulative layout shift; at most 0.1 is called good (web.dev/articles/cls)."""
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
window.shifts = [];
new PerformanceObserver((list) => list.getEntries().forEach(({ value, hadRecentInput, sources }) => {
  if (!hadRecentInput) window.shifts.push([value, ...sources.map(({ node, previousRect: a, currentRect: b }) =>
    `${node?.id || node?.className || node?.nodeName} ${a.y}>${b.y} ${a.height}>${b.height}`)]);
})).observe({ type: "layout-shift", buffered: true });
"""


def come(page: Page, url: str, drawn: str) -> None:
    page.goto(url)
    page.locator(drawn).wait_for()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_every_page_keeps_its_policy_stays_in_place_and_is_accessible(
    serve: Any, browser: Browser, tmp_path: Path, write_run: Any
) -> None:
    for name, family in (("rates-000", "gpt2"), ("rates-001", "t5")):
        write_run(tmp_path / name, family)
    stored(tmp_path / "evaluations" / "first", {"tuned": ["Longer, honestly."] * 8, "base": ["Short."] * 8})
    url = serve([tmp_path])
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    context.add_init_script(WATCH)
    page = context.new_page()
    page.set_default_timeout(60_000)
    moved, axe = {}, Axe(page)
    for path, drawn in PAGES.items():
        come(page, url + path, drawn)
        assert page.evaluate("window.violations") == [], path
        shifts = page.evaluate("window.shifts")
        if sum(value for value, *_ in shifts) > MOST_SHIFT:
            moved[path] = shifts
        axe.look(path)
    assert moved == {}, "\n".join(map(str, moved.items()))
    assert axe.found == {}
    # A script that somebody got into the page would not run.
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    assert page.evaluate("[window.ran, window.violations.length]") == [None, 1]
    context.close()
