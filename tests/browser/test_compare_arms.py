"""Compare with other engines and servers, conversations that go on, and tint as tokens arrive."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from asking import press_generate, wait_done
from playwright.sync_api import Page, expect

from dpo.evaluation.lens import open_lens
from dpo.generation.engine import Engine
from dpo.generation.remote import Remote
from dpo.generation.settings import Sampling
from dpo.generation.spec import PolicySpec
from dpo.runs import BUNDLED_RUNS

PLAIN = "plain sampling: same noise, λ and tint do not act here."


def link(url: str, arms: list[str], **settings: Any) -> str:
    return f"{url}/?{urlencode([*settings.items(), *(('policy', arm) for arm in arms)])}"


def generate(page: Page, count: int) -> None:
    press_generate(page)
    wait_done(page, count)


def pick(page: Page, pane: int, name: str) -> None:
    page.locator(f"#cmp-policy-{pane}").click()
    page.get_by_role("option", name=name, exact=True).click()


def test_another_server_stands_in_a_pane(serve: Any, open_page: Any) -> None:
    remote = Remote.of(f"upstairs={serve([BUNDLED_RUNS])}/v1,demo/gpt2-dpo")
    url = serve([BUNDLED_RUNS], remotes=[remote])
    asked = {"prompt": "Hello!", "max_new_tokens": 24, "seed": 0}
    page = open_page(link(url, ["demo/gpt2", "demo/gpt2-dpo"], lambda_gpt2=1, **asked))
    expect(page.locator(".pane:visible")).to_have_count(2)
    pick(page, 0, "upstairs")
    pane = page.get_by_role("region", name="upstairs")
    expect(pane).to_contain_text(f"Answered by another server, {PLAIN}")
    page.get_by_role("slider", name="Alignment strength of decoder only models").press("End")
    expect(page.locator("#cmp-name-1")).to_contain_text("λ 3.00")
    expect(page.locator("#cmp-name-0")).not_to_contain_text("λ")
    page.get_by_role("slider", name="Alignment strength of decoder only models").press("Home")
    for _ in range(20):
        page.get_by_role("slider", name="Alignment strength of decoder only models").press("ArrowRight")
    expect(page.locator("#cmp-lambda-value-causal")).to_have_text("1.00")
    generate(page, 2)
    # The other server is ours too: the same policy and seed say the same there.
    said = page.locator("#cmp-out-1").inner_text()
    expect(page.locator("#cmp-out-0")).to_have_text(said)
    expect(page.locator("#cmp-command")).to_contain_text(remote.policy)
    # Equal answers leave nothing to vote on; turned up, the policy here is another competitor.
    expect(page.locator("#cmp-vote-note-0")).to_contain_text("nothing to choose")
    page.get_by_role("slider", name="Alignment strength of decoder only models").press("End")
    generate(page, 2)
    expect(page.locator("#cmp-out-1")).not_to_have_text(said)
    page.locator("#cmp-vote-0").get_by_role("button", name="Tie").click()
    expect(page.locator("#cmp-vote-note-0")).to_contain_text(re.compile("Stored|won"))
    made = page.request.get(f"{url}/api/votes").json()
    assert remote.policy in json.dumps(made["win_rates"]), made
    other = open_page(page.url)
    expect(other.get_by_role("region", name="upstairs")).to_be_visible()
    generate(other, 2)
    expect(other.locator("#cmp-out-0")).to_have_text(said)


def test_a_server_that_was_not_named_is_not_asked(bundled: str, open_page: Any) -> None:
    page = open_page(link(bundled, ["demo/t5", "http://127.0.0.1:9/v1#m"], prompt="Hi"))
    expect(page.locator(".pane:visible")).to_have_count(2)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert").first).to_contain_text("is not a server this one may ask")


@pytest.mark.skipif(importlib.util.find_spec("ctranslate2") is None, reason="the extra is not installed")
def test_ctranslate2_serves_a_pane_and_says_what_it_leaves_out(bundled: str, open_page: Any) -> None:
    url = bundled
    page = open_page(link(url, ["demo/gpt2", "demo/gpt2-dpo"], prompt="Hello!", max_new_tokens=12, temperature=0))
    expect(page.locator(".pane:visible")).to_have_count(2)
    page.locator("#cmp-mode").get_by_text("Reward tint").click()
    pick(page, 0, "GPT-2 DPO · CT2 int8")
    pane = page.get_by_role("region", name="GPT-2 DPO · CT2 int8")
    expect(pane).to_contain_text(f"CTranslate2 int8, {PLAIN}")
    generate(page, 2)
    expect(pane).to_contain_text(re.compile(r"int8 moves a token's log-probability by 0\.\d\d nat on average"))
    expect(page.locator("#cmp-out-1 .tok").first).to_be_visible()
    expect(pane.locator(".tok, .reward")).to_have_count(0)
    page.wait_for_function("location.search.includes('ctranslate2-int8')")
    expect(page.locator("#cmp-command")).to_contain_text("'demo/gpt2-dpo#ctranslate2-int8'")
    pick(page, 0, "GPT-2 DPO · CT2")
    generate(page, 2)
    # In float32 and without random numbers it says what our own loop says.
    expect(page.locator("#cmp-out-0")).to_have_text(page.locator("#cmp-out-1").inner_text())
    # Training goes on from policies, not from engines.
    page.locator("#cmp-votes summary").click()
    page.locator("#cmp-votes-model").click()
    expect(page.get_by_role("option", name="GPT-2 DPO", exact=True).last).to_be_visible()
    expect(page.get_by_role("option", name="GPT-2 DPO · CT2", exact=True).locator("visible=true")).to_have_count(0)


def test_every_pane_goes_on_from_its_own_answer(bundled: str, open_page: Any) -> None:
    url, names = bundled, ["demo/t5", "demo/t5-dpo", "demo/gpt2", "demo/gpt2-dpo"]
    page = open_page(f"{url}/?{urlencode({'prompt': 'Do you like tea?', 'max_new_tokens': 12, 'seed': 3})}")
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value("Do you like tea?")
    generate(page, 4)
    first = [page.evaluate(f"window.dpo.compare.sample({pane}).text") for pane in range(4)]
    page.get_by_label("Next turn").fill("Why?")
    page.get_by_label("Next turn").press("Control+Enter")
    expect(page.locator("#cmp-earlier-0 summary")).to_have_text("1 earlier turn")
    wait_done(page, 4)
    expect(page.get_by_label("Next turn")).to_have_value("")
    engine = Engine(device="cpu")
    try:
        arms = [PolicySpec(name, turns=(("Do you like tea?", said),)) for name, said in zip(names, first, strict=True)]
        job = engine.submit("Why?", arms, Sampling(max_new_tokens=12, seed=3))
        texts = [""] * 4
        for event in engine.follow(job):
            if event["event"] in ("token", "done"):
                texts[event["arm"]] += event["text"]
    finally:
        engine.close()
    assert [page.evaluate(f"window.dpo.compare.sample({pane}).text") for pane in range(4)] == texts
    # What each was given is told of each, also of two of one family.
    assert first[2] != first[3]
    for line, name, said in zip(page.locator("#cmp-seen-causal span").all(), ("base", "DPO"), first[2:], strict=True):
        expect(line).to_have_text(re.compile(rf"^GPT-2 {name}: .*{re.escape(said.strip())}⏎.*Why"))
    # The reward of a later turn is that of the answer after the whole conversation.
    talk = [("user", "Do you like tea?"), ("assistant", first[1]), ("user", "Why?")]
    look = open_lens("demo/t5-dpo", device="cpu").look(
        [{"role": role, "content": text} for role, text in talk], [texts[1]]
    )
    page.wait_for_function("window.dpo.compare.sample(1).look", timeout=180_000)
    seen = page.evaluate("window.dpo.compare.sample(1).look.reward")
    assert seen == pytest.approx(look[0].record()["reward"], abs=1e-4)
    expect(page.locator("#cmp-chips-1")).to_contain_text("reward")
    for pane in range(4):
        earlier = page.locator(f"#cmp-earlier-{pane}")
        expect(earlier.locator("p").first).to_be_hidden()
        earlier.locator("summary").click()
        expect(earlier.locator(".asked")).to_have_text("Do you like tea?")
        expect(earlier.locator(".answered")).to_have_text(first[pane])
    # The link is the first prompt's, and says so; the Python snippet has the whole conversation.
    assert "Why" not in page.url
    expect(page.locator("#cmp-follow-note")).to_contain_text("The link keeps the first prompt only")
    expect(page.locator("#cmp-command")).to_contain_text("# the first turn of 2")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy Python").click()
    page.wait_for_function("navigator.clipboard.readText()")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(page.evaluate("navigator.clipboard.readText()"), "copied", "exec"), {})
    assert all(text.strip() in out.getvalue() for text in texts)
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("#cmp-out-0")).to_have_text("")
    expect(page.locator("#cmp-earlier-0")).to_be_hidden()
    expect(page.get_by_label("Next turn")).to_be_hidden()
    generate(page, 4)
    assert page.evaluate("window.dpo.compare.sample(3).text") == first[3]


def test_a_later_turn_is_voted_on_and_no_pair(serve: Any, open_page: Any) -> None:
    url = serve([BUNDLED_RUNS])
    # Each with noise of its own: equal answers leave nothing to vote on.
    page = open_page(link(url, ["demo/t5", "demo/t5-dpo"], prompt="Hello!", max_new_tokens=8, noise="own"))
    expect(page.locator(".pane:visible")).to_have_count(2)
    page.get_by_role("switch", name="Blind").click()
    expect(page.locator("#page-compare")).to_have_class(re.compile("blind"))
    generate(page, 2)
    for turn, blind in enumerate((1, 1), start=1):
        page.get_by_label("Next turn").fill(f"And {turn}?")
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("#cmp-earlier-0 summary")).to_have_text(re.compile(f"^{turn} earlier"))
        wait_done(page, 2)
        # Names were shown after the first of these votes: what follows is a vote, but no blind one.
        expect(page.locator("#cmp-row-0")).to_have_class(re.compile("revealed") if turn > 1 else re.compile("duo$"))
        page.locator("#cmp-vote-0 .vote-button").first.click()
        expect(page.locator("#cmp-vote-note-0")).to_contain_text("blind vote")
        made = page.request.get(f"{url}/api/votes").json()
        assert (made["votes"], made["blind"], made["pairs"]) == (turn, blind, 0)
    assert sum(made["left_out"].values()) == 2


def test_tint_comes_with_the_tokens(bundled: str, open_page: Any) -> None:
    url, arms = bundled, ["demo/gpt2", "demo/gpt2-dpo"]
    long = link(url, arms, prompt="A story.", max_new_tokens=2000, temperature=5, top_p=1, show="Reward tint")
    page = open_page(long)
    expect(page.locator("#cmp-scale")).to_be_visible()
    press_generate(page)
    # Nobody has scored this text yet: it is still being written.
    page.wait_for_function("document.querySelectorAll('#cmp-out-1 .tok').length > 5", timeout=120_000)
    assert page.evaluate("window.dpo.compare.sample(1).look === undefined")
    expect(page.locator("#cmp-out-0 .tok")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    # Of an answer that ended by itself the sum is Lens's.
    short = open_page(link(url, arms, prompt="Hello!", max_new_tokens=64, seed=2, show="Reward tint"))
    expect(short.locator("#cmp-scale")).to_be_visible()
    generate(short, 2)
    expect(short.locator("#cmp-pane-1 .reward")).to_have_count(2, timeout=60_000)
    sample = short.evaluate("window.dpo.compare.sample(1)")
    assert sample["end"] == "eos"
    ratios = [token["policy_logp"] for token in sample["arriving"]["tokens"]]
    assert len(ratios) == sample["tokens"] == len(sample["look"]["tokens"])
    assert 0.1 * sum(ratios) == pytest.approx(sample["look"]["reward"], abs=1e-4)
    # Turned up, the reference is computed anyway: its colours are there as soon as they are asked for.
    turned = open_page(link(url, arms, prompt="Hello!", max_new_tokens=12, lambda_gpt2=1.5))
    expect(turned.locator("#cmp-name-1")).to_contain_text("λ 1.50")
    generate(turned, 2)
    sample = turned.evaluate("window.dpo.compare.sample(1)")
    # A last token that is but the first bytes of an emoji has no text, and no colour.
    assert "".join(token["text"] for token in sample["arriving"]["tokens"]) == sample["text"] != ""
    assert len(sample["arriving"]["tokens"]) >= sample["tokens"] - 1


def test_who_is_quicker_than_the_list_of_policies_is_answered(bundled: str, open_page: Any) -> None:
    page = open_page(link(bundled, ["demo/gpt2", "demo/gpt2-dpo"], prompt="Hello!", max_new_tokens=4))
    expect(page.locator(".pane:visible")).to_have_count(2)
    # As before the list has come. (It may come by itself once more: the answer is wanted in any case.)
    page.evaluate("window.dpo.compare.picked().fill(null); document.getElementById('cmp-generate').click()")
    page.evaluate("window.dash_clientside.compare.policies(window.dpo.compare.known(), 'demo/gpt2', 'demo/gpt2-dpo')")
    wait_done(page, 2)
