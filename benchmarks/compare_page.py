"""The Compare page in a real browser: from the click to each pane's first token, and from a token drawn to it painted.

    python benchmarks/compare_page.py [--rounds 9] [--tokens 48] [--tint] [--json FILE]

The server stamps every token with its clock; the browser, on the same machine, reads its own after the frame in which
the token was painted.  Policies are loaded by a first round that does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Page, sync_playwright
from shapes import machine
from waitress.server import create_server

from dpo.dashboard.application import create_app
from dpo.generation.jobs import Job
from dpo.runs import BUNDLED_RUNS

PANES = ("T5 base", "T5 DPO", "GPT-2 base", "GPT-2 DPO")
# A message posted within a frame's callback is delivered when that frame has been painted.
WATCH = """() => {
  const clock = () => performance.timeOrigin + performance.now();
  const painted = (act) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => act(clock());
    channel.port2.postMessage(0);
  });
  window.bench = { clicked: 0, delays: [], firsts: {} };
  document.addEventListener("click", (event) => {
    const begun = { clicked: clock(), delays: [], firsts: {} };
    if (event.target.closest("#cmp-generate")) Object.assign(window.bench, begun);
  }, true);
  const fetched = window.fetch;
  const entry = document.querySelector("script[type=module]").src;
  window.fetch = async (url, options) => {
    const response = await fetched(url, options);
    if (url !== "/api/generate") return response;
    const { eventParser } = await import(new URL("lib/stream.js", entry));
    const parse = eventParser(), decoder = new TextDecoder();
    const watched = new TransformStream({
      transform(chunk, controller) {
        controller.enqueue(chunk);
        for (const { event, data } of parse(decoder.decode(chunk, { stream: true }))) {
          if (event !== "token") continue;
          painted((at) => {
            window.bench.delays.push(at - 1000 * data.sent);
            window.bench.firsts[data.arm] ??= at - window.bench.clicked;
          });
        }
      },
    });
    return new Response(response.body.pipeThrough(watched), response);
  };
}"""


def stamp() -> None:
    """Let every event carry the time at which it was sent."""
    emit = Job.emit

    def stamped(self: Job, kind: str, **data: Any) -> None:
        emit(self, kind, sent=time.time(), **data)

    Job.emit = stamped  # type: ignore[method-assign]


def ask(page: Page) -> dict[str, Any]:
    """Generate with a new seed; what the browser noted."""
    page.get_by_role("button", name="New seed").click()
    page.get_by_role("button", name="Generate").click()
    page.wait_for_function("document.getElementById('cmp-progress').textContent.includes('4 of 4 answered')")
    # The rewards are scored on the same processor: the next round waits for them.
    page.wait_for_function("document.querySelectorAll('#cmp-rows .stat.reward').length === 4")
    found: dict[str, Any] = page.evaluate("window.bench")
    return found


def main() -> int:
    """Serve, click, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=48, help="most tokens of an answer")
    parser.add_argument("--tint", action="store_true", help="with the reward tint as the tokens arrive")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    stamp()
    with tempfile.TemporaryDirectory() as folder:
        app = create_app([BUNDLED_RUNS], votes=Path(folder) / "votes.sqlite")
        server = create_server(app.server, host="127.0.0.1", port=0, threads=16, send_bytes=1)
        threading.Thread(target=server.run, daemon=True).start()
        query = {"prompt": "Do you have a favorite food?", "max_new_tokens": options.tokens}
        query |= {"show": "Reward tint"} if options.tint else {}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(120_000)
            page.goto(f"http://127.0.0.1:{server.effective_port}/?{urlencode(query)}")
            page.wait_for_function("document.getElementById('cmp-prompt')?.value.startsWith('Do you have')")
            page.evaluate(WATCH)
            rounds = [ask(page) for _ in range(options.rounds + 1)][1:]
            browser.close()
        for service in app.server.config["services"]:
            service.close()
        server.close()
    delays = [delay for found in rounds for delay in found["delays"]]
    firsts = {name: [found["firsts"][str(arm)] for found in rounds] for arm, name in enumerate(PANES)}
    made = {
        "click_to_first_token_ms": {name: [statistics.median(times), max(times)] for name, times in firsts.items()},
        "drawn_to_painted_ms": {
            "median": statistics.median(delays), "95th percentile": statistics.quantiles(delays, n=20)[-1],
            "n": len(delays),
        },
    }  # fmt: skip
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}; {options.rounds} rounds of up to {options.tokens} tokens")
    for name, (median, worst) in made["click_to_first_token_ms"].items():
        print(f"{name}: first token painted {median:.0f} ms after the click (median; worst {worst:.0f})")
    painted = made["drawn_to_painted_ms"]
    print(
        f"drawn -> painted: {painted['median']:.1f} ms median, {painted['95th percentile']:.1f} ms 95th percentile "
        f"(n = {painted['n']})"
    )
    if options.json:
        options.json.write_text(json.dumps(made, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
