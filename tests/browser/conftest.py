"""The real app, served as `app.py` serves it, in a real Chromium."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from run_rows import row
from waitress.server import create_server

from dpo.dashboard.application import create_app
from dpo.runs import BUNDLED_RUNS, RunRecord
from scripts.ensure_browser import system_browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A slow machine is not a broken page.
expect.set_options(timeout=30_000)
Open = Callable[..., Page]
Serve = Callable[..., str]


def _wait_for_function(self: Page, expression: str, *, arg: Any = None, timeout: float = 60_000) -> None:
    """Wait until an expression holds, asking from outside.

    Playwright's own makes code of a string within the page, which the page's Content-Security-Policy forbids.
    """
    until = time.monotonic() + timeout / 1000
    while True:
        try:
            if self.evaluate(expression, arg):
                return
        except PlaywrightError as error:
            if "context was destroyed" not in str(error):
                raise
        if time.monotonic() > until:
            raise PlaywrightTimeout(f"{timeout / 1000:g} s went by without {expression}")
        self.wait_for_timeout(50)


Page.wait_for_function = _wait_for_function  # type: ignore[assignment,method-assign]


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Browser]]:
    """Start a Chromium with further flags."""
    path = system_browser()
    with sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])


@pytest.fixture(scope="session")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    made = launch()
    yield made
    made.close()


class Front:
    """A port on which one app after another is served: a browser keeps what it fetched, and compiled, by address."""

    def __init__(self) -> None:
        self.app: Any = None
        self._server = create_server(self._answer, host="127.0.0.1", port=0, threads=16, send_bytes=1)
        threading.Thread(target=self._server.run, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.effective_port}"

    def _answer(self, environment: Any, start_response: Any) -> Any:
        return self.app.server(environment, start_response)

    def take_away(self) -> None:
        """End the app's threads, and with them the streams that are still open."""
        for worker in self.app.server.config["services"]:
            worker.close()

    def close(self) -> None:
        self._server.close()


@pytest.fixture(scope="session")
def fronts() -> Iterator[list[Front]]:
    """Ports without an app."""
    free: list[Front] = []
    yield free
    for front in free:
        front.close()


@contextlib.contextmanager
def _serving(fronts: list[Front], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    used = []

    def start(roots: list[Path], **options: Any) -> str:
        options.setdefault("votes", tmp_path_factory.mktemp("votes") / "votes.sqlite")
        front = fronts.pop() if fronts else Front()
        front.app = create_app(roots, **options)
        used.append(front)
        return front.url

    yield start
    for front in reversed(used):
        front.take_away()
        fronts.append(front)


@pytest.fixture
def serve(fronts: list[Front], tmp_path_factory: pytest.TempPathFactory, forked: None) -> Iterator[Serve]:
    """Serve the app over directories of runs; returns its address."""
    with _serving(fronts, tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def bundled(fronts: list[Front], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one app over the bundled runs, for tests that leave nothing behind there: no vote, no job.

    Its policies are loaded once for all of them.
    """
    with _serving(fronts, tmp_path_factory) as start:
        yield start([BUNDLED_RUNS])


@pytest.fixture(scope="session")
def visitors(browser: Browser) -> list[BrowserContext]:
    """Browser contexts that outlive a test, the n-th for the n-th page that a test opens.

    A new one would fetch and compile all scripts again: a third of what it takes to open a page.
    """
    return []


def _as_new(context: BrowserContext, page: Page, url: str) -> None:
    """Forget what an earlier test left at an address."""
    context.clear_cookies()
    context.clear_permissions()
    context.new_cdp_session(page).send(
        "Storage.clearDataForOrigin", {"origin": url, "storageTypes": "local_storage,indexeddb"}
    )


@pytest.fixture
def open_page(browser: Browser, visitors: list[BrowserContext]) -> Iterator[Open]:
    """Open an address as a visitor of its own; errors in the console and requests to other hosts fail the test."""
    opened: list[BrowserContext] = []
    problems: list[str] = []

    def go(url: str, width: int = 1280, scheme: str = "light", first_visit: bool = False) -> Page:
        if len(opened) == len(visitors):
            visitors.append(browser.new_context())
        context = visitors[len(opened)]
        opened.append(context)
        own = "/".join(url.split("/")[:3])
        page = context.new_page()
        _as_new(context, page, own)
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        if not first_visit:  # else Compare opens with the stored example
            page.add_init_script("localStorage.setItem('dpo-asked', 'yes')")
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((own, "data:", "blob:"))
                else problems.append(f"request to {request.url}")
            ),
        )
        page.goto(url)
        return page

    yield go
    for context in opened:
        for page in context.pages:
            page.close()
    # A refused request (400) is told in the page; the browser also notes it in its console.
    assert [problem for problem in problems if "status of 400" not in problem] == []


@pytest.fixture
def write_run() -> Callable[..., RunRecord]:
    """Write a run as a training does."""

    def write(directory: Path, family: str, steps: int = 20, state: str = "finished", slope: float = 0.05) -> RunRecord:
        record = RunRecord.create(
            directory,
            {
                "name": directory.name,
                "kind": "dpo",
                "family": family,
                "state": state,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "config": {"beta": 0.1, "learning_rate": 1e-4, "model": f"demo/{family}"},
                "dataset": {"source": "pairs.jsonl", "train": 90, "held_out": 10},
                "step_zero": {"loss": 0.693147, "expected": 0.693147, "passed": True, "max_logp_gap": 0.0},
                "progress": {"step": steps, "max_steps": 40},
            },
        )
        for step in range(steps):
            record.log(row(step, slope))
        for step in (0, steps - 1):
            record.add_samples(
                [{"step": step, "index": 0, "prompt": "Tea?", "policy": f"{family} at {step} 🍵", "reference": "No."}]
            )
        return record

    return write


@pytest.fixture
def pairs(write_pairs: Callable[..., Path]) -> Path:
    """The file of 64 pairs, for a small training from the page."""
    rows = [{"prompt": f"Do you like tea {i}?", "chosen": f"I do {i}!", "rejected": f"No {i}."} for i in range(64)]
    return write_pairs(rows)
