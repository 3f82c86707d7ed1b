"""The Evaluate page in a real browser: from set-up over stop and resume to an exported report, and its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluations import stored
from playwright.sync_api import expect

LONG, SHORT = "I am much longer, honestly 😊", "Short."


def rows_of(path: Path, kind: str) -> list[dict[str, Any]]:
    lines = (path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def test_from_set_up_over_stop_and_resume_to_a_report(serve: Any, open_page: Any, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    page = open_page(serve([runs]) + "/evaluate?new=1&policy=demo/gpt2-dpo")
    expect(page.get_by_role("textbox", name="Held-out prompts of")).to_have_value("sample")
    for label, value in (("How many", "32"), ("Samples of each", "2"), ("New tokens, at most", "64")):
        page.get_by_label(label).fill(value)
    page.get_by_label("Temperatures").fill("0.7, 1")
    expect(page.locator("#ev-size")).to_contain_text("2 samples: sees")
    expect(page.locator("#ev-command")).to_contain_text("dpo eval demo/gpt2-dpo --dataset sample --prompts 32")
    expect(page.locator("#ev-work")).to_contain_text("at most here")  # measured on this machine
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("#ev-run-title")).to_contain_text("Answering and judging,", timeout=90_000)
    page.wait_for_function("[...document.querySelectorAll('.ev-part progress')].some(bar => bar.value > 0)")
    expect(page.get_by_label("GPT-2 DPO")).to_be_visible()
    page.get_by_role("button", name="Stop and show what there is").click()
    expect(page.locator("#ev-run-title")).to_have_text("Stopped", timeout=90_000)
    [path] = (runs / "evaluations").iterdir()
    kept = {row["key"] for row in rows_of(path, "answer")}
    expect(page.locator("#ev-sub")).to_contain_text("not complete")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#ev-sub")).to_contain_text("complete, nothing left", timeout=180_000)
    expect(page.locator("#ev-running")).to_be_hidden()
    answers = [row["key"] for row in rows_of(path, "answer")]
    assert len(set(answers)) == len(answers) and kept <= set(answers)  # none lost, none double
    expect(page.locator("#ev-headline")).to_contain_text("GPT-2 DPO")
    expect(page.locator("#ev-temperature .scatterlayer .trace")).to_have_count(1)
    page.locator("#ev-export summary").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="One HTML report").click()
    report = tmp_path / download.value.suggested_filename
    download.value.save_as(report)
    assert page.context.browser is not None
    offline = page.context.browser.new_context(offline=True, viewport={"width": 420, "height": 900})
    try:  # from disk, without a network, on a phone
        opened, asked = offline.new_page(), list[str]()
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(report.as_uri())
        expect(opened.get_by_role("heading", level=1)).to_have_text("Evaluation of demo/gpt2-dpo")
        assert asked == [report.as_uri()] and opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    finally:
        offline.close()


def test_prompts_are_filtered_opened_and_kept_in_the_address(serve: Any, open_page: Any, tmp_path: Path) -> None:
    path = tmp_path / "evaluations" / "first"
    stored(path, {"tuned": [LONG] * 18 + [SHORT, "Same one."], "base": [SHORT] * 18 + [LONG, "Same one."]})
    url = serve([tmp_path])
    page = open_page(url + "/evaluate")
    expect(page.locator("#ev-headline")).to_contain_text("tuned is longer than base more often")
    openers = page.locator("#ev-rows .ev-open")
    expect(openers).to_have_count(12)
    expect(openers.first).to_have_text("Question 18?")  # what was lost comes first
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#ev-count")).to_have_text("13 to 20 of 20")
    page.get_by_role("button", name="Lost 1").click()
    expect(openers).to_have_count(1)
    expect(page.locator(".ev-strip")).to_have_attribute("aria-label", "Rule: longer wins: base")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(".ev-detail .pane").first).to_contain_text(LONG)
    expect(page.locator(".ev-detail li").first).to_contain_text("Rule: longer wins: base")
    again = open_page(page.url)
    expect(again.locator(".ev-detail .pane").first).to_contain_text(LONG)
    expect(again.get_by_role("button", name="Lost 1")).to_have_attribute("aria-pressed", "true")
    assert "prompt=Question" in (again.get_by_role("link", name="Compare: Question 18?").get_attribute("href") or "")
    again.get_by_role("link", name="Lens: Question 18?").click()
    again.wait_for_function("location.pathname === '/lens' && new URLSearchParams(location.search).get('a')")
    away = open_page(url + "/evaluate?evaluation=/etc", width=420)
    expect(away.locator("#ev-problem")).to_contain_text("is in none of the directories shown here")
    expect(away.locator("#ev-result")).to_be_hidden()


def test_without_an_evaluation_it_says_how_to_make_one(serve: Any, open_page: Any, tmp_path: Path) -> None:
    page = open_page(serve([tmp_path]) + "/evaluate", width=420)
    expect(page.get_by_role("heading", name="No evaluation yet")).to_be_visible()
    expect(page.locator("#ev-result, #ev-export")).to_have_count(2)
    expect(page.locator("#ev-result")).to_be_hidden()
    page.get_by_role("button", name="New evaluation").click()
    expect(page.locator("#ev-size")).to_contain_text("sees")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#ev-temps").fill("hot")
    expect(page.locator("#ev-setup-problem")).to_contain_text("give numbers such as 0, 0.7, 1")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()


def test_votes_on_an_evaluation_are_blind_and_become_a_judge(serve: Any, open_page: Any, tmp_path: Path) -> None:
    path = tmp_path / "evaluations" / "e"
    stored(path, {"demo/gpt2-dpo": [LONG] * 3, "demo/gpt2": [SHORT] * 3})
    page = open_page(serve([tmp_path]) + "/evaluate")
    page.get_by_role("button", name="Vote on 40 prompts").click()
    for left in (3, 2, 1):
        expect(page.locator("#ev-ballot-note")).to_contain_text(f"{left} to go")
        expect(page.locator("#ev-ballot-prompt")).to_contain_text("Question")
        assert "GPT-2" not in page.locator("#ev-ballot").inner_text()
        short = "A better" if page.locator("#ev-ballot-a").inner_text() == SHORT else "B better"
        page.get_by_role("button", name=short).click()
    expect(page.locator("#ev-ballot-note")).to_contain_text("All are voted on")
    page.get_by_role("button", name="Count the votes").click()
    page.get_by_role("button", name="People", exact=True).click()
    expect(page.locator("#ev-headline")).to_contain_text("People: 3 prompts cannot tell whether GPT-2 DPO is better")
    expect(page.locator("#ev-wins")).to_contain_text("0 won, 0 tied, 3 lost")
