"""What the charts of the Training page draw, read from the browser and held against the record."""

from __future__ import annotations

import math
import os
import socket
import time
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

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
      lines: plot.data.filter(({ x, meta }) => x.length && meta.kind)
        .map(({ meta, x, y, line: { dash, color } }) =>
          ({ ...meta, x: [...x], y: [...y], dash: dash ?? "solid", color })),
      labels: plot.data.filter(({ meta }) => meta.ends)
        .flatMap(({ text, x }) => text.map((name, at) => [name.trim(), x[at]])),
      written: [...plot.querySelectorAll(".textpoint text")].map((node) => {
        const { left, top, right, bottom } = node.getBoundingClientRect();
        return [node.textContent.trim(), left, top, right, bottom];
      }),
      title: plot.querySelector(".xtitle")?.textContent,
      found: card.querySelector(".found").textContent,
      step: plot.layout.shapes[0].visible ? plot.layout.shapes[0].x0 : null,
      table: card.querySelector(".table-box").hidden ? null : rows,
    }];
  }))"""


def points(page: Page, chart: str) -> dict[str, int]:
    """Name of each line of a chart and how many points it has."""
    script = (
        "id => Object.fromEntries((document.querySelector(`#${id} .js-plotly-plot`)?.data || [])"
        ".map(t => [t.name, t.x.length]))"
    )
    return page.evaluate(script, f"tr-fig-{chart}")  # type: ignore[no-any-return]


def until(page: Page, chart: str, line: str, count: int) -> None:
    """Wait until a line of a chart has `count` points."""
    page.wait_for_function(
        "([id, name, n]) => document.querySelector(`#${id} .js-plotly-plot`)?.data"
        "?.some(t => t.name === name && t.x.length === n)",
        arg=[f"tr-fig-{chart}", line, count],
    )


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
    """Each run's name stands once, where its line ends on screen, and none over another; the axis is named."""
    if drawn["title"] != ("Time (s)" if view.axis == "time" else view.axis.capitalize()):
        return f"the axis of {chart} is called {drawn['title']}"
    lines = drawn["lines"]
    if any((line["kind"] == "held out") != ("," in line["dash"] and line["dash"] != "2px,3px") for line in lines):
        return f"{chart}: a dash is not what was held out"
    bold = [line["color"] for line in lines if line["kind"] == ("smoothed" if view.smoothing else "raw")]
    if len(set(bold)) != len(view.runs):
        return f"{chart}: {len(view.runs)} runs in {len(set(bold))} colours"
    if chart not in ("loss", "chosen", "rejected", "margin"):
        return None
    labels, written = drawn["labels"], drawn["written"]
    if (
        not sorted(text.split()[0] for text, _ in labels)
        == sorted(view.runs)
        == sorted(t.split()[0] for t, *_ in written)
    ):
        return f"{chart} is labelled {labels}, {written}"
    low, high = view.zoom or (-math.inf, math.inf)
    for text, x in labels:
        ends = [max(place for place in line["x"] if low <= place <= high) for line in lines
                if line["label"].split()[0] == text.split()[0] and line["kind"] != "held out"]  # fmt: skip
        if x != pytest.approx(max(ends)):
            return f"{chart}: {text} stands at {x}, its line ends at {ends}"
    for (one, *a), (other, *b) in combinations(written, 2):
        if min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 4:
            return f"{chart}: {one} is written over {other}"
    return None


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


def tall(page: Page) -> Page:
    """So high that all charts are on screen: new points of others are drawn when one comes to them."""
    page.set_viewport_size({"width": 1440, "height": 2600})
    return page


def menu(page: Page, chart: str, entry: str) -> None:
    card = page.locator(f"#tr-card-{chart}")
    card.locator("summary").click()
    card.get_by_role("button", name=entry).click()
