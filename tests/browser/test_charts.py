"""What the Training page draws, held against the record, after each thing a user can do to a chart."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import socket
import time
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from events import scalar
from playwright.sync_api import Page, expect

from dpo import open_run
from dpo.runs import RunRecord

# Chart: the measure of its lines, that of its dotted ones, whether they are rewards, and a line that is always there.
CHARTS: dict[str, tuple[str, str | None, bool, float | None]] = {
    "loss": ("loss", None, False, math.log(2)),
    "chosen": ("rewards/chosen", None, True, 0.0),
    "rejected": ("rewards/rejected", None, True, 0.0),
    "margin": ("rewards/chosen", "rewards/rejected", True, 0.0),
    "accuracy": ("rewards/accuracies", None, False, 0.5),
    "grad": ("grad_norm", None, False, None),
}
POSITIVE = {"loss", "grad"}  # what can stand on a logarithmic axis
DRAWN = """() => Object.fromEntries(
  [...document.querySelectorAll("#page-training [data-chart]:not([hidden])")].map((card) => {
    const plot = card.querySelector(".js-plotly-plot"), full = plot?._fullLayout;
    if (!full) return [card.dataset.chart, null];
    const axis = ({ range, type, _length }) => ({ range, type, length: _length });
    const rows = [...card.querySelectorAll("tr")].map((row) => [...row.children].map((cell) => cell.textContent));
    return [card.dataset.chart, {
      x: axis(full.xaxis), y: axis(full.yaxis),
      clip: +plot.querySelector('clipPath[id$="plot"] rect').getAttribute("width"),
      lines: plot.data.filter(({ x }) => x.length).map(({ meta, x, y }) => ({ ...meta, x: [...x], y: [...y] })),
      labels: plot.layout.annotations.filter((note) => note.xanchor === "left").map((note) => [note.text, note.y]),
      step: plot.layout.shapes[0].visible ? plot.layout.shapes[0].x0 : null,
      table: card.querySelector(".table-box").hidden ? null : rows,
    }];
  }))"""


def measures(step: int, slope: float) -> dict[str, float]:
    """A row of measures that wiggle, so that smoothing shows; held out at every tenth step."""
    wave = math.sin(2.3 * step)
    made = {
        "step": step, "examples": 4 * step, "time": 1.5 * step, "epoch": step / 40,
        "loss": 0.693147 * math.exp(-abs(slope) * step) + 0.02 * (1 + wave), "grad_norm": 1.5 + wave,
        "rewards/chosen": slope * (step + wave), "rewards/rejected": -3 * slope * (step + 2 * wave),
        "rewards/accuracies": 0.5 + 0.4 * wave,
    }  # fmt: skip
    made |= {"tokens": 300.0 * step} if step else {}
    if step % 10 == 0:
        made |= {f"eval_{name}": 1.1 * made[name] for name in ("loss", "rewards/chosen", "rewards/rejected")}
    return made


def begin(directory: Path, family: str) -> RunRecord:
    """A run that goes on, as a page looks at those every second."""
    here = {"state": "running", "pid": os.getpid(), "host": socket.gethostname()}
    info = {"name": directory.name, "kind": "dpo", "family": family, "config": {"beta": 0.1}}
    return RunRecord.create(directory, info | here)


def write(directory: Path, family: str, steps: int, slope: float) -> Path:
    record = begin(directory, family)
    record.log_all([measures(step, slope) for step in range(steps)])
    texts = [{"step": step, "index": 0, "prompt": "Tea?", "policy": f"at {step}"} for step in (0, 10, steps - 1)]
    record.add_samples(texts)
    return directory


@dataclass(frozen=True)
class View:
    """What a user has chosen; `runs` maps the names at the lines' ends to directories."""

    runs: dict[str, Path] = field(default_factory=dict)
    axis: str = "step"
    smoothing: float = 0.6
    unit: str = "Reward"
    log: bool = False
    zoom: tuple[float, float] | None = None


def average(values: list[float], weight: float) -> list[float]:
    """TensorBoard's smoothing, written down once more."""
    made, total = [], 0.0
    for place, value in enumerate(values):
        total = weight * total + (1 - weight) * value
        made.append(total / (1 - weight ** (place + 1)))
    return made


def recorded(view: View, chart: str) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """The points of a chart by label and kind, from the record alone."""
    first, second, reward, _ = CHARTS[chart]
    found = {}
    for name, path in view.runs.items():
        metrics = open_run(path).metrics()
        examples, tokens = metrics.last("examples") or 0, metrics.last("tokens") or 1
        scale = {"Reward": 1.0, "÷ β": 10.0, "Per token": 2 * examples / tokens}[view.unit] if reward else 1.0
        for measure in filter(None, (first, second)):
            label = f"{name} {measure.rpartition('/')[2]}" if second else name
            x, y = metrics.series(measure, view.axis)
            y = [scale * value for value in y]
            held_x, held = metrics.series(f"eval_{measure}", view.axis)
            parts = {"raw": (x, y), "held out": (held_x, [scale * value for value in held])}
            if view.smoothing:
                parts["smoothed"] = (x, average(y, view.smoothing))
            found |= {(label, kind): points for kind, points in parts.items() if points[0]}
    return found


def wrong(view: View, chart: str, drawn: dict[str, Any] | None) -> str | None:
    """In one line what of a chart is not as it was recorded; None where all is."""
    if drawn is None:
        return f"{chart} is not drawn"
    expected, lines = recorded(view, chart), {(line["label"], line["kind"]): line for line in drawn["lines"]}
    # A band shows its two smoothed edges only.
    kinds = {kind for _, kind in expected} if chart != "margin" else {"smoothed" if view.smoothing else "raw"}
    wanted = {key: points for key, points in expected.items() if key[1] in kinds}
    if lines.keys() != wanted.keys():
        return f"{chart} has {sorted(lines)}, not {sorted(wanted)}"
    for key, (x, y) in wanted.items():
        if lines[key]["x"] != pytest.approx(x, rel=1e-5) or lines[key]["y"] != pytest.approx(y, rel=1e-4, abs=1e-9):
            return f"{chart}, {key}: {lines[key]['x'][-1]}, {lines[key]['y'][-1]}, recorded {x[-1]}, {y[-1]}"
    if abs(drawn["clip"] - drawn["x"]["length"]) > 1:
        return f"{chart} is cut at {drawn['clip']} of {drawn['x']['length']} px"
    log = view.log and chart in POSITIVE
    if drawn["y"]["type"] != ("log" if log else "linear"):
        return f"{chart} stands on a {drawn['y']['type']} axis"
    return wrong_ranges(view, chart, drawn, wanted, log) or wrong_labels(view, chart, drawn)


def wrong_ranges(view: View, chart: str, drawn: dict[str, Any], wanted: dict[Any, Any], log: bool) -> str | None:
    """Axes hold all points, and not much beside them; or the part that was zoomed to."""
    low, high = drawn["x"]["range"]
    if view.zoom is not None:
        return None if (low, high) == pytest.approx(view.zoom) else f"{chart} shows {low} to {high}, not {view.zoom}"
    places = [x for xs, _ in wanted.values() for x in xs]
    if not (low <= min(places) and max(places) <= high <= 1.2 * max(places) + 1):
        return f"{chart} shows {low} to {high} of {min(places)} to {max(places)}"
    reference = CHARTS[chart][3]
    values = [y for _, ys in wanted.values() for y in ys] + ([] if reference is None else [reference])
    values = [math.log10(value) for value in values if value > 0] if log else values
    low, high = drawn["y"]["range"]
    if not (low <= min(values) + 1e-9 and max(values) - 1e-9 <= high):
        return f"{chart} shows {low} to {high}, values from {min(values)} to {max(values)}"
    return None if max(values) - min(values) > 0.6 * (high - low) else f"{chart} is flat in {low} to {high}"


def wrong_labels(view: View, chart: str, drawn: dict[str, Any]) -> str | None:
    """Each run's name stands once at the right, and none over another."""
    if chart not in ("loss", "chosen", "rejected", "margin"):
        return None
    labels = drawn["labels"]
    if sorted(text.split()[0] for text, _ in labels) != sorted(view.runs):
        return f"{chart} is labelled {labels}"
    places = sorted(y for _, y in labels)
    low, high = drawn["y"]["range"]
    apart = [(above - below) / (high - low) * drawn["y"]["length"] for below, above in pairwise(places)]
    return f"{chart}: labels {min(apart):.0f} px apart" if apart and min(apart) < 12 else None


def check(page: Page, view: View, step: float | None = None) -> dict[str, Any]:
    """Wait until all charts are as recorded and the page rests; what is wrong in the end is the failure."""
    until, problems = time.monotonic() + 30, ["nothing was looked at"]
    while time.monotonic() < until:
        page.wait_for_function("window.dpo.training?.settled?.()")
        drawn = page.evaluate(DRAWN)
        found = [wrong(view, chart, drawn.get(chart)) for chart in CHARTS]
        lines = {chart: drawn[chart]["step"] for chart in CHARTS if drawn.get(chart)}
        found += [
            f"{chart}: the step's line is at {at}, not {step}"
            for chart, at in lines.items()
            if (at is None) != (step is None) or (at is not None and at != pytest.approx(step))
        ]
        problems = [problem for problem in found if problem is not None]
        if not problems:
            return drawn  # type: ignore[no-any-return]
        page.evaluate("new Promise(requestAnimationFrame)")
    raise AssertionError("\n".join(problems))


def pick(page: Page, control: str, text: str) -> None:
    page.locator(f"#tr-{control}").get_by_text(text, exact=True).click()


def point(page: Page, chart: str, share: float) -> None:
    """Put the pointer over a chart, a share of its width from the left."""
    box = page.locator(f"#tr-fig-{chart} .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2, steps=3)


@pytest.fixture
def charts(serve: Any, open_page: Any, tmp_path: Path) -> tuple[Page, dict[str, Path]]:
    """The page with a T5 run of 25 steps and a GPT-2 run of 45; one of much larger rewards is not ticked."""
    runs = {
        "T5": write(tmp_path / "t5-plain", "t5", 25, 0.02), "GPT-2": write(tmp_path / "gpt2-plain", "gpt2", 45, 0.03),
        "high": write(tmp_path / "t5-high-rate", "t5", 31, 2.0),
    }  # fmt: skip
    chosen = "&".join(f"run={runs[name]}" for name in ("T5", "GPT-2"))
    return tall(open_page(f"{serve([tmp_path])}/training?x=Step&smooth=60&{chosen}", width=1440)), runs


def tall(page: Page) -> Page:
    """So high that all charts are on screen: new points of others are drawn when one comes to them."""
    page.set_viewport_size({"width": 1440, "height": 2600})
    return page


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


def menu(page: Page, chart: str, entry: str) -> None:
    card = page.locator(f"#tr-card-{chart}")
    card.locator("summary").click()
    card.get_by_role("button", name=entry).click()


def download(page: Page, chart: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a chart's CSV."""
    with page.expect_download() as waiting:
        menu(page, chart, "CSV")
    head, *rows = csv.reader(io.StringIO(Path(waiting.value.path()).read_text()))
    return head, rows
