"""The whole journey without a mouse: ask, vote, train, stop, resume, compare, audit, report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from asking import wait_done
from playwright.sync_api import Locator, Page, expect

from dpo.runs import BUNDLED_RUNS
from dpo.training.jobs import Jobs

SLOW = 240_000  # PyTorch is started anew for each training
MOST_STOPS = 90
"""Of the Tab key from the top of a page to anything on it."""


class Keyboard:
    """Somebody who has no mouse: whatever is pressed or filled in was reached by the Tab key, and is in sight."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.press = page.keyboard.press

    def reach(self, wanted: Locator, key: str = "Tab") -> None:
        expect(wanted).to_be_enabled()
        for _ in range(MOST_STOPS):
            if wanted.evaluate("node => node === document.activeElement"):
                expect(wanted).to_be_in_viewport()
                return
            self.press(key)
        raise AssertionError(f"{MOST_STOPS} stops of {key} do not lead to {wanted}")

    def use(self, wanted: Locator, key: str = "Enter") -> None:
        self.reach(wanted)
        self.press(key)

    def fill(self, wanted: Locator, text: str) -> None:
        self.reach(wanted)
        self.press("Control+A")
        self.page.keyboard.type(text)

    def leave(self) -> None:
        """Go on to where letters are not text: shortcuts count there."""
        field = "document.activeElement.closest('input, textarea, select, [contenteditable=true]') !== null"
        for _ in range(MOST_STOPS):
            if not self.page.evaluate(field):
                return
            self.press("Tab")
        raise AssertionError(f"{MOST_STOPS} stops of Tab lead out of no field")

    def visit(self, letter: str, title: str) -> None:
        """By the page's shortcut."""
        self.leave()
        self.press("g")
        self.press(letter)
        expect(self.page.get_by_role("heading", name=title, exact=True)).to_be_attached()


@pytest.fixture
def runs(tmp_path: Path) -> Any:
    """Where runs go; no training outlives its test."""
    path = tmp_path / "runs"
    path.mkdir()
    yield path
    for job in Jobs(path).all():
        if not job.over:
            Jobs(path).stop(job.ident)


def ask_and_vote(keys: Keyboard) -> None:
    page = keys.page
    keys.fill(page.get_by_role("textbox", name="Prompt"), "Do you like tea?")
    keys.press("Control+Enter")
    wait_done(page, 2)
    keys.leave()
    keys.press("v")
    keys.press("Enter")
    expect(page.locator("#cmp-vote-0 .voted")).to_be_visible()


def train(keys: Keyboard, model: Path, pairs: Path) -> None:
    page = keys.page
    keys.visit("t", "Training")
    keys.use(page.get_by_role("button", name="New run").first)
    keys.fill(page.get_by_label("Run name"), "tiny")
    wanted = {"model": model, "dataset": pairs, "max_steps": 1500}
    for setting, value in wanted.items():
        keys.fill(page.locator(f"#st-f-{setting}"), str(value))
    small = {
        "max_prompt_length": 24, "max_completion_length": 24, "max_eval_pairs": 2, "batch_size": 2, "logging_steps": 1,
        "eval_steps": 9000, "probes": 0, "kl_prompts": 0,
    }  # fmt: skip
    for setting, number in small.items():
        keys.reach(page.get_by_label("Search settings"), "Shift+Tab")
        keys.press("Control+A")
        page.keyboard.type(setting.replace("_", " "))
        keys.fill(page.locator(f"#st-f-{setting}"), str(number))
    expect(page.locator("#st-command")).to_contain_text("--kl-prompts 0")
    keys.use(page.get_by_role("button", name="Start training"))


def step_of(job: Locator) -> int:
    found = re.search(r"step ([\d,]+) of", job.locator(".num").inner_text())
    return int(found[1].replace(",", "")) if found else 0


def stop_resume_and_compare(keys: Keyboard) -> None:
    page = keys.page
    job = page.locator(".st-job", has_text="tiny")
    expect(job.locator(".num")).to_have_text(re.compile(r"step [1-9]"), timeout=SLOW)
    keys.use(job.get_by_role("button", name="Stop tiny"))
    expect(job).to_have_attribute("data-state", "stopped", timeout=SLOW)
    stopped = step_of(job)
    keys.use(job.get_by_role("button", name="Resume tiny"))
    again = page.locator(".st-job", has_text="resumed")
    expect(again).to_have_attribute("data-state", "finished", timeout=SLOW)
    assert step_of(again) > stopped
    keys.use(again.get_by_role("link", name="Compare tiny with its base"))
    expect(page.get_by_role("textbox", name="Prompt")).to_be_visible()
    expect(page).to_have_url(re.compile("tiny"))
    keys.fill(page.get_by_role("textbox", name="Prompt"), "And coffee?")
    keys.press("Control+Enter")
    wait_done(page, 2)
    expect(page.locator("#cmp-pane-1")).to_contain_text("tiny")


def audit_and_report(keys: Keyboard) -> None:
    page = keys.page
    keys.visit("d", "Data")
    keys.use(page.get_by_role("button", name="Audit", exact=True))
    expect(page.locator("#da-rows .ag-row").first).to_be_visible(timeout=SLOW)
    keys.visit("r", "Runs")
    expect(page.locator("#rn-grid .ag-row").first).to_be_visible()
    with page.expect_download() as download:
        keys.use(page.get_by_role("button", name="Export report"))
    assert "tiny" in Path(download.value.path()).read_text(encoding="utf-8")


@pytest.mark.slow  # each page also has tests of its own keys
@pytest.mark.timeout(900)
def test_the_whole_journey_without_a_mouse(
    serve: Any, open_page: Any, runs: Path, policy_dirs: dict[str, Path], pairs: Path
) -> None:
    # What a run was tuned from is read where the server was told to.
    url = serve([runs, BUNDLED_RUNS, policy_dirs["gpt2"].parent], data_directory=pairs.parent)
    both = "policy=demo/gpt2-dpo&policy=demo/gpt2&max_new_tokens=8"
    keys = Keyboard(open_page(f"{url}/?{both}"))
    ask_and_vote(keys)
    train(keys, policy_dirs["gpt2"], pairs)
    stop_resume_and_compare(keys)
    audit_and_report(keys)
