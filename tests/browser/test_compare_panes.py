"""Panes, samples, tint and links of the Compare page."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any
from urllib.parse import urlencode

from asking import ask, press_generate, wait_done
from playwright.sync_api import Page, expect

from dpo import Sampling, generate, load_policy


def copy(page: Page, button: str) -> str:
    """What a copy button leaves on the clipboard. (Its tick goes after a second: too soon to wait for.)"""
    page.evaluate("navigator.clipboard.writeText('')")
    page.get_by_role("button", name=button).click()
    page.wait_for_function("navigator.clipboard.readText()")
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_panes_come_and_go_and_a_link_restores_them(bundled: str, open_page: Any) -> None:
    page = open_page(bundled)
    panes = page.locator(".pane:visible")
    expect(panes).to_have_count(4)
    page.get_by_role("button", name="Add a pane").click()
    expect(panes).to_have_count(5)
    # What is offered answers with all that the page has; a second one leaves the first alone.
    added = page.locator("#cmp-policy-4").input_value()
    page.get_by_role("button", name="Add a pane").click()
    expect(panes).to_have_count(6)
    expect(page.locator("#cmp-policy-4")).to_have_value(added)
    page.get_by_role("button", name="Remove pane 6").click()
    expect(panes).to_have_count(5)
    page.get_by_role("button", name="Remove pane 2").click()
    page.get_by_role("button", name="Remove pane 3").click()
    page.get_by_role("button", name="Remove pane 4").click()
    expect(panes).to_have_count(2)
    expect(page.get_by_role("button", name="Remove pane 1")).to_be_disabled()
    page.locator("#cmp-policy-4").click()
    page.get_by_role("option", name="GPT-2 DPO", exact=True).click()
    expect(page.get_by_role("region", name="GPT-2 DPO")).to_be_visible()
    page.get_by_label("Samples of each policy").fill("2")
    page.get_by_label("Samples of each policy").press("Tab")
    ask(page)
    wait_done(page, 4)
    shown = [page.locator(f"#cmp-out-{pane}").inner_text() for pane in (0, 4)]
    again = open_page(page.url)
    expect(again.locator(".pane:visible")).to_have_count(2)
    expect(again.get_by_label("Samples of each policy")).to_have_value("2")
    press_generate(again)
    wait_done(again, 4)
    assert [again.locator(f"#cmp-out-{pane}").inner_text() for pane in (0, 4)] == shown


def test_samples_are_the_librarys_for_their_seeds(bundled: str, open_page: Any) -> None:
    link = urlencode({"prompt": "Do you like tea?", "max_new_tokens": 12, "seed": 5, "samples": 3})
    page = open_page(f"{bundled}/?{link}&arm=demo/gpt2&arm=demo/gpt2-dpo")
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value("Do you like tea?")
    expect(page.locator(".pane:visible")).to_have_count(2)
    press_generate(page)
    wait_done(page, 6)
    policy = load_policy("demo/gpt2-dpo", device="cpu")
    pane = page.get_by_role("region", name="GPT-2 DPO")
    for number in range(3):
        pane.get_by_role("button", name=f"Sample {number + 1}").click()
        [answer] = generate(policy, ["Do you like tea?"], Sampling(max_new_tokens=12, seed=5 + number))
        expect(pane.locator(".out")).to_have_text(answer.text.strip())
    expect(pane).to_contain_text("tokens in 3 samples")
    # One pane again, with another seed, leaves the other one alone.
    before = page.get_by_role("region", name="GPT-2 base").locator(".out").inner_text()
    pane.get_by_role("button", name="Answer again with another seed").click()
    expect(pane.get_by_role("button", name="Sample 1")).to_be_hidden()
    expect(page.locator("#cmp-progress")).to_contain_text("answered", timeout=120_000)
    assert page.get_by_role("region", name="GPT-2 base").locator(".out").inner_text() == before


def test_noise_of_their_own(bundled: str, open_page: Any) -> None:
    """Two panes of one policy agree to the letter; with noise of their own policies no longer share their luck."""
    url = bundled
    query = urlencode({"prompt": "Hi there!", "max_new_tokens": 16, "temperature": 1.5})
    page = open_page(f"{url}/?{query}&policy=demo/gpt2&policy=demo/gpt2")
    expect(page.locator(".pane:visible")).to_have_count(2)
    press_generate(page)
    wait_done(page, 2)
    expect(page.locator("#cmp-out-1")).to_have_text(page.locator("#cmp-out-0").inner_text())
    expect(page.locator("#cmp-differ-0")).to_have_text("0% of words differ · 100% of tokens in the same place")
    shared = page.locator("#cmp-out-0").inner_text()
    own = open_page(f"{url}/?{query}&policy=demo/gpt2&policy=demo/gpt2-dpo&noise=own")
    expect(own.get_by_label("Same noise for all")).not_to_be_checked()
    press_generate(own)
    wait_done(own, 2)
    expect(own.locator("#cmp-command")).to_contain_text("--no-same-noise")
    assert own.locator("#cmp-out-0").inner_text() != shared


def test_strength_zero_is_the_base(bundled: str, open_page: Any) -> None:
    query = urlencode({"prompt": "Any fun plans for the weekend?", "max_new_tokens": 24, "temperature": 1.0})
    page = open_page(f"{bundled}/?{query}&lambda_gpt2=0&lambda_t5=0")
    expect(page.locator("#cmp-lambda-value-causal")).to_have_text("0.00")
    expect(page.locator("#cmp-name-1")).to_contain_text("λ 0.00")
    press_generate(page)
    wait_done(page)
    for row in (0, 1):
        expect(page.locator(f"#cmp-out-{2 * row + 1}")).to_have_text(page.locator(f"#cmp-out-{2 * row}").inner_text())
        expect(page.locator(f"#cmp-differ-{row}")).to_contain_text("100% of tokens in the same place")
    slider = page.get_by_role("slider", name="Alignment strength of decoder only models")
    slider.press("End")
    expect(page.locator("#cmp-lambda-value-causal")).to_have_text("3.00")
    expect(page.locator("#cmp-name-3")).to_contain_text("λ 0.00")  # as long as its answer is shown
    press_generate(page)
    expect(page.locator("#cmp-name-3")).to_contain_text("λ 3.00")
    wait_done(page)
    assert page.locator("#cmp-out-3").inner_text() != page.locator("#cmp-out-2").inner_text()
    page.wait_for_function("location.search.includes('lambda_causal=3')")
    expect(page.locator("#cmp-command")).to_contain_text("--lambda 1 0 1 3")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(copy(page, "Copy Python"), "copied", "exec"), {})
    assert page.locator("#cmp-out-3").inner_text().strip() in out.getvalue()


def test_tint_reward_and_lens(bundled: str, open_page: Any) -> None:
    page = open_page(bundled)
    ask(page)
    wait_done(page)
    pane = page.get_by_role("region", name="GPT-2 DPO")
    expect(pane.locator(".reward")).to_have_count(2, timeout=60_000)
    page.locator("#cmp-mode").get_by_text("Reward tint").click()
    expect(pane.locator(".out .tok").first).to_be_visible()
    expect(page.locator("#cmp-scale")).to_be_visible()
    expect(page.get_by_role("region", name="GPT-2 base").locator(".out .tok")).to_have_count(0)
    text, reward = pane.locator(".out").inner_text(), pane.locator(".reward b").first.inner_text()
    pane.get_by_role("button", name="Open in Lens").click()
    heat = page.locator("#lens-heat-0-0")
    expect(heat).to_be_visible(timeout=60_000)
    expect(page.locator("#lens-a")).to_have_value(text)
    expect(page.locator("#lens-prompt")).to_have_value("Do you like tea?")
    expect(page.locator(".heat-card .reward b")).to_have_text(reward)
    # The answer is still there on the way back.
    page.keyboard.press("g")
    page.keyboard.press("c")
    expect(pane.locator(".out")).to_have_text(text)


def test_copies_run_as_they_are(bundled: str, open_page: Any, browser: Any) -> None:
    page = open_page(bundled)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page, 'It\'s <b>tea</b>, "right"?\nOr not?', tokens=6)
    wait_done(page)
    copied = {kind: copy(page, f"Copy {kind}") for kind in ("command", "text", "Python")}
    seed = page.get_by_label("Seed", exact=True).input_value()
    # The snippet says what the page says.
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(copied["Python"], "copied", "exec"), {})
    for pane in range(4):
        assert page.locator(f"#cmp-out-{pane}").inner_text().strip() in out.getvalue()
    assert (
        "dpo.Sampling(temperature=0.3, top_p=0.8, top_k=0, max_new_tokens=6, repetition_penalty=1.1, seed=seed)"
        in (copied["Python"])
    )
    assert copied["text"].startswith("It's <b>tea</b>") and f"T5 DPO (demo/t5-dpo, seed {seed})" in copied["text"]
    assert copied["command"].startswith("dpo compare --prompt 'It'\\''s <b>tea</b>, ")
    # The history brings an earlier answer back.
    first = page.locator("#cmp-out-3").inner_text()
    ask(page, "Something else?", tokens=6)
    wait_done(page)
    page.locator("#cmp-history-open").click()
    page.locator("#cmp-history .history-open").nth(1).click()
    expect(page.locator("#cmp-out-3")).to_have_text(first)
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(re.compile("^It's"))
