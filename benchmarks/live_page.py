"""Six runs that log ten points a second each: does the page keep up, and does it stay quick?

    python benchmarks/live_page.py [--runs 6] [--rate 10] [--seconds 20] [--json FILE]

Prints the browser's long tasks (over 50 ms, by its own PerformanceObserver) and how long a point
takes from being logged to being in the chart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import sync_playwright
from waitress.server import create_server

from dpo.dashboard.application import create_app
from dpo.runs import RunRecord

WATCH = """() => {
  window.longTasks = [];
  new PerformanceObserver((list) => list.getEntries().forEach((task) => window.longTasks.push(task.duration)))
    .observe({ type: "longtask" });
}"""
NEWEST = """() => Math.max(...(document.querySelector('#tr-fig-loss .js-plotly-plot')?.data || [])
  .map((line) => line.x.length ? line.x[line.x.length - 1] : 0))"""


def begin(directory: Path, family: str) -> RunRecord:
    """A run that says it is training in this process."""
    return RunRecord.create(
        directory,
        {
            "name": directory.name, "kind": "dpo", "family": family, "state": "running", "pid": os.getpid(),
            "host": socket.gethostname(), "config": {"beta": 0.1}, "progress": {"step": 0, "max_steps": 100_000},
        },
    )  # fmt: skip


def row(step: int) -> dict[str, float]:
    """All measures that a training logs."""
    reward = step / 5000
    return {
        "step": step, "epoch": step / 500, "examples": step * 8, "tokens": step * 900, "time": step / 10,
        "loss": 0.69 / (1 + reward), "rewards/chosen": reward, "rewards/rejected": -reward,
        "rewards/margins": 2 * reward, "rewards/accuracies": 0.8, "logps/chosen": -90.0, "logps/rejected": -95.0,
        "entropy": 2.0, "learning_rate": 1e-5, "grad_norm": 1.0,
    }  # fmt: skip


def main() -> int:
    """Write, watch, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--rate", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    logged: dict[int, float] = {}
    over = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        records = [begin(Path(folder) / f"run-{i}", ("t5", "gpt2")[i % 2]) for i in range(options.runs)]
        for record in records:
            record.log_all([row(step) for step in range(500)])

        def write() -> None:
            step = 500
            while not over.wait(1 / options.rate):
                for record in records:
                    record.log(row(step))
                logged[step] = time.perf_counter()
                step += 1

        server = create_server(create_app([Path(folder)]).server, host="127.0.0.1", port=0, threads=16, send_bytes=1)
        threading.Thread(target=server.run, daemon=True).start()
        writer = threading.Thread(target=write, daemon=True)
        delays: list[float] = []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"http://127.0.0.1:{server.effective_port}/training")
            page.wait_for_function("document.querySelectorAll('#tr-fig-loss .scatterlayer .trace').length > 5")
            page.wait_for_timeout(3000)
            page.evaluate(WATCH)
            writer.start()
            ends, seen = time.perf_counter() + options.seconds, 499
            while time.perf_counter() < ends:
                newest = page.evaluate(NEWEST)
                if newest > seen:
                    # The oldest of the points that came with this drawing waited longest.
                    delays.append(time.perf_counter() - logged[int(seen) + 1])
                    seen = newest
                page.wait_for_timeout(50)
            tasks = page.evaluate("window.longTasks")
            browser.close()
        over.set()
        writer.join()
        server.close()
    found = {
        "updates": len(delays),
        "point_to_chart_s": {"median": statistics.median(delays), "worst": max(delays)},
        "long_tasks_ms": {"count": len(tasks), "over_200": sum(t > 200 for t in tasks), "worst": max(tasks, default=0)},
    }
    print(f"{options.runs} runs at {options.rate:g} points/s for {options.seconds:g} s, {os.cpu_count()} cores")
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
