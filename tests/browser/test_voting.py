"""Blind votes: what is hidden, what is stored, and the next round of training on them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from asking import ask, press_generate, wait_done
from playwright.sync_api import Page, expect

from dpo.evaluation.votes import Votes
from dpo.runs import BUNDLED_RUNS, open_run

TELLING = re.compile(r"T5|GPT|DPO|Base|demo|encoder|decoder|tok/s|\btokens?\b|differ", re.IGNORECASE)


def blind(page: Page) -> None:
    page.get_by_role("switch", name="Blind").click()
    expect(page.locator("#page-compare")).to_have_class(re.compile("blind"))


def stop_midway(page: Page) -> None:
    """Begin answers that are long in coming, stop them, and keep what was written."""
    page.get_by_role("textbox", name="Prompt").fill("Tell me everything about soup.")
    # By this seed none ends by itself: GPT-2 fills its context (503 tokens), T5 writes on to the limit.
    for label, value in (("Temperature", "5"), ("Top-p", "1"), ("Max new tokens", "2048"), ("Seed", "0")):
        page.get_by_label(label, exact=True).fill(value)
    press_generate(page)
    expect(page.locator("#cmp-out-0")).to_have_text(re.compile(".{20,}", re.DOTALL), timeout=120_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    expect(page.locator("#cmp-progress")).to_contain_text("answered")
    expect(page.locator("#cmp-rows")).to_contain_text("stopped")
    assert len(page.locator("#cmp-out-0").inner_text()) > 20
    for label, value in (("Temperature", "1"), ("Top-p", "1")):
        page.get_by_label(label).fill(value)


def test_blind_hides_names_until_the_vote(serve: Any, open_page: Any) -> None:
    page = open_page(serve([BUNDLED_RUNS]))
    blind(page)
    ask(page, tokens=8)
    wait_done(page)
    rows = page.locator("#cmp-rows > .duo:visible")
    for row in (0, 1):
        text = rows.nth(row).inner_text()
        for pane in rows.nth(row).locator(".out").all():
            text = text.replace(pane.inner_text(), "")  # an answer may say what it likes
        text = re.sub(r"hit 8-token limit", "", text)
        assert not TELLING.search(text), text
    expect(page.get_by_role("region", name="Row 1, answer A")).to_be_visible()
    expect(page.locator("#cmp-repro")).to_be_hidden()
    colors = {
        pane.evaluate("e => getComputedStyle(e).getPropertyValue('--fam')")
        for pane in page.locator(".pane:visible").all()
    }
    assert len(colors) == 1
    first = page.locator("#cmp-vote-0")
    first.get_by_role("button", name="A better").click()
    expect(page.locator("#cmp-row-0")).to_contain_text("T5")
    expect(page.locator("#cmp-vote-note-0")).to_contain_text("blind vote")
    expect(first.get_by_role("button", name="Tie")).to_be_disabled()
    # The other row is still hidden; by keys, too.
    page.locator("body").click(position={"x": 5, "y": 400})
    page.keyboard.press("v")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#cmp-vote-1 .voted")).to_have_text("Tie")
    expect(page.locator("#cmp-repro")).to_be_visible()
    vote_through(page)


def vote_through(page: Page) -> None:
    """The last vote is taken back, the next prompt asked, equal answers are passed over; one number of votes."""
    note = page.locator("#cmp-loop-note")
    expect(note).to_have_text("2 votes so far")
    expect(page.get_by_role("button", name="Next prompt")).to_be_focused()
    page.keyboard.press("u")
    expect(note).to_have_text(re.compile("^1 vote so far · the vote on “.+” is taken back$"))
    expect(page.locator("#cmp-votes-count")).to_contain_text("1 vote so far, 1 blind")
    again = page.locator("#cmp-vote-1 .vote-button").first
    expect(again).to_be_enabled()
    again.click()  # whose names were seen is not blind
    expect(page.locator("#cmp-votes-count")).to_contain_text("2 votes so far, 1 blind")
    before = page.get_by_role("textbox", name="Prompt", exact=True).input_value()
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="Prompt", exact=True)).not_to_have_value(before)
    wait_done(page)
    for name in ("encoder–decoder", "decoder only"):  # at strength 0 both say the same
        page.get_by_role("slider", name=f"Alignment strength of {name} models").press("Home")
    page.get_by_role("button", name="Next prompt").click()
    expect(note).to_contain_text("5 prompts with equal answers skipped", timeout=120_000)
    expect(note).to_contain_text("2 votes so far")


def test_places_are_shuffled(serve: Any, open_page: Any) -> None:
    """In twelve generations both orders of a row come up (a chance of one in 2048 not to)."""
    page = open_page(serve([BUNDLED_RUNS]))
    blind(page)
    seen = set()
    for number in range(12):
        ask(page, f"Hello {number}?", tokens=1)
        wait_done(page)
        seen.add(page.locator("#cmp-pane-0").evaluate("e => e.style.order"))
        if len(seen) == 2:
            break
    assert seen == {"0", "1"}


@pytest.mark.timeout(900)  # with a training in the middle
def test_the_whole_walk(serve: Any, open_page: Any, tmp_path: Path) -> None:
    """Four panes, stop midway, again, vote blind in two browsers, export, train, look closer, share."""
    runs = tmp_path / "runs"
    runs.mkdir()
    url = serve([runs, BUNDLED_RUNS])
    apart = url + "/?prompt=Hi&noise=own&temperature=1&top_p=1"  # equal answers leave nothing to vote on
    first = open_page(apart)
    stop_midway(first)  # alone: a page behind another one need not paint while it is being written to
    second = open_page(apart)
    for page in (first, second):
        blind(page)
    for number in range(2):
        for page in (first, second):
            ask(page, f"What about number {number}?", tokens=8)
            wait_done(page)
        # Cast at once, without waiting for one another.
        for page in (first, second):
            for row in (0, 1):
                page.locator(f"#cmp-vote-{row}").get_by_role("button", name="A better").click()
        for page in (first, second):
            for row in (0, 1):
                expect(page.locator(f"#cmp-vote-note-{row}")).to_contain_text("blind vote")
    made = first.request.get(f"{url}/api/votes").json()
    assert made["votes"] == made["blind"] == 8 and made["voters"] == 2
    assert {row["n"] for row in made["win_rates"]} == {4}
    first.locator("#cmp-votes summary").click()
    first.reload()
    first.locator("#cmp-votes summary").click()
    expect(first.locator("#cmp-votes-tables")).to_contain_text("demo/t5-dpo over demo/t5")
    with first.expect_download() as download:
        first.locator("#cmp-votes-export").click()
    pairs = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert len(pairs) == made["pairs"] > 0 and set(pairs[0]) == {"prompt", "chosen", "rejected"}
    # The next round: five steps from the bundled GPT-2 policy, then in the picker.
    first.locator("#cmp-votes-model").click()
    first.get_by_role("option", name="GPT-2 DPO", exact=True).click()
    first.get_by_label("Steps").fill("5")
    first.get_by_label("Steps").press("Tab")
    first.get_by_role("button", name="Start the next round").click()
    expect(first.locator("#cmp-votes-message")).to_contain_text("is finished", timeout=240_000)
    [directory] = runs.glob("votes-*")
    run = open_run(directory)
    assert run.state == "finished" and run.metrics().steps[-1] == 5 and run.info["dataset"]["pairs"] == len(pairs)
    first.locator("#cmp-policy-3").click()
    first.get_by_role("option", name=re.compile("^votes-causal-.*β")).first.click()
    ask(first, tokens=8)
    wait_done(first)
    pane = first.locator("#cmp-pane-3")
    expect(pane.locator(".out")).not_to_be_empty()
    # A link shows the same to somebody else, and so does Lens.
    other = open_page(first.url)
    press_generate(other)
    wait_done(other)
    expect(other.locator("#cmp-pane-3 .out")).to_have_text(pane.locator(".out").inner_text())
    pane.get_by_role("button", name="Open in Lens").click()
    expect(first.locator("#lens-heats .tok.sel")).to_be_visible(timeout=60_000)
    lens = open_page(first.url)
    expect(lens.locator("#lens-heats .tok.sel")).to_be_visible(timeout=60_000)
    assert lens.locator("#lens-heats").inner_text() == first.locator("#lens-heats").inner_text()


def test_requests_for_votes_are_checked(serve: Any, open_page: Any, tmp_path: Path) -> None:
    votes = tmp_path / "votes.sqlite"
    url = serve([tmp_path], votes=votes)
    page = open_page(url)
    head = {"Content-Type": "application/json"}
    vote = {"key": "k", "prompt": "p", "policy_a": "a", "policy_b": "b", "text_a": "x", "text_b": "y", "verdict": "a"}
    assert page.request.post(f"{url}/api/votes", data=json.dumps(vote), headers=head).json()["stored"] is True
    assert page.request.post(f"{url}/api/votes", data=json.dumps(vote), headers=head).json()["stored"] is False
    for path, body in (
        ("votes", vote | {"verdict": "x"}),
        ("votes", []),
        ("votes/train", {"model": "../../etc"}),
        ("votes/train", {"model": "demo/gpt2", "max_steps": -1}),
        ("votes/train", "train"),
    ):
        assert page.request.post(f"{url}/api/{path}", data=json.dumps(body), headers=head).status == 400, body
    foreign = page.request.post(
        f"{url}/api/votes", data=json.dumps(vote), headers=head | {"Origin": "http://evil.example"}
    )
    assert foreign.status == 403
    assert [stored.key for stored in Votes(votes).all()] == ["k"]  # the first one, and no other
