"""The Compare page in a browser, with the bundled policies."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from asking import ask, press_generate, wait_done
from playwright.sync_api import Page, expect

from dpo.dashboard.compare.example import EXAMPLE
from dpo.runs import BUNDLED_RUNS

REGIONS = ("T5 base", "T5 DPO", "GPT-2 base", "GPT-2 DPO")


def answer(page: Page, region: str) -> Any:
    return page.get_by_role("region", name=region, exact=True).locator(".out")


def test_four_policies_answer_side_by_side(bundled: str, open_page: Any) -> None:
    page = open_page(bundled)
    ask(page, "Do you believe in luck?", tokens=24)
    wait_done(page)
    texts = []
    for region in REGIONS:
        pane = page.get_by_role("region", name=region, exact=True)
        expect(pane).to_contain_text(re.compile(r"\d+ ?tokens"))
        expect(pane).to_contain_text(re.compile(r"\d+ ?tok/s"))
        expect(pane).to_contain_text(re.compile("ended itself|hit 24-token limit"))
        texts.append(answer(page, region).inner_text())
    assert all(len(text) > 10 for text in texts)
    # Base and DPO draw with the same random numbers, so a pair may begin alike; the families never do.
    assert texts[0] != texts[1] and not {texts[0], texts[1]} & {texts[2], texts[3]}
    expect(page.locator("#cmp-seen-seq2seq")).to_have_text("Do you believe in luck?</s>")
    expect(page.locator("#cmp-seen-causal")).to_have_text("Do you believe in luck?⏎")
    expect(page.locator("#cmp-command")).to_contain_text("dpo compare --prompt 'Do you believe in luck?'")
    # The same seed gives the same text again, also from a link.
    again = open_page(page.url)
    expect(again.get_by_role("textbox", name="Prompt")).to_have_value("Do you believe in luck?")
    expect(again.get_by_label("Max new tokens")).to_have_value("24")
    press_generate(again)
    wait_done(again)
    assert [answer(again, region).inner_text() for region in REGIONS] == texts
    # What differs between base and DPO can be shown.
    page.locator("#cmp-mode").get_by_text("Word diff").click()
    expect(page.get_by_role("region", name="T5 DPO").locator(".new").first).to_be_visible()
    expect(page.locator("#cmp-differ-0")).to_contain_text("% of words differ")
    # Another turn is shown with the answers to it.
    page.get_by_role("textbox", name="Next turn").fill("And why?")
    page.get_by_role("button", name="Continue").click()
    wait_done(page)
    expect(page.locator("#cmp-belong")).to_have_text("To the next turn: “And why?”.")
    # Many prompts are asked as single ones are: the same words, in a table that can be opened and saved.
    page.get_by_role("button", name="Many prompts").click()
    page.get_by_label("Prompts, one a line").fill("Do you believe in luck?\n\nDo you like tea?")
    page.get_by_role("button", name="Ask all").click()
    expect(page.locator("#cmp-many-progress")).to_contain_text("8 of 8 answers in", timeout=120_000)
    table = page.get_by_role("table", name="Answers by prompt and policy")
    cells = table.get_by_role("row", name="Do you believe in luck?").get_by_role("cell")
    assert [cell.locator(".out").inner_text() for cell in cells.all()] == texts
    expect(cells.nth(1)).to_contain_text("reward / token")
    expect(table.locator(".many-all")).to_contain_text("words · emoji")
    with page.expect_download() as download:
        page.get_by_role("button", name="JSONL").click()
    rows = [json.loads(line) for line in Path(download.value.path()).read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 8 and [row["text"].strip() for row in rows[:4]] == [text.strip() for text in texts]
    assert (
        rows[1]["policy"] == "demo/t5-dpo" and isinstance(rows[1]["reward"], float) and rows[1]["max_new_tokens"] == 24
    )
    page.get_by_role("button", name="Open Do you believe in luck?").click()
    assert [answer(page, region).inner_text() for region in REGIONS] == texts
    expect(page.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("Do you believe in luck?")


SHIFTS = """() => new Promise((done) => {
  new PerformanceObserver((list) => done(list.getEntries().reduce((sum, entry) => sum + entry.value, 0)))
    .observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(0), 500);
})"""


def test_a_first_visit_opens_on_stored_answers(bundled: str, open_page: Any) -> None:
    stored = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    url = bundled
    page = open_page(url, width=1440, first_visit=True)
    for pane, given in enumerate(stored["answers"]):
        expect(page.locator(f"#cmp-out-{pane}")).to_have_text(given["text"])
        expect(page.locator(f"#cmp-about-{pane}")).to_have_text(
            re.compile(r"[\d.]+ M parameters · .*[\d,]+ (answers|pairs)")
        )
        box = page.locator(f"#cmp-pane-{pane}").bounding_box()
        assert box is not None and box["y"] + box["height"] <= page.viewport_size["height"] - 28  # above the status bar
    assert page.evaluate(SHIFTS) < 0.05
    expect(page.locator(".question")).to_contain_text("top-p 0.8 · repetition penalty 1.1 · 200 tokens")
    expect(page.locator("#cmp-story-says")).to_have_text(re.compile("^Same question, same noise: after DPO .+[.]$"))
    expect(page.locator("#cmp-differ-0")).to_contain_text("% of words differ")
    expect(page.get_by_role("button", name="Generate")).to_be_hidden()
    texts = {given["policy"]: given["text"] for given in stored["answers"]}
    why = parse_qs(urlsplit(str(page.locator("#cmp-story-why").get_attribute("href"))).query)
    assert why["a"] == [texts["demo/t5-dpo"]] and why["b"] == [texts["demo/t5"]] and why["prompt"] == [stored["prompt"]]
    how = page.locator("#cmp-story-how").get_attribute("href")
    assert how.startswith("/training?run=") and "Llama-3-t5-dpo" in how
    # The walk leads across the pages, by keys, and goes on where it was left.
    page.get_by_role("button", name="Show me around").click()
    card = page.get_by_role("dialog", name="Walk, 1 of 6: Ask")
    expect(card).to_be_focused()
    for stop in ("Walk, 2 of 6", "Walk, 3 of 6"):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("dialog", name=stop)).to_be_focused()
    expect(page).to_have_url(re.compile("/lens[?]policy=demo"))
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Shortcuts (?)").click()
    page.get_by_role("button", name="Show me around").last.click()
    expect(page.get_by_role("dialog", name="Walk, 3 of 6")).to_be_focused()
    for path in ("/training", "/data", "/training"):
        page.get_by_role("button", name="Next").click()
        expect(page).to_have_url(re.compile(path))
    expect(page.locator(".walk-here")).to_contain_text("New run")
    page.get_by_role("button", name="Done").click()
    expect(page.locator(".walk")).to_have_count(0)
    page.get_by_role("link", name="Compare").first.click()
    page.get_by_role("button", name="Try yours").click()
    expect(page.get_by_role("textbox", name="Prompt")).to_be_focused()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(stored["prompt"])
    expect(page.locator("#cmp-out-0")).to_have_text(stored["answers"][0]["text"])
    expect(page.locator("#cmp-belong")).to_be_hidden()
    # The same is asked: what is stored is what these policies say.
    press_generate(page)
    wait_done(page)
    for pane, given in enumerate(stored["answers"]):
        expect(page.locator(f"#cmp-out-{pane}")).to_have_text(given["text"])
    box = page.locator("#cmp-vote-1").bounding_box()
    assert box is not None and box["y"] + box["height"] <= page.viewport_size["height"] - 28
    # From the first question on it does not open by itself; it can be had again.
    page.goto(url)
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    expect(page.locator("#cmp-story")).to_be_hidden()
    page.get_by_role("button", name="Show the example").click()
    expect(page.locator("#cmp-story")).to_be_visible()
    expect(page.locator("#cmp-out-3")).to_have_text(texts["demo/gpt2-dpo"])


def test_keys_mistakes_and_stop(bundled: str, open_page: Any) -> None:
    page = open_page(bundled)
    keys_ask_and_lead_to_a_pane(page)
    mistakes_are_told_in_the_page(page)
    stop_keeps_what_was_written(page)


def keys_ask_and_lead_to_a_pane(page: Page) -> None:
    box = page.get_by_role("textbox", name="Prompt")
    box.fill("Hello!")
    page.get_by_label("Max new tokens").fill("4")
    box.press("Control+Enter")
    wait_done(page)
    page.locator("body").click(position={"x": 5, "y": 400})
    page.keyboard.press("3")
    expect(page.get_by_role("region", name="GPT-2 base")).to_be_focused()


def mistakes_are_told_in_the_page(page: Page) -> None:
    page.get_by_role("textbox", name="Prompt").fill("   ")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_have_text("The prompt is blank: write a question or a sentence.")
    page.get_by_role("textbox", name="Prompt").fill("Tea?")
    expect(page.get_by_role("alert")).to_have_count(0)  # what is mended is not told until the next request
    page.get_by_label("Temperature").fill("")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_have_text("temperature is missing: give a number.")
    page.get_by_label("Temperature").fill("0.5")
    expect(page.get_by_role("alert")).to_have_count(0)
    ask(page, "word " * 900)
    expect(page.get_by_role("region", name="GPT-2 base")).to_contain_text(
        re.compile(r"takes at most \d+"), timeout=120_000
    )
    wait_done(page)


def stop_keeps_what_was_written(page: Page) -> None:
    page.get_by_label("Temperature").fill("5")
    page.get_by_label("Top-p").fill("1")
    ask(page, "Tell me everything about soup.", tokens=2000)
    page.wait_for_function("document.getElementById('cmp-out-0').textContent.length > 20", timeout=120_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    expect(page.locator("#cmp-rows")).to_contain_text("stopped")  # an answer may have ended by itself before
    assert len(answer(page, "T5 base").inner_text()) > 20
    ask(page, "Hello!", tokens=4)
    wait_done(page)


def test_a_missing_policy_fails_alone(serve: Any, open_page: Any, tmp_path: Path) -> None:
    gone = f"{tmp_path}/gone"
    page = open_page(serve([tmp_path, BUNDLED_RUNS]) + f"/?prompt=Hi&max_new_tokens=4&t5={gone}/a|{gone}/b")
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value("Hi")
    press_generate(page)
    wait_done(page)
    expect(page.get_by_role("region", name=f"{gone}/b")).to_contain_text(f"No policy '{gone}/b'")
    expect(page.get_by_role("region", name="GPT-2 DPO")).to_contain_text("tokens")


def test_what_is_out_of_reach_is_told(bundled: str, open_page: Any) -> None:
    page = open_page(bundled + "/?prompt=Hi&policy=demo/t5&policy=../../etc")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert").first).to_contain_text("is not in a directory of runs that this server reads")


def test_a_second_viewer_sees_its_place_in_the_queue(serve: Any, open_page: Any) -> None:
    url = serve([BUNDLED_RUNS])
    first, second = open_page(url), open_page(url)
    first.get_by_label("Temperature").fill("5")
    first.get_by_label("Top-p").fill("1")
    ask(first, "Tell me a very long story.", tokens=2000)
    first.wait_for_function("document.getElementById('cmp-out-0').textContent.length > 0", timeout=120_000)
    ask(second, "Hello!", tokens=4)
    expect(second.get_by_role("region", name="T5 base")).to_contain_text("ahead in the queue")
    first.keyboard.press("Escape")
    wait_done(second)
    assert answer(second, "GPT-2 DPO").inner_text()


def test_no_width_scrolls_sideways(bundled: str, open_page: Any) -> None:
    page = open_page(bundled, width=360)
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        expect(page.get_by_role("button", name="Generate")).to_be_visible()
        assert page.evaluate("[innerWidth, Math.max(innerWidth, document.documentElement.scrollWidth)]") == [width] * 2


def test_nothing_heavy_is_loaded_before_the_first_request() -> None:
    script = (
        "import sys; from dpo.dashboard.application import create_app; create_app([]).server.test_client().get('/');"
        "print([m for m in ('torch', 'transformers', 'trl', 'peft', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--runs", "/nowhere"], "--runs /nowhere is not a directory"),
        (["--port", "99999"], "it must be from 1 to 65535"),
        (["--host", "192.0.2.1"], "cannot be used"),
        (["--remote", "gpu:8000"], "--remote gpu:8000: give NAME=URL[,MODEL]"),
        (["--dtype", "fp8"], "--dtype fp8: use fp32 or bf16"),
    ],
)
def test_app_refuses_mistakes_in_one_line(arguments: list[str], says: str) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "app.py", *arguments], capture_output=True, text=True, cwd=root)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
