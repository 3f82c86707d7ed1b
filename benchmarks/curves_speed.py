"""How quickly a long run is opened, drawn and zoomed into, beside TensorBoard's reader on the same file.

    python benchmarks/curves_speed.py [--points 1000000] [--repeats 5] [--browser] [--json FILE]

`first chart` is everything the server does from the unread file to the figure as JSON; `zoom` is a
redraw of a tenth of the axis.  `--browser` measures in Chromium what a person waits for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from plotly.io.json import to_json_plotly
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from dpo.dashboard.run_reader import RunReader, shown
from dpo.dashboard.training.charts import LARGE, View, figure
from dpo.dashboard.training.drawing import curves_of
from dpo.dashboard.training.series import reduced
from dpo.runs import open_run

_READER = RunReader([])


def write_events(path: Path, points: int) -> None:
    """An event file with one noisy falling loss, as a Trainer writes it."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    noise = np.random.default_rng(0).normal(0, 0.05, points)
    with path.open("wb") as file:
        for step in range(points):
            loss = 0.69 * float(np.exp(-step / (points / 5))) + float(noise[step])
            value = Summary.Value(tag="train/loss", simple_value=loss)
            message = Event(wall_time=1.7e9 + step / 10, step=step, summary=Summary(value=[value])).SerializeToString()
            head = struct.pack("<Q", len(message))
            checks = (struct.pack("<I", masked_crc32c(part)) for part in (head, message))
            file.write(head + next(checks) + message + next(checks))


def timed(call: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Median and range in seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return {"median": statistics.median(seconds), "low": min(seconds), "high": max(seconds)}


def first_chart(directory: Path, span: tuple[float, float] | None = None) -> str:
    """The loss chart's figure as it is sent, from a run that nobody has read yet."""
    run = open_run(directory)
    return draw(run, span)


def draw(run: Any, span: tuple[float, float] | None) -> str:
    """The loss chart's figure as it is sent."""
    entries = shown([(run, run.metrics())], _READER)
    first, second = curves_of(entries, LARGE[0], "Step", 0.6, "Reward")
    seen, below = ([reduced(item, span) for item in items] for items in (first, second))
    return to_json_plotly(figure(LARGE[0], seen, below, View(span=span)))


def theirs(path: Path) -> None:
    """What TensorBoard does before it can draw the tag, without sampling."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    events.Reload()
    events.Scalars("train/loss")


def in_browser(long: Path, short: Path, points: int, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds from opening the address to the first chart, and from a zoom to its finer points.

    The same page with a run of 100 points tells what of it is the page and not the long run.
    """
    from playwright.sync_api import sync_playwright

    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    drawn = "document.querySelectorAll('#tr-fig-loss .scatterlayer .trace').length > 0"
    opened: dict[str, list[float]] = {"short run opened": [], "long run opened": []}
    zoomed = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
        for name, root in zip(opened, (short, long), strict=True):
            for _ in range(repeats):
                address = serve(root)  # a server that has never read the run
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                began = time.perf_counter()
                page.goto(address)
                page.wait_for_function(drawn, polling="raf")
                opened[name].append(time.perf_counter() - began)
                if len(opened["long run opened"]) == repeats:
                    page.wait_for_load_state("networkidle")
                    page.locator("#tr-fig-loss").hover()
                    for place in range(repeats):
                        low = points * (0.1 + 0.8 * place / repeats)
                        zoomed.append(page.evaluate(ZOOM, [low, low + points / 20]) / 1000)
                page.close()
        browser.close()
    return {
        name: {"median": statistics.median(seconds), "low": min(seconds), "high": max(seconds)}
        for name, seconds in (opened | {"zoom to finer points": zoomed}).items()
    }


def serve(root: Path) -> str:
    """The dashboard over a directory of runs, in a thread; returns the address of its Training page."""
    from waitress.server import create_server

    from dpo.dashboard.application import create_app

    server = create_server(create_app([root]).server, host="127.0.0.1", port=0, threads=16, send_bytes=1)
    threading.Thread(target=server.run, daemon=True).start()
    return f"http://127.0.0.1:{server.effective_port}/training"


# From the change of the axis to the redrawn line that has points only the server knew.
ZOOM = """([low, high]) => new Promise((done, fail) => {
  const plot = document.querySelector('#tr-fig-loss .js-plotly-plot');
  const inside = () => plot.data[0].x.filter((x) => x >= low && x <= high).length;
  const before = inside(), began = performance.now();
  const look = () => {
    const waited = performance.now() - began;
    if (inside() > before + 100) done(waited);
    else if (waited > 10000) fail(new Error("no finer points within 10 s"));
    else requestAnimationFrame(look);
  };
  window.Plotly.relayout(plot, { 'xaxis.range[0]': low, 'xaxis.range[1]': high });
  look();
})"""


def main() -> int:
    """Print the table; write it as JSON on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "long-run"
        directory.mkdir()
        path = directory / "events.out.tfevents.1.long"
        write_events(path, options.points)
        found = {
            "dpo: read all points": timed(lambda: open_run(directory).metrics(), options.repeats),
            "dpo: first chart": timed(lambda: first_chart(directory), options.repeats),
        }
        run = open_run(directory)
        run.metrics()
        tenth = (options.points * 0.4, options.points * 0.5)
        found["dpo: zoom"] = timed(lambda: draw(run, tenth), options.repeats)
        found["TensorBoard: EventAccumulator, all points"] = timed(lambda: theirs(path), min(options.repeats, 3))
        if options.browser:
            short = Path(folder) / "short"
            (short / "run").mkdir(parents=True)
            write_events(short / "run" / "events.out.tfevents.1.short", 100)
            took = in_browser(directory, short, options.points, options.repeats)
            found |= {f"browser: {name}": seconds for name, seconds in took.items()}
        size = len(draw(run, None))
    print(f"{options.points:,} points, {os.cpu_count()} cores, Python {platform.python_version()}; seconds")
    for name, seconds in found.items():
        print(f"{name:44} {seconds['median']:8.3f}   ({seconds['low']:.3f} to {seconds['high']:.3f})")
    print(f"{'figure as sent':44} {size / 1000:8.1f} kB")
    if options.json:
        options.json.write_text(json.dumps({"points": options.points, "seconds": found, "bytes": size}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
