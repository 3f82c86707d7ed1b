"""What a newcomer clicks and waits for: the dashboard's journeys in a real browser, served from an empty folder.

    python benchmarks/first_steps.py [--only NAME]... [--json FILE]

A row a step: how often the mouse was pressed, how many fields were filled in, and the seconds until each thing that the
step waits for was on screen.  The seconds hold whatever else the machine does; the clicks are those of the pages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Locator, Page, expect, sync_playwright

from dpo.training.jobs import Jobs

PATIENCE = 600_000  # ms
ROOT = Path(__file__).resolve().parent.parent


class Visitor:
    """Somebody at the page, whose clicks, filled fields and seconds are counted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.begin()

    def begin(self) -> None:
        """Another step."""
        self.clicks = self.fields = 0
        self.waits: dict[str, float] = {}
        self._since = time.perf_counter()

    def click(self, wanted: Locator | str) -> None:
        """Click on a part, or on the button of that name."""
        part = self.page.get_by_role("button", name=wanted).first if isinstance(wanted, str) else wanted
        part.click()
        self.clicks += 1

    def fill(self, wanted: Locator, text: str) -> None:
        """Write into a field."""
        wanted.fill(text)
        self.fields += 1

    def see(self, what: str, wanted: Locator, text: str | re.Pattern[str] | None = None) -> None:
        """Wait for a part, or for a text in it; the seconds since the step began are noted as `what`."""
        if text is None:
            expect(wanted.first).to_be_visible(timeout=PATIENCE)
        else:
            expect(wanted.first).to_contain_text(text, timeout=PATIENCE)
        self.waits[what] = time.perf_counter() - self._since


def _go(visitor: Visitor, name: str) -> None:
    visitor.click(visitor.page.locator(".navigation").get_by_role("link", name=name))


def arrive(visitor: Visitor) -> None:
    """What is this?"""
    visitor.see("heading", visitor.page.get_by_role("heading", level=1))
    visitor.see("a finished comparison", visitor.page.locator("#cmp-story-says"), re.compile(r"\w"))


def ask(visitor: Visitor) -> None:
    """The prompt that stands there."""
    page = visitor.page
    visitor.click("Try yours")
    visitor.click("Generate")
    visitor.see("first answer", page.locator("#cmp-out-0"), re.compile(r"\w{2,}"))
    visitor.see("four answers", page.locator("#cmp-progress"), "4 of 4 answered")


def own_prompt(visitor: Visitor) -> None:
    """A prompt of one's own, stopped."""
    page = visitor.page
    visitor.fill(page.get_by_role("textbox", name="Prompt", exact=True), "Tell me about the sea.")
    visitor.click("Generate")
    visitor.click("Stop")
    visitor.see("stopped", page.get_by_role("button", name="Generate"))


def vote(visitor: Visitor) -> None:
    """Five prompts judged blind, by the loop, and the votes as pairs."""
    page = visitor.page
    visitor.click(page.get_by_role("switch", name="Blind"))
    visitor.click("Generate")
    for turn in range(5):
        expect(page.locator("#cmp-progress")).to_contain_text("answered", timeout=PATIENCE)
        better = page.locator("#cmp-vote-0").get_by_role("button", name="A better")
        expect(better).to_be_enabled(timeout=PATIENCE)
        visitor.click(better)
        if turn < 4:
            visitor.click("Next prompt")
    visitor.see("five votes", page.locator("#cmp-loop-note"), re.compile("^[5-9] votes"))
    visitor.click(page.get_by_role("switch", name="Blind"))


def curves(visitor: Visitor) -> None:
    """The curves of the bundled runs."""
    page = visitor.page
    _go(visitor, "Training")
    visitor.see("first chart", page.locator("#tr-fig-loss .scatterlayer .trace"))
    visitor.see("what the doctor says", page.locator("#tr-findings"), re.compile(r"\w"))


def train(visitor: Visitor) -> None:
    """A run of 12 updates from demo/gpt2 on the sample."""
    page = visitor.page
    _go(visitor, "Training")
    visitor.click("New run")
    visitor.see("form", page.locator("#st-f-model"))
    visitor.fill(page.locator("#st-f-model"), "demo/gpt2")
    visitor.fill(page.locator("#st-f-dataset"), "sample")
    visitor.fill(page.locator("#st-f-max_steps"), "12")
    visitor.see("whether it fits", page.locator(".st-lines li.fit"))
    visitor.click("Start training")
    job = page.locator(".st-job").first
    visitor.see("in the list, with a bar", job.locator("progress"))
    visitor.see("step 1", job.locator(".num"), re.compile(r"step [1-9]"))
    expect(job).to_have_attribute("data-state", "finished", timeout=PATIENCE)
    visitor.see("end", job)


def stop_and_resume(visitor: Visitor) -> None:
    """A longer run, stopped and gone on with."""
    page = visitor.page
    visitor.click(page.get_by_role("tab", name="New run"))
    visitor.fill(page.get_by_label("Run name"), "longer")
    visitor.fill(page.locator("#st-f-max_steps"), "400")
    visitor.click("Start training")
    job = page.locator(".st-job", has_text="longer").first
    visitor.see("step 1", job.locator(".num"), re.compile(r"step [1-9]"))
    visitor.click(job.get_by_role("button", name="Stop longer"))
    expect(job).to_have_attribute("data-state", "stopped", timeout=PATIENCE)
    visitor.see("stopped and saved", job)
    reached = int(re.findall(r"at step (\d+)", job.locator(".num").inner_text())[0])
    visitor.click(job.get_by_role("button", name="Resume longer"))
    again = page.locator(".st-job", has_text="resumed").first
    expect(again).to_have_attribute("data-state", "running", timeout=PATIENCE)
    later = "|".join(str(step) for step in range(reached + 1, 401))
    visitor.see("trains again", again.locator(".num"), re.compile(rf"step ({later}) of 400"))


def ask_while_training(visitor: Visitor) -> None:
    """Four answers beside a training."""
    page = visitor.page
    _go(visitor, "Compare")
    if page.get_by_role("button", name="Try yours").is_visible():
        visitor.click("Try yours")
    visitor.click("Generate")
    visitor.see("four answers", page.locator("#cmp-progress"), "4 of 4 answered")
    _go(visitor, "Training")
    if not page.locator("#st-drawer").is_visible():
        page.get_by_role("button", name="New run").first.click()
        page.get_by_role("tab", name="Queue").click()
    again = page.locator(".st-job", has_text="resumed").first
    again.get_by_role("button", name="Stop longer").click()
    expect(again).to_have_attribute("data-state", "stopped", timeout=PATIENCE)


def sweep(visitor: Visitor) -> None:
    """Two trials, by the form."""
    page = visitor.page
    _go(visitor, "Runs")
    visitor.click("New sweep")
    visitor.see("form", page.locator("#rn-sweep-message"), "12 trainings")
    page.get_by_label("Method").select_option("grid")
    visitor.fill(page.get_by_label("Values of beta"), "0.1, 0.3")
    visitor.fill(page.get_by_label("Values of learning_rate"), "1e-4")
    visitor.fill(page.get_by_label("Values of max_steps"), "4")
    visitor.see("what it comes to", page.locator("#rn-sweep-message"), "2 trainings")
    visitor.click("Start sweep")
    visitor.see("in the queue", page.locator("#rn-sweep-message"), "are in the queue")
    page.keyboard.press("Escape")
    visitor.see("both trials", page.locator("#rn-grid .ag-row", has_text="beta-and-rate-001"))


def audit(visitor: Visitor) -> None:
    """The sample's pairs."""
    page = visitor.page
    _go(visitor, "Data")
    visitor.see("columns recognised", page.locator("#da-detect tbody tr"))
    visitor.click(page.get_by_role("button", name="Audit", exact=True))
    visitor.see("findings", page.locator("#da-cards .card"))


def lens(visitor: Visitor) -> None:
    """Two texts of one's own, token by token, then all pairs."""
    page = visitor.page
    _go(visitor, "Lens")
    visitor.see("a first pair", page.locator(".heat-card .tok"))
    visitor.click(page.locator("#lens-mode").get_by_text("My texts"))
    visitor.fill(page.locator("#lens-prompt"), "Do you like tea?")
    visitor.fill(page.locator("#lens-a"), "I love tea! 😊")
    visitor.fill(page.locator("#lens-b"), "As an AI, I do not drink tea.")
    page.locator("#lens-b").press("Control+Enter")
    visitor.see("own texts", page.locator("#lens-heat-0-0"), "I love tea")
    visitor.click("Score pairs")
    visitor.see("all pairs", page.locator("#lens-count"), re.compile(r"^310 of 310"))


STEPS: dict[str, Callable[[Visitor], None]] = {
    "arrive": arrive, "ask": ask, "own prompt": own_prompt, "vote": vote, "curves": curves, "train": train,
    "stop and resume": stop_and_resume, "ask while training": ask_while_training, "sweep": sweep, "audit": audit,
    "lens": lens,
}  # fmt: skip


def walk(page: Page, steps: list[str]) -> list[dict[str, object]]:
    """Take the steps, one after the other; what each took."""
    visitor, rows = Visitor(page), []
    for name in steps:
        visitor.begin()
        STEPS[name](visitor)
        rows.append({"step": name, "clicks": visitor.clicks, "fields": visitor.fields, "seconds": visitor.waits})
        waits = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in visitor.waits.items())
        print(f"| {name} | {visitor.clicks} | {visitor.fields} | {waits} |", flush=True)
    return rows


def main() -> int:
    """Serve, walk, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(STEPS), metavar="NAME", help="|".join(STEPS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    print("| step | clicks | fields | seconds |\n|---|---:|---:|---|")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as playwright:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        command = [sys.executable, "-m", "dpo", "serve", "--port", port]
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            found = next(match for line in server.stdout if (match := re.search(r"http://[\d.]+:\d+", line)))
            browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.set_default_timeout(PATIENCE)
            page.goto(found[0], wait_until="commit")
            rows = walk(page, options.only or list(STEPS))
            browser.close()
        finally:
            jobs = Jobs(Path(folder) / "runs")
            for job in jobs.all():
                if not job.over:
                    jobs.stop(job.ident)
            server.terminate()
            server.wait()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
