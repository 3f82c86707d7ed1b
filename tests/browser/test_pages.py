"""Pages come when they are first visited, and stay as they were left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from dpo.dashboard.application import ASSETS
from dpo.dashboard.web.modules import ENTRY, Modules


def test_a_page_comes_with_its_first_visit_and_stays(
    serve: Any, open_page: Any, tmp_path: Path, write_run: Any
) -> None:
    write_run(tmp_path / "a-run", "gpt2")
    page = open_page(serve([tmp_path]) + "/")
    prompt = page.locator("#cmp-prompt")
    prompt.fill("Kept while I look elsewhere?")
    assert page.locator("#tr-run-list, #rn-grid, #lens-table, #da-source").count() == 0
    page.evaluate("document.activeElement.blur()")  # single keys count outside of fields
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page.get_by_role("heading", name="Training", exact=True)).to_be_visible()
    page.wait_for_function("document.querySelectorAll('#tr-fig-loss .scatterlayer .trace').length > 0")
    scripts = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert any("plotly-basic" in name for name in scripts) and not any("plotly.min" in name for name in scripts)
    # What explains a page is a click away, and comes with dpo.
    page.get_by_role("link", name="About this page").click()
    expect(page.get_by_role("heading", level=1, name="Reading the curves")).to_be_visible()
    page.get_by_role("navigation", name="Documents").get_by_role("link", name="Glossary").click()
    expect(page.get_by_role("heading", level=1, name="Glossary")).to_be_visible()
    page.get_by_role("navigation", name="Documents").get_by_role("link", name="Training", exact=True).click()
    page.get_by_role("link", name="evaluation.md", exact=True).click()
    expect(page.get_by_role("heading", level=2, name="Judges", exact=True)).to_be_in_viewport()
    page.go_back()
    page.go_back()
    page.go_back()
    page.go_back()
    page.get_by_placeholder("Filter runs").fill("none of them")
    expect(page.locator("#tr-run-list")).to_contain_text("No run has that in its name")
    page.evaluate("scrollTo(0, 400)")
    assert page.evaluate("scrollY") > 0
    page.locator(".navigation").get_by_role("link", name="Lens").click()
    expect(page.get_by_role("heading", name="Lens", exact=True)).to_be_in_viewport()
    assert page.evaluate("scrollY") == 0  # a page begins at its beginning
    page.go_back()
    expect(page.locator("#tr-run-list")).to_contain_text("No run has that in its name")
    page.locator(".navigation").get_by_role("link", name="Compare").click()
    expect(prompt).to_have_value("Kept while I look elsewhere?")
    expect(page.locator(".navigation [aria-current=page]")).to_have_text("Compare")
    assert page.locator("#rn-grid, #da-source").count() == 0  # never visited


def test_the_first_tab_skips_to_the_page_and_a_page_that_did_not_come_is_asked_for_again(
    serve: Any, open_page: Any, tmp_path: Path
) -> None:
    page = open_page(serve([tmp_path]) + "/data")
    expect(page.get_by_role("heading", name="Data", exact=True)).to_be_visible()
    the_first_tab_skips_to_the_page(page)
    page.route("**/_dash-update-component*", lambda route: route.fulfill(status=204))
    page.locator(".navigation").get_by_role("link", name="Runs").click()
    expect(page.get_by_text("Opening Runs")).to_be_visible()
    page.unroute("**/_dash-update-component*")
    page.locator(".navigation").get_by_role("link", name="Data").click()
    page.locator(".navigation").get_by_role("link", name="Runs").click()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()


def the_first_tab_skips_to_the_page(page: Page) -> None:
    expect(page.locator("#page-data h1")).to_be_visible()
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="Skip to the page")
    expect(link).to_be_focused()
    expect(link).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    page.emulate_media(media="print")
    expect(page.locator("#page-data h1")).to_be_visible()
    for part in (".topbar", ".navigation", ".statusbar", ".skip"):
        expect(page.locator(part)).to_be_hidden()
    page.emulate_media(media="screen")


def test_dash_starts_when_all_modules_are_there_however_late(serve: Any, browser: Any, tmp_path: Path) -> None:
    url = serve([tmp_path])
    context = browser.new_context(color_scheme="dark")
    context.add_init_script("localStorage.setItem('dpo-asked', 'yes')")
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    held: list[Any] = []
    page.route("**/js/compare/controls.js", lambda route: held.append(route))
    page.goto(url, wait_until="commit")
    page.wait_for_function("window.DashRenderer && document.readyState !== 'loading'")
    expect(page.locator("#react-entry-point ._dash-loading")).to_be_visible()
    assert held and not page.locator("#page-compare").count()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")  # no flash of light
    for route in held:
        route.continue_()
    expect(page.locator("#cmp-prompt")).to_be_visible()
    seed = page.get_by_label("Seed", exact=True)
    before = seed.input_value()
    page.get_by_role("button", name="New seed").click()  # a callback of the module that was late
    expect(seed).not_to_have_value(before)
    assert not problems
    context.close()


def test_modules_are_fetched_side_by_side_once_and_remembered(serve: Any, browser: Any, tmp_path: Path) -> None:
    url = serve([tmp_path])
    page = browser.new_page()
    page.add_init_script("localStorage.setItem('dpo-asked', 'yes')")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/modules/" in request.url else None)
    held: list[Any] = []
    page.route(f"**/{ENTRY}", lambda route: held.append(route))
    page.goto(url, wait_until="commit")
    # Asked for by the document: none waits for the entry, to be found in its imports a round trip later.
    files = Modules(ASSETS).first()
    page.wait_for_function(
        "count => document.querySelectorAll('link[rel=modulepreload]').length === count", arg=len(files)
    )
    while len(set(asked)) < len(files):
        page.wait_for_event("request")
    assert sorted(address.split("/modules/")[1].split("/", 1)[1] for address in asked) == sorted(files)
    for route in held:
        route.continue_()
    page.unroute(f"**/{ENTRY}")
    expect(page.locator("#cmp-prompt")).to_be_visible()
    sizes = (
        "performance.getEntriesByType('resource').filter(({ name }) => name.includes('/modules/'))"
        ".map(({ transferSize }) => transferSize)"
    )
    page.reload()
    expect(page.locator("#cmp-prompt")).to_be_visible()
    assert page.evaluate(sizes) == [0] * len(files)
    page.close()


def test_a_grid_is_one_stop_of_the_tab_key(serve: Any, open_page: Any, tmp_path: Path, write_run: Any) -> None:
    for number in range(3):
        write_run(tmp_path / f"run-{number}", "gpt2")
    page = open_page(serve([tmp_path]) + "/runs")
    expect(page.locator("#rn-grid .ag-row").first).to_be_visible()
    inside = "document.activeElement.closest('.ag-root-wrapper') !== null"
    page.locator("#rn-grid .ag-header-cell[col-id=name]").focus()
    assert page.evaluate(inside)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(inside)
    for back, way in (("Shift+Tab", "PRECEDING"), ("Tab", "FOLLOWING")):
        page.locator("#rn-grid .ag-header-cell[col-id=name]").focus()
        page.keyboard.press(back)
        assert not page.evaluate(inside)
        grid = "document.querySelector('#rn-grid .ag-root-wrapper')"
        assert page.evaluate(f"{grid}.compareDocumentPosition(document.activeElement) & Node.DOCUMENT_POSITION_{way}")
