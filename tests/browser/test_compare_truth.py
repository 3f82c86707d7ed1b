"""Small truths of the Compare page: what was stopped is not answered, equal answers leave nothing to choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asking import ask, wait_done
from playwright.sync_api import expect

from dpo.runs import BUNDLED_RUNS

TWICE = "policy=demo/gpt2&policy=demo/gpt2"


def test_equal_answers_leave_nothing_to_choose(serve: Any, open_page: Any, tmp_path: Path) -> None:
    url = serve([tmp_path, BUNDLED_RUNS])
    page = open_page(f"{url}/?prompt=Tea&temperature=0.5&{TWICE}")
    ask(page, "Tea?", tokens=6)
    wait_done(page, 2)
    expect(page.locator("#cmp-vote-note-0")).to_have_text("Both answers are the same: there is nothing to choose")
    expect(page.locator("#cmp-vote-0 .vote-button:enabled")).to_have_count(0)
    # The navigation's address is bare, that of the answers is not.
    address = page.url
    assert "prompt=Tea%3F" in address
    page.locator('.navigation a[href="/runs"]').click()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    page.locator('.navigation a[href="/"]').click()
    expect(page.locator("#cmp-prompt")).to_be_visible()
    page.wait_for_function("address => location.href === address", arg=address)
    # What does nothing at temperature 0 is said beside it.
    expect(page.locator("#cmp-greedy")).to_be_hidden()
    page.get_by_label("Temperature").fill("0")
    expect(page.locator("#cmp-greedy")).to_contain_text("change nothing")


def test_what_was_stopped_is_not_answered(serve: Any, open_page: Any, tmp_path: Path) -> None:
    page = open_page(serve([tmp_path, BUNDLED_RUNS]) + "/?prompt=Soup&temperature=5&top_p=1")
    ask(page, "Tell me everything about soup.", tokens=2000)
    page.wait_for_function("document.getElementById('cmp-out-0').textContent.length > 20", timeout=120_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    stopped = page.evaluate(
        "[...document.querySelectorAll('#cmp-rows .pill')].filter(p => /stop/.test(p.textContent)).length"
    )
    assert stopped > 0
    expect(page.locator("#cmp-progress")).to_contain_text(f"{4 - stopped} of 4 answered, {stopped} stopped")
