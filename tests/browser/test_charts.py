"""What the Training page draws, held against the record, after each thing a user can do to a chart."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

import numpy as np
import pytest
from drawn_charts import DRAWN, View, begin, check, measures, menu, pick, point, recorded, tall, write
from events import scalar
from PIL import Image
from playwright.sync_api import Page, expect

from dpo.runs import RunRecord

PLACE = r"[ML]?(-?[\d.]+),(-?[\d.]+)"  # of a point in the path of a line


@pytest.fixture
def charts(serve: Any, open_page: Any, tmp_path: Path) -> tuple[Page, dict[str, Path]]:
    """The page with a T5 run of 25 steps and a GPT-2 run of 45; one of much larger rewards is not ticked."""
    runs = {
        "T5": write(tmp_path / "t5-plain", "t5", 25, 0.02), "GPT-2": write(tmp_path / "gpt2-plain", "gpt2", 45, 0.03),
        "high": write(tmp_path / "t5-high-rate", "t5", 31, 2.0),
    }  # fmt: skip
    chosen = "&".join(f"run={runs[name]}" for name in ("T5", "GPT-2"))
    return tall(open_page(f"{serve([tmp_path])}/training?x=Step&smooth=60&{chosen}", width=1440)), runs


def test_axes_and_lines_follow_each_toggle(charts: tuple[Page, dict[str, Path]]) -> None:
    page, paths = charts
    two = View({name: paths[name] for name in ("T5", "GPT-2")})
    three = View({"t5-plain": paths["T5"], "gpt2-plain": paths["GPT-2"], "t5-high-rate": paths["high"]})
    check(page, two)
    for unit in ("÷ β", "Per token", "Reward"):
        pick(page, "norm", unit)
        check(page, replace(two, unit=unit))
    other = page.get_by_role("checkbox", name="Show t5-high-rate")
    other.check()
    check(page, three)
    other.uncheck()
    check(page, two)
    page.keyboard.press("[")  # the answers before the newest: those of T5's last step
    check(page, two, step=24)
    for name, axis, at in (("Examples", "examples", 96), ("Time", "time", 36), ("Epoch", "epoch", 0.6)):
        pick(page, "axis", name)
        check(page, replace(two, axis=axis), step=at)
    pick(page, "axis", "Step")
    page.keyboard.press("]")
    slider = page.get_by_role("slider", name="Smoothing")
    for key, weight in (("Home", 0.0), ("End", 0.99), ("ArrowLeft", 0.98)):
        slider.press(key)
        check(page, replace(two, smoothing=weight))
    page.get_by_role("switch", name="Log loss, rate, gradient").check(force=True)
    check(page, replace(two, smoothing=0.98, log=True))
    other.check()
    check(page, replace(three, smoothing=0.98, log=True))


def test_only_a_zoom_of_the_users_holds(charts: tuple[Page, dict[str, Path]]) -> None:
    page, paths = charts
    two = View({name: paths[name] for name in ("T5", "GPT-2")})
    check(page, two)
    drag(page, "loss", 0.25, 0.75)
    page.wait_for_function("document.querySelector('#tr-fig-loss .js-plotly-plot')._fullLayout.xaxis.range[0] > 1")
    low, high = page.evaluate(DRAWN)["loss"]["x"]["range"]
    near = replace(two, zoom=(low, high))
    check(page, near)
    pick(page, "norm", "÷ β")
    check(page, replace(near, unit="÷ β"))
    record = RunRecord(paths["GPT-2"], {})
    record.log_all([measures(step, 0.03) for step in range(45, 50)])
    check(page, replace(near, unit="÷ β"))
    page.locator("#tr-fig-loss .nsewdrag").dblclick()
    check(page, replace(two, unit="÷ β"))
    drag(page, "loss", 0.25, 0.75)
    pick(page, "axis", "Examples")  # a part of the steps is no part of the examples
    check(page, replace(two, unit="÷ β", axis="examples"))
    page.set_viewport_size({"width": 1000, "height": 3600})
    check(page, replace(two, unit="÷ β", axis="examples"))
    tall(page)
    check(page, replace(two, unit="÷ β", axis="examples"))


def test_readout_table_and_csv_have_what_was_logged(charts: tuple[Page, dict[str, Path]]) -> None:
    page, paths = charts
    two = View({name: paths[name] for name in ("T5", "GPT-2")})
    check(page, two)
    point(page, "loss", 0.6)  # beyond the last step of T5
    note = page.locator("#tr-note-loss")
    expect(note).to_have_text(re.compile(r"^Step \d+ · GPT-2 [\d.]+ \(smoothed [\d.]+(, held out [\d.]+)?\)$"))
    step, value = re.findall(r"Step (\d+) · GPT-2 ([\d.]+)", note.inner_text())[0]
    _, logged = recorded(two, "loss")["GPT-2", "raw"]
    assert int(step) > 24 and float(value) == pytest.approx(logged[int(step)], rel=1e-3)
    expect(page.locator("#tr-note-chosen")).to_have_text(re.compile(f"^Step {step} · GPT-2 "))
    point(page, "loss", 0.2)
    expect(note).to_have_text(re.compile(r"· T5 [\d.]+ .* · GPT-2 "))
    page.mouse.move(5, 5)
    newest = {name: recorded(two, "loss")[name, "held out"][1][-1] for name in two.runs}
    expect(note).to_have_text(", ".join(f"{name} {value:.3g}" for name, value in newest.items()) + " held out")
    # The table stays with its picture, and both have all that was logged under its own name.
    menu(page, "margin", "Table")
    pick(page, "norm", "÷ β")
    view = replace(two, unit="÷ β")
    table = check(page, view)["margin"]["table"]
    assert table[0][:4] == [
        "Step",
        "T5 chosen (raw, ÷ β)",
        "T5 chosen (smoothed 0.60, ÷ β)",
        "T5 chosen (held out, ÷ β)",
    ]
    assert len(table) == 46 and float(table[25][1]) == pytest.approx(
        recorded(view, "margin")["T5 chosen", "raw"][1][24]
    )
    pick(page, "norm", "Reward")
    check(page, two)
    head, rows = download(page, "loss")
    for (name, kind), (x, y) in recorded(two, "loss").items():
        column = head.index(f"{name} ({kind})" if kind != "smoothed" else f"{name} (smoothed 0.60)")
        found = [(float(row[0]), float(row[column])) for row in rows if row[column]]
        assert [place for place, _ in found] == x and [value for _, value in found] == pytest.approx(y, rel=1e-9)


def test_a_run_opened_in_its_first_second_is_shown_to_its_end(serve: Any, open_page: Any, tmp_path: Path) -> None:
    """Between `run.json` and the first row there is an event file; a resume begins another one."""
    record = begin(tmp_path / "=first", "gpt2")
    (record.path / "events.out.tfevents.1").write_bytes(scalar("train/loss", 1, 0.6))
    page = tall(open_page(f"{serve([tmp_path])}/training?" + urlencode({"x": "Examples", "run": record.path})))
    expect(page.locator("#tr-note-loss")).to_contain_text("did not log examples")
    view = View({"GPT-2": record.path}, axis="examples")
    record.log_all([measures(step, 0.03) for step in range(12)])
    check(page, view)
    resumed = RunRecord.resume(record.path, 10)
    (record.path / "events.out.tfevents.2").write_bytes(scalar("train/loss", 11, 0.3))
    resumed.log_all([measures(step, 0.04) for step in range(11, 31)])
    resumed.update(state="finished")
    check(page, view)
    write(tmp_path / "plain", "gpt2", 12, 0.02)
    page.get_by_role("checkbox", name="Show plain").check()
    check(page, View({"=first": record.path, "plain": tmp_path / "plain"}, axis="examples"))
    head, _ = download(page, "loss")
    assert head[1] == "'=first (raw)"  # a spreadsheet would run what begins with an equals sign


def drag(page: Page, chart: str, start: float, end: float) -> None:
    """Zoom by dragging over a part of a chart (shares of its width)."""
    point(page, chart, start)
    page.mouse.down()
    point(page, chart, (start + end) / 2)
    point(page, chart, end)
    page.mouse.up()


def download(page: Page, chart: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a chart's CSV."""
    with page.expect_download() as waiting:
        menu(page, chart, "CSV")
    head, *rows = csv.reader(io.StringIO(Path(waiting.value.path()).read_text()))
    return head, rows


def test_a_picture_for_a_paper_has_all_that_the_page_writes_around_the_chart(
    charts: tuple[Page, dict[str, Path]],
) -> None:
    """Title, finding, axes with units, legend and font are in the file; its lines end where the record does."""
    page, paths = charts
    two = View({name: paths[name] for name in ("T5", "GPT-2")})
    check(page, two)
    found = page.locator("#tr-found-rejected").inner_text()
    assert found == "Both fall"
    with page.expect_download() as waiting:
        menu(page, "rejected", "SVG")
    svg = Path(waiting.value.path()).read_text()
    root = ElementTree.fromstring(svg)
    texts = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    for text in ("Step", "Rejected reward (β × nats)", "T5", "T5 (raw)", "GPT-2 (held out)"):
        assert text in texts, texts
    assert any(text.startswith("Rejected reward") and text.endswith(found) for text in texts)
    assert svg.count("font/woff2;base64,") == 2 and "font-family: Inter" in svg
    lines = [
        node.get("d") or "" for node in root.iter("{http://www.w3.org/2000/svg}path") if node.get("class") == "js-line"
    ]
    drawn = [points for d in lines if len(points := [tuple(map(float, p)) for p in re.findall(PLACE, d)]) > 20]
    record = [recorded(two, "rejected")[name, "raw"] for name in two.runs]
    for x, y in record:  # one line of the picture is this one, but for the axes' scales
        fits = [np.corrcoef(y, [at for _, at in line])[0, 1] for line in drawn if len(line) == len(x)]
        assert min(fits, default=0) < -0.9999, fits
    with page.expect_download() as waiting:
        menu(page, "rejected", "PNG")
    image = Image.open(waiting.value.path()).convert("RGB")
    assert image.size == (2700, 1680) and image.getpixel((5, 5)) == (255, 255, 255)
    shades = {color for _, color in image.getcolors(1 << 24) or []}
    assert {(0x44, 0x76, 0xE5), (0xD9, 0x69, 0x1E), (0, 0, 0)} <= shades
