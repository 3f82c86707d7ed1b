"""The Evaluate page in a real browser with 10,000 verdicts: how long it takes to open them and to filter their prompts.

    python benchmarks/evaluate_page.py [--rounds 5]

Two evaluations are written by the project's own parts: many samples of some prompts, and one of many, which is what the
browser has most to do with.  Opened is from the first request to the drawn table, by the page's own marks
("evaluate-open", "evaluate-filter"); the first opening reads the files, later ones find them read.  Beside it stands
the processor time of server and browser, which doesn't count what else runs on the machine: that of an opening has the
start of the whole page in it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "helpers"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psutil
from evaluations import stored
from playwright.sync_api import Page, sync_playwright
from waitress.server import create_server

from dpo.cli.serve import spare_collections
from dpo.dashboard.application import create_app

VERDICTS = 10_000
SAMPLES = (8, 1)
MARKS = "name => performance.getEntriesByName(name).map(mark => mark.duration)"


def write(path: Path, samples: int) -> None:
    """An evaluation of two policies whose answers have up to 80 words, judged once each."""
    draw = np.random.default_rng(0)
    words = np.array([f"word{n}" for n in range(2_000)])
    texts: dict[str, list[str | None]] = {
        name: [" ".join(draw.choice(words, draw.integers(20, 80))) for _ in range(VERDICTS)]
        for name in ("tuned", "base")
    }
    stored(path, texts, samples=samples)


class Times:
    """What was measured of one thing, in milliseconds: by the page's marks, and of the processor."""

    def __init__(self) -> None:
        self.marks: list[float] = []
        self.processor: list[float] = []

    def __str__(self) -> str:
        marks, processor = (statistics.median(times) for times in (self.marks, self.processor))
        return f"{marks:.0f} ms (worst of {len(self.marks)}: {max(self.marks):.0f}; {processor:.0f} of the processor)"


def processor() -> float:
    """Milliseconds that this process (the server) and its children (the browser) have computed."""
    children = psutil.Process().children(recursive=True)
    return 1000 * (time.process_time() + sum(sum(child.cpu_times()[:2]) for child in children))


def open_it(page: Page, url: str, times: Times) -> None:
    """Until the table stands there."""
    began = processor()
    page.goto(url)
    page.wait_for_function("performance.getEntriesByName('evaluate-open').length > 0")
    times.processor.append(processor() - began)
    times.marks += page.evaluate(MARKS, "evaluate-open")


def filter_it(page: Page, times: Times) -> None:
    """Each filter, and a search that is typed letter by letter; processor time is that of one on average."""
    page.wait_for_load_state("networkidle")  # the answers, which the search reads, have come
    page.evaluate("performance.clearMeasures('evaluate-filter')")
    began = processor()
    chips = page.locator("#ev-filters button")
    for place in range(chips.count()):
        chips.nth(place).click()
    chips.first.click()
    page.locator("#ev-search").press_sequentially("word19")
    made = page.evaluate(MARKS, "evaluate-filter")
    times.processor.append((processor() - began) / len(made))
    times.marks += made


def main() -> int:
    """Write, open, filter, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    made: dict[str, tuple[Times, Times, Times]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {samples: Path(folder) / "evaluations" / f"samples-{samples}" for samples in SAMPLES}
        for samples, path in paths.items():
            write(path, samples)
        for samples, path in paths.items():
            first, later, filtered = made[f"{VERDICTS // samples:,} prompts"] = Times(), Times(), Times()
            for _ in range(options.rounds):  # each with a server that has read nothing
                app = create_app([Path(folder)], votes=Path(folder) / "votes.sqlite")
                spare_collections()
                server = create_server(app.server, host="127.0.0.1", port=0, threads=16)
                threading.Thread(target=server.run, daemon=True).start()
                url = f"http://127.0.0.1:{server.effective_port}/evaluate?evaluation={path}"
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
                    page = browser.new_page(viewport={"width": 1440, "height": 900}, bypass_csp=True)
                    page.set_default_timeout(120_000)
                    open_it(page, url, first)
                    open_it(page, url, later)
                    filter_it(page, filtered)
                    browser.close()
                for service in app.server.config["services"]:
                    service.close()
                server.close()
    print(f"{VERDICTS:,} verdicts; load {os.getloadavg()[0]:.1f}; {options.rounds} rounds")
    for name, (first, later, filtered) in made.items():
        print(f"{name}: opened in {first}, again in {later}, filtered in {filtered}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
