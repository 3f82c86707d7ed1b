"""The Training page in a browser: curves of both families, live updates, states, and the address."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_charts import points, until
from events import old_gpt2, old_t5
from playwright.sync_api import Page, Route, expect
from run_rows import row

from dpo.runs import RunRecord

Write = Callable[..., RunRecord]


@pytest.fixture
def roots(tmp_path: Path, write_run: Write) -> list[Path]:
    write_run(tmp_path / "t5-run", "t5")
    write_run(tmp_path / "gpt2-run", "gpt2", slope=0.02)
    return [tmp_path]


def test_a_visit_of_two_runs(serve: Any, open_page: Any, roots: list[Path]) -> None:
    page = open_page(serve(roots) + "/training")
    both_families_stand_in_the_three_charts(page)
    answers_follow_the_step(page)
    a_point_shows_what_was_said_there(page)
    a_chart_is_a_table_and_files_and_fills_the_screen(page)


def both_families_stand_in_the_three_charts(page: Page) -> None:
    for title in ("Loss", "Chosen reward", "Rejected reward"):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    for chart in ("loss", "chosen", "rejected"):
        until(page, chart, "T5", 20)
        until(page, chart, "GPT-2", 20)
        assert points(page, chart)["T5 held out"] == 2
    for chart in ("loss", "margin", "logps", "lr"):  # lines on the screen, not only in the figure
        page.wait_for_function(f"document.querySelectorAll('#tr-fig-{chart} .scatterlayer .trace').length >= 2")
    expect(page.locator("#tr-note-chosen")).to_have_text("T5 0.5, GPT-2 0.2 held out")
    expect(page.get_by_text("T5: no rule finds a fault").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def answers_follow_the_step(page: Page) -> None:
    expect(page.get_by_text("t5 at 19 🍵")).to_be_visible()
    expect(page.get_by_text("gpt2 at 19 🍵")).to_be_visible()
    page.get_by_role("slider", name="Step of the answers").press("ArrowLeft")
    expect(page.get_by_text("t5 at 0 🍵")).to_be_visible()
    page.get_by_role("slider", name="Step of the answers").press("ArrowRight")


def a_point_shows_what_was_said_there(page: Page) -> None:
    expect(page.get_by_text("t5 at 19 🍵")).to_be_visible()
    box = page.locator("#tr-fig-loss .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] * 0.31, box["y"] + box["height"] / 2)
    for chart in ("loss", "chosen"):  # a look at one chart is a look at all
        expect(page.locator(f"#tr-note-{chart}")).to_contain_text(re.compile(r"^Step \d+ · T5 "))
    page.mouse.click(box["x"] + box["width"] * 0.31, box["y"] + box["height"] / 2)
    expect(page.get_by_text("t5 at 0 🍵")).to_be_visible()
    page.wait_for_function(
        "document.querySelector('#tr-fig-chosen .js-plotly-plot').layout.shapes[0].visible"  # the line at that step
    )
    page.keyboard.press("]")
    expect(page.get_by_text("t5 at 19 🍵")).to_be_visible()
    expect(page.locator(".answers-run.seq2seq .new")).to_have_text("19")


def a_chart_is_a_table_and_files_and_fills_the_screen(page: Page) -> None:
    page.get_by_label("More for Loss").click()
    page.locator("#tr-card-loss").get_by_role("button", name="Table").click()
    expect(page.locator("#tr-card-loss tbody tr")).to_have_count(20)
    page.get_by_label("More for Loss").click()
    for name in ("CSV", "PNG", "SVG"):
        if not page.locator("#tr-card-loss").get_by_role("button", name=name).is_visible():
            page.get_by_label("More for Loss").click()
        with page.expect_download() as download:
            page.locator("#tr-card-loss").get_by_role("button", name=name).click()
        content = Path(download.value.path()).read_bytes()
        assert content and download.value.suggested_filename == f"loss.{name.lower()}"
        if name == "CSV":
            head, *rows = content.decode().splitlines()
            assert head.startswith("Step,T5 (raw),T5 (smoothed 0.60),T5 (held out),GPT-2 (raw),") and len(rows) == 20
        else:
            assert content.startswith(b"\x89PNG") if name == "PNG" else b"<svg" in content[:200]
    page.get_by_label("More for Loss").click()
    page.locator("#tr-card-loss").get_by_role("button", name="Full screen").click()
    page.wait_for_function(
        "document.fullscreenElement?.id === 'tr-card-loss' &&"
        " document.querySelector('#tr-fig-loss .main-svg').clientWidth > innerWidth * 0.8"
    )
    page.evaluate("document.exitFullscreen()")
    page.wait_for_function("document.querySelector('#tr-fig-loss .main-svg').clientWidth < innerWidth * 0.5")


def test_a_running_run_grows_without_a_reload_unless_paused(
    serve: Any, open_page: Any, tmp_path: Path, write_run: Write
) -> None:
    record = write_run(tmp_path / "live", "gpt2", steps=5, state="running")
    page = open_page(serve([tmp_path]) + "/training")
    until(page, "loss", "GPT-2", 5)
    expect(page.locator("#tr-live")).to_contain_text("live · step 5 of 40")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    record.log(row(5))
    with page.expect_response(lambda response: "/api/training" in response.url):
        pass  # the page goes on asking
    with page.expect_response(lambda response: "/api/training" in response.url):
        pass
    assert points(page, "loss")["GPT-2"] == 5
    page.get_by_role("button", name="Go on").click()
    until(page, "loss", "GPT-2", 6)
    for step in (6, 7):
        record.log(row(step))
    until(page, "loss", "GPT-2", 8)
    record.update(state="finished")
    expect(page.locator("#tr-live")).to_be_hidden()
    expect(page).to_have_title("● live has finished")  # who looks elsewhere sees it; who is back has read it
    expect(page.locator("#tr-alert")).to_have_text("live has finished")
    page.keyboard.press("Shift")
    expect(page).to_have_title("Training · DPO Workbench")


def test_choosing_runs_and_views_is_kept_in_the_address(serve: Any, open_page: Any, roots: list[Path]) -> None:
    page = open_page(serve(roots) + "/training")
    until(page, "loss", "T5", 20)
    page.get_by_role("checkbox", name="Show t5-run").uncheck()
    page.wait_for_function(
        "document.querySelector('#tr-fig-loss .js-plotly-plot').data.every(t => !t.name.startsWith('T5'))"
    )
    page.locator("#tr-axis").get_by_text("Examples").click()
    page.wait_for_function("Math.max(...document.querySelector('#tr-fig-loss .js-plotly-plot').data[0].x) === 76")
    page.wait_for_function("location.search.includes('x=Examples')")
    again = open_page(page.url)
    again.wait_for_function(
        "Math.max(...(document.querySelector('#tr-fig-loss .js-plotly-plot')?.data?.[0]?.x || [0])) === 76"
    )
    expect(again.get_by_role("checkbox", name="Show t5-run")).not_to_be_checked()


def test_no_runs_says_what_to_do(serve: Any, open_page: Any, tmp_path: Path, write_run: Write) -> None:
    page = open_page(serve([tmp_path]) + "/training")
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    expect(page.get_by_text("dpo train --model demo/gpt2")).to_be_visible()
    write_run(tmp_path / "first", "t5")
    expect(page.get_by_role("checkbox", name="Show first")).to_be_visible()


def test_no_width_scrolls_sideways(serve: Any, open_page: Any, roots: list[Path]) -> None:
    """In no frame: charts that are still as wide as the page was push nothing aside until they are drawn anew."""
    page = open_page(serve(roots) + "/training", width=360, scheme="dark")
    page.wait_for_function("document.querySelectorAll('#tr-fig-loss .scatterlayer .trace').length >= 2")
    page.evaluate(
        "() => { window.over = []; const look = () => {"
        " const over = document.documentElement.scrollWidth - innerWidth;"
        " if (over > 0) window.over.push([innerWidth, over]); requestAnimationFrame(look); }; look(); }"
    )
    for width in (360, 768, 1440, 360):
        page.set_viewport_size({"width": width, "height": 900})
        # Beside the charts the list of runs cannot be folded: it is there, however narrow the window was.
        expect(page.locator("#tr-run-list input").first).to_be_visible(visible=width == 1440)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width
        page.wait_for_function(  # each is drawn as wide as its place in the end, also where that grew slowly
            "[...document.querySelectorAll('#page-training [data-chart]:not([hidden]) .js-plotly-plot')]"
            ".every(plot => Math.abs(plot.clientWidth - plot.querySelector('.main-svg')?.clientWidth) < 2)"
        )
    assert page.evaluate("window.over") == []
    assert page.evaluate("document.documentElement.dataset.mantineColorScheme") == "dark"


def test_keys_and_theme(serve: Any, open_page: Any, roots: list[Path]) -> None:
    page = open_page(serve(roots) + "/training")
    until(page, "loss", "T5", 20)
    page.keyboard.press("g")
    page.keyboard.press("c")
    expect(page.get_by_role("textbox", name="Prompt")).to_be_visible()
    page.get_by_role("button", name="Switch between light and dark").click()
    page.wait_for_function("document.documentElement.dataset.mantineColorScheme === 'dark'")
    page.reload()
    page.wait_for_function("document.documentElement.dataset.mantineColorScheme === 'dark'")
    expect(page.get_by_role("textbox", name="Prompt")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Shortcuts")).to_be_visible()


def test_the_bundled_runs_are_there(serve: Any, open_page: Any) -> None:
    from dpo.runs import BUNDLED_RUNS

    page = open_page(serve([BUNDLED_RUNS]) + "/training")
    for family in ("t5", "gpt2"):
        info = json.loads((BUNDLED_RUNS / f"Llama-3-{family}-dpo" / "run.json").read_text())
        assert info["step_zero"]["passed"]
        expect(page.get_by_role("checkbox", name=f"Show Llama-3-{family}-dpo", exact=True)).to_be_checked()
    page.wait_for_function("document.querySelector('#tr-fig-chosen .js-plotly-plot')?.data?.length >= 4")


def axis_range(page: Page, chart: str) -> list[float]:
    """What part of the horizontal axis a chart shows."""
    return page.evaluate(  # type: ignore[no-any-return]
        "id => document.querySelector(`#${id} .js-plotly-plot`)._fullLayout.xaxis.range", f"tr-fig-{chart}"
    )


def drag(page: Page, chart: str, start: float, end: float) -> None:
    """Zoom by dragging over a part of a chart (shares of its width)."""
    page.wait_for_function(f"document.querySelectorAll('#tr-fig-{chart} .scatterlayer .trace').length > 0")
    box = page.locator(f"#tr-fig-{chart} .nsewdrag").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (start + end) / 2, middle, steps=4)
    page.mouse.move(box["x"] + box["width"] * end, middle, steps=4)
    page.mouse.up()


def test_logs_of_other_trainers_open_without_a_flag_and_are_diagnosed(
    serve: Any, open_page: Any, tmp_path: Path
) -> None:
    old_t5(tmp_path)
    old_gpt2(tmp_path)
    page = open_page(serve([tmp_path]) + "/training")
    for title in ("Loss", "Chosen reward", "Rejected reward"):
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    for chart in ("loss", "chosen", "rejected"):
        until(page, chart, "T5", 40)
        until(page, chart, "GPT-2", 11)
    expect(page.locator('[data-code="step-0 mismatch"]')).to_contain_text("The loss starts at 8.05")
    expect(page.locator('[data-code="saturation"] h3')).to_have_text("GPT-2: the pairs are separated completely")
    expect(page.locator("#tr-kpis")).to_contain_text("policy and reference do not start equal")
    page.locator("#tr-axis").get_by_text("Tokens").click()
    expect(page.locator("#tr-note-loss")).to_contain_text("did not log tokens: choose another axis")


def test_zoom_is_shared_and_stays_while_points_arrive(
    serve: Any, open_page: Any, tmp_path: Path, write_run: Write
) -> None:
    record = write_run(tmp_path / "live", "gpt2", steps=20, state="running")
    page = open_page(serve([tmp_path]) + "/training")
    until(page, "loss", "GPT-2", 20)
    drag(page, "loss", 0.25, 0.75)
    page.wait_for_function("document.querySelector('#tr-fig-loss .js-plotly-plot')._fullLayout.xaxis.range[0] > 2")
    low, high = axis_range(page, "loss")
    assert 2 < low < high < 18
    page.wait_for_function(
        "low => Math.abs(document.querySelector('#tr-fig-rejected .js-plotly-plot')._fullLayout.xaxis.range[0] - low)"
        " < 1e-6",
        arg=low,
    )
    for step in range(20, 24):
        record.log(row(step))
    until(page, "loss", "GPT-2", 24)
    until(page, "rejected", "GPT-2", 24)
    assert axis_range(page, "loss") == pytest.approx([low, high])
    assert axis_range(page, "rejected") == pytest.approx([low, high])
    page.locator("#tr-fig-loss .nsewdrag").dblclick()
    page.wait_for_function("document.querySelector('#tr-fig-rejected .js-plotly-plot')._fullLayout.xaxis.range[1] > 20")
    a_double_click_fits_the_data_however_busy_the_page_is(page, record)


def a_double_click_fits_the_data_however_busy_the_page_is(page: Page, record: RunRecord) -> None:
    """Neither an answer that was asked for before it, nor a page busy between the two clicks, undoes it."""
    ends = "document.querySelector('#tr-fig-rejected .js-plotly-plot')._fullLayout.xaxis.range"
    for busy in (False, True):
        drag(page, "loss", 0.25, 0.75)
        page.wait_for_function(f"{ends}[0] > 2 && dpo.training.settled()")
        release = hold(page, "**/api/curves")
        record.log(row(24 + busy))
        with page.expect_request("**/api/curves"):
            pass
        if busy:
            box = page.locator("#tr-fig-loss .nsewdrag").bounding_box()
            assert box is not None
            page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            page.evaluate("for (const end = Date.now() + 500; Date.now() < end; );")
            page.mouse.down(click_count=2)
            page.mouse.up(click_count=2)
        else:
            page.locator("#tr-fig-loss .nsewdrag").dblclick()
        page.wait_for_function(f"{ends}[1] > 18")
        release()
        until(page, "rejected", "GPT-2", 25 + busy)
        page.wait_for_function("dpo.training.settled()")
        assert page.evaluate(ends)[1] > 18
        page.unroute("**/api/curves")


def hold(page: Page, url: str) -> Callable[[], None]:
    """Hold requests back from now on, until what is given back is called."""
    held: list[Route] = []
    free = False

    def take(route: Route) -> None:
        if free:
            route.continue_()
        else:
            held.append(route)

    def release() -> None:
        nonlocal free
        free = True
        for route in held:
            route.continue_()

    page.route(url, take)
    return release


def test_smoothing_axes_and_units(serve: Any, open_page: Any, roots: list[Path]) -> None:
    page = open_page(serve(roots) + "/training")
    until(page, "loss", "T5 raw", 20)
    slider = page.get_by_role("slider", name="Smoothing")
    slider.press("Home")
    page.wait_for_function(
        "document.querySelector('#tr-fig-loss .js-plotly-plot').data.every(t => !t.name.endsWith(' raw'))"
    )
    expect(page.locator("#tr-smoothing-value")).to_have_text("0.00")
    page.locator("#tr-norm").get_by_text("÷ β").click()
    expect(page.locator("#tr-note-chosen")).to_contain_text("T5 5, GPT-2 2 held out · nats (÷ β)")
    page.get_by_role("switch", name="Log loss, rate, gradient").check(force=True)
    page.wait_for_function(
        "document.querySelector('#tr-fig-loss .js-plotly-plot')._fullLayout.yaxis.type === 'log' &&"
        " location.search.includes('log=1')"
    )
    again = open_page(page.url)
    expect(again.locator("#tr-note-chosen")).to_contain_text("T5 5, GPT-2 2 held out")
    expect(again.locator("#tr-smoothing-value")).to_have_text("0.00")


def test_sensors_filters_and_equal_names(serve: Any, open_page: Any, tmp_path: Path, write_run: Write) -> None:
    for folder in ("a", "b"):
        write_run(tmp_path / folder / "same", "t5", steps=6)
    write_run(tmp_path / "gpt2-run", "gpt2", steps=6)
    lines = [
        json.dumps({"time": s, "step": s, "cpu_percent": 50 + s, "rss_mb": 900, "gpu_watts": 200.0}) for s in range(6)
    ]
    (tmp_path / "gpt2-run" / "hardware.jsonl").write_text("\n".join(lines) + "\n")
    page = open_page(serve([tmp_path]) + "/training")
    until(page, "power", "GPT-2", 6)
    until(page, "use", "GPT-2", 6)
    until(page, "memory", "GPT-2", 6)
    page.get_by_placeholder("Filter runs").fill("Same*a/same")
    expect(page.locator("#tr-run-list .run")).to_have_count(1)
    expect(page.get_by_role("checkbox", name="Show same (a/same)")).to_be_visible()
    page.get_by_placeholder("Filter runs").fill("[")
    expect(page.locator("#tr-run-list")).to_contain_text("No run has that in its name")


def test_damaged_and_deleted_runs_are_shown_and_named(serve: Any, open_page: Any, roots: list[Path]) -> None:
    broken = roots[0] / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    metrics = roots[0] / "t5-run" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"step": 20, "loss": NaN}\n{broken\n{"step": 21, "loss": 0.5}\n')
    page = open_page(serve(roots) + "/training")
    expect(page.get_by_role("checkbox", name="Show broken")).to_be_disabled()
    until(page, "loss", "T5", 21)
    expect(page.locator('[data-code="divergence"] h3')).to_have_text("T5: numbers that are not finite")
    expect(page.locator("#tr-kpis")).to_contain_text("loss was not finite once")
    expect(page.locator("#tr-kpis")).to_contain_text("1 damaged line of metrics.jsonl left out")
    metrics.write_text(metrics.read_text() + '{"step": 99, "lo')
    until(page, "loss", "T5", 21)
    for file in (roots[0] / "t5-run").iterdir():
        file.unlink()
    (roots[0] / "t5-run").rmdir()
    expect(page.locator("#tr-kpis")).to_contain_text("holds no run")
    until(page, "loss", "GPT-2", 20)
