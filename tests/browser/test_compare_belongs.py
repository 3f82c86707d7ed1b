"""What Compare says of an answer is true of it, whatever is changed, asked again or looked back at meanwhile."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from asking import ask, press_generate, wait_done
from playwright.sync_api import Page, expect

from dpo import Sampling, generate, load_policy

GPT2 = "policy=demo/gpt2&policy=demo/gpt2-dpo"


def answers(page: Page) -> list[str]:
    return page.locator(".pane:visible .out").all_inner_texts()


def two_tabs_and_somebody_else(page: Page, first: list[str], open_page: Any) -> None:
    """The address brings the answers too, in a second tab; there is one history, and no tab takes another's place."""
    entries = page.locator("#cmp-history .history-open")
    tab = page.context.new_page()
    tab.goto(page.url)
    expect(tab.locator("#cmp-out-1")).to_have_text(first[1])
    expect(tab.locator("#cmp-progress")).to_have_text("2 of 2 answered · from the history")
    expect(tab.locator("#cmp-belong")).to_be_hidden()
    press_generate(page)
    wait_done(page, 2)
    assert answers(page) == first
    ask(tab, "What about cake?")
    wait_done(tab, 2)
    page.locator("#cmp-history-open").click()
    expect(page.locator("#cmp-history .history-open b")).to_have_text(
        ["What about cake?", "Do you like tea?", "And coffee?", "Do you like tea?"]
    )
    page.get_by_role("textbox", name="Search the history").fill("COFFEE seed")
    expect(entries).to_have_count(1)
    page.get_by_role("button", name="Delete “And coffee?”").click()
    expect(page.get_by_role("status").filter(has_text="Nothing holds these words.")).to_be_visible()
    page.get_by_role("textbox", name="Search the history").fill("")
    expect(entries).to_have_count(3)
    # Somebody else has another history: the same address brings the prompt and the settings, not the answers.
    other = open_page(page.url)
    expect(other.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("Do you like tea?")
    other.locator("#cmp-history-open").click()
    expect(other.get_by_role("status").filter(has_text="Nothing yet")).to_be_visible()
    expect(other.locator("#cmp-out-1")).to_be_empty()


def test_labels_commands_and_history_belong_to_the_answers_shown(bundled: str, open_page: Any) -> None:
    query = urlencode({"prompt": "Do you like tea?", "max_new_tokens": 12, "seed": 3})
    page = open_page(f"{bundled}/?{query}&{GPT2}&lambda_gpt2=1.5")
    expect(page.locator("#cmp-name-1")).to_contain_text("λ 1.50")
    press_generate(page)
    wait_done(page, 2)
    first, address = answers(page), parse_qs(urlsplit(page.url).query)
    expect(page.locator("#cmp-belong")).to_be_hidden()
    # Another strength is that of the next answer, not of this one.
    page.get_by_role("slider", name="Alignment strength of decoder only models").press("End")
    expect(page.locator("#cmp-lambda-value-causal")).to_have_text("3.00")
    expect(page.locator("#cmp-belong")).to_have_text("Settings changed since: λ of GPT-2.")
    expect(page.locator("#cmp-rows")).to_have_class(re.compile("stale"))
    expect(page.locator("#cmp-name-1")).to_contain_text("λ 1.50")
    expect(page.locator("#cmp-vote-0 [data-verdict=b]")).to_have_text("DPO λ 1.50 better")
    assert "--lambda 1 1.5" in page.locator("#cmp-command").inner_text()
    page.get_by_role("textbox", name="Prompt").fill("And coffee?")
    page.get_by_label("Seed", exact=True).fill("4")
    expect(page.locator("#cmp-belong")).to_have_text(
        "Answers to: “Do you like tea?”. Settings changed since: seed, λ of GPT-2."
    )
    expect(page.locator("#cmp-seen-causal")).to_have_text("Do you like tea?⏎")
    press_generate(page)
    wait_done(page, 2)
    expect(page.locator("#cmp-belong")).to_be_hidden()
    expect(page.locator("#cmp-name-1")).to_contain_text("λ 3.00")
    assert answers(page) != first
    # Looking back brings the answers, and all that made them.
    entries = page.locator("#cmp-history .history-open")
    page.locator("#cmp-history-open").click()
    expect(entries).to_have_count(2)
    expect(entries.nth(1)).to_contain_text("GPT-2 base, GPT-2 DPO · λ 1.5 · seed 3")
    expect(page.get_by_role("textbox", name="Search the history")).to_be_focused()
    entries.nth(1).click()
    expect(page.locator("#cmp-history")).to_be_hidden()
    expect(page.locator("#cmp-out-1")).to_have_text(first[1])
    expect(page.locator("#cmp-lambda-value-causal")).to_have_text("1.50")
    expect(page.locator("#cmp-name-1")).to_contain_text("λ 1.50")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("3")
    expect(page.locator("#cmp-seen-causal")).to_have_text("Do you like tea?⏎")
    expect(page.locator("#cmp-belong")).to_be_hidden()
    assert parse_qs(urlsplit(page.url).query) == address
    two_tabs_and_somebody_else(page, first, open_page)


def test_asking_again_while_the_first_is_written_hears_the_second_only(bundled: str, open_page: Any) -> None:
    page = open_page(f"{bundled}/?{urlencode({'temperature': 5, 'top_p': 1})}&{GPT2}")
    expect(page.locator(".pane:visible")).to_have_count(2)
    ask(page, "Tell me a very long story.", tokens=1500)
    page.wait_for_function("document.getElementById('cmp-out-1').textContent.length > 20", timeout=120_000)
    before = page.evaluate("window.dpo.compare.state().id")
    # At this temperature some seeds end the answer before it can be stopped; 500,000 writes until the context is full.
    page.evaluate("Math.random = () => 0.5")
    page.locator("#cmp-pane-1").get_by_role("button", name="Answer again with another seed").click()
    page.wait_for_function("before => window.dpo.compare.state().id !== before", arg=before)
    kept = page.locator("#cmp-out-0").inner_text()
    expect(page.locator("#cmp-stop-box")).to_be_visible()
    page.wait_for_function("document.getElementById('cmp-out-1').textContent.length > 200", timeout=120_000)
    # Stop is still there and acts, what is on screen is what came, and the other pane has kept its text.
    expect(page.locator("#cmp-stop-box")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#cmp-generate-box")).to_be_visible()
    shown, seed, other = page.evaluate(
        "(({ samples }) => [samples[1][0].text, samples[1][0].seed, samples[0][0].text])(window.dpo.compare.state())"
    )
    assert page.locator("#cmp-out-1").text_content() == shown and seed == 500_000
    assert page.locator("#cmp-out-0").inner_text() == kept == other
    # The text is one policy's for one seed, from its first letter on.
    settings = Sampling(temperature=5, top_p=1.0, top_k=0, max_new_tokens=40, seed=seed)
    [alone] = generate(load_policy("demo/gpt2-dpo", device="cpu"), ["Tell me a very long story."], settings)
    assert shown.strip().startswith(alone.text.strip()[:60])
    command = page.locator("#cmp-command").inner_text()
    assert "--policies demo/gpt2 " in command and "--policies demo/gpt2-dpo " in command
    assert command.count("--max-new-tokens 1500") == 2 and f"--seed {seed}" in command
