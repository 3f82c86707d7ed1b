"""The Lens page in a browser, with the bundled policies and with a run of its own."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from dpo.evaluation.lens import open_lens
from dpo.training.config import TrainConfig
from dpo.training.recipes.dpo import train
from dpo.training.settings import make

PROMPT, CHOSEN, REJECTED = "Do you like tea?", "Oh, I love tea! 😄 You?", "As an AI, I do not drink <b>tea</b>."


def link(url: str, **values: Any) -> str:
    given = {"policy": "demo/gpt2-dpo", "prompt": PROMPT, "chosen": CHOSEN, "rejected": REJECTED} | values
    return f"{url}/lens?{urlencode(given)}"


def scored(page: Page) -> None:
    expect(page.locator("#lens-heats .tok.sel")).to_be_visible(timeout=120_000)
    expect(page.locator("#lens-heats")).not_to_have_class(re.compile("stale"))


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("+", ""))


def number_in(cell: Locator) -> float:
    """The grid fills a cell some time after it is there."""
    expect(cell).to_have_text(re.compile(r"\d"))
    return number(cell.inner_text())


def running(page: Page) -> dict[str, float]:
    """What the running reward's axis shows, and the values from 0 on that it has to show."""
    return page.evaluate(  # type: ignore[no-any-return]
        """() => {
          const plot = document.querySelector("#lens-run-0 .js-plotly-plot");
          const [low, high] = plot._fullLayout.yaxis.range;
          const values = [0, ...plot.data.flatMap((line) => [...line.y])];
          return { low, high, least: Math.min(...values), most: Math.max(...values) };
        }"""
    )


def test_tokens_sums_and_details_are_the_librarys(bundled: str, open_page: Any) -> None:
    page = open_page(link(bundled))
    scored(page)
    look, other = open_lens("demo/gpt2-dpo", device="cpu").look(PROMPT, [CHOSEN, REJECTED])
    for place, (text, one) in enumerate(((CHOSEN, look), (REJECTED, other))):
        card = page.locator(".heat-card").nth(place)
        shown = card.locator(".heat").inner_text().replace("␣", " ").replace("end", "")
        assert re.sub(r"\s+", "", shown) == re.sub(r"\s+", "", text)
        reward = card.locator(".stat", has_text="reward").locator("b").inner_text()
        assert number(reward) == pytest.approx(one.reward, abs=0.006)
        expect(card).to_contain_text(f"{len(one.tokens)}tokens")
    # Every token's colour is its log ratio in nine steps.
    for unit, token in enumerate(look.tokens[:3]):
        ratio = token.policy_logp - token.reference_logp
        step = sum(abs(ratio) >= limit for limit in (0.05, 0.25, 0.5, 0.8))
        expected = f"{'n' if ratio < 0 else 'p'}{step}" if step else ""
        assert set((page.locator(f"#lens-tok-0-0-{unit}").get_attribute("class") or "").split()) - {"sel"} == (
            {"tok", expected} - {""}
        )
    page.locator("#lens-tok-0-0-3").hover()
    card = page.locator("#lens-token")
    token = look.tokens[3]
    expect(card).to_contain_text(f"Token 4 of {len(look.tokens)}, chosen")
    cells = card.locator(".cmp .trip b").all_inner_texts()
    assert [number(cells[0]), int(cells[1])] == [pytest.approx(token.policy_logp, abs=0.006), token.policy_rank]
    assert [number(cells[3]), int(cells[4])] == [pytest.approx(token.reference_logp, abs=0.006), token.reference_rank]
    assert cells[2] == f"{100 * math.exp(token.policy_logp):.1f}%"
    expect(card.locator(".t5row")).to_have_count(10)
    # The running sum ends at the rewards, and the margin is told.
    page.wait_for_function("document.querySelector('#lens-run-0 .js-plotly-plot')?.data?.length === 2")
    ends = page.evaluate("document.querySelector('#lens-run-0 .js-plotly-plot').data.map(t => t.y[t.y.length - 1])")
    assert ends == [pytest.approx(look.reward, abs=1e-6), pytest.approx(other.reward, abs=1e-6)]
    expect(page.locator("#lens-run-note-0")).to_contain_text("The gap at the end is the margin")
    expect(page.locator("#lens-command")).to_contain_text(f"dpo score --policy demo/gpt2-dpo --prompt '{PROMPT}'")
    shares = re.findall(r"(\d+)%", page.locator("#lens-shift-text").inner_text())
    assert sum(map(int, shares)) in range(99, 102)


def test_keys_units_clamp_and_the_address(bundled: str, open_page: Any) -> None:
    page = open_page(link(bundled))
    scored(page)
    heat = page.locator("#lens-heat-0-0")
    heat.focus()
    page.keyboard.press("Home")
    expect(page.locator("#lens-tok-0-0-0")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(heat).to_have_attribute("aria-activedescendant", "lens-tok-0-0-2")
    page.keyboard.press("Enter")
    page.locator("#lens-tok-0-1-1").hover()
    expect(page.locator("#lens-tok-0-0-2")).to_have_class(re.compile("pinned"))
    page.keyboard.press("Enter")
    page.locator("#lens-tok-0-1-3").hover()
    expect(page.locator("#lens-tok-0-1-3")).to_have_class(re.compile("sel"))
    page.locator("#lens-unit").get_by_text("Sentence").click()
    expect(page.locator("#lens-heat-0-0 .tok").first).to_have_text("Oh, I love tea!")
    page.locator("#lens-unit").get_by_text("Word").click()
    expect(page.locator("#lens-heat-0-0 .tok").nth(1)).to_have_text("I")
    before = page.locator("#lens-heats .n4, #lens-heats .p4").count()
    slider = page.get_by_role("slider", name="Clamp of the colours in nats")
    for _ in range(6):
        slider.press("ArrowLeft")
    expect(page.locator("#lens-range")).to_contain_text("± 0.2 nat per token")
    assert page.locator("#lens-heats .n4, #lens-heats .p4").count() > before
    page.wait_for_function("location.search.includes('clamp=0.2') && location.search.includes('unit=word')")
    again = open_page(page.url)
    scored(again)
    assert again.locator("#lens-heats").inner_text() == page.locator("#lens-heats").inner_text()
    expect(again.locator("#lens-range")).to_contain_text("± 0.2")


def test_both_families_stand_beside_each_other(bundled: str, open_page: Any) -> None:
    page = open_page(link(bundled, beside="demo/t5-dpo"))
    scored(page)
    expect(page.locator(".heat-card")).to_have_count(4)
    heads = page.locator(".lens-row-head")
    expect(heads).to_have_count(2)
    for head, name in ((heads.nth(0), "GPT-2 DPO"), (heads.nth(1), "T5 DPO")):
        expect(head).to_contain_text(name)
        expect(head).to_contain_text("margin per token")
    expect(page.locator("#lens-run-title-1")).to_have_text("Running reward, T5 DPO")
    page.locator("#lens-tok-1-0-1").hover()
    expect(page.locator("#lens-token")).to_contain_text("T5 DPO")


def test_my_texts(bundled: str, open_page: Any) -> None:
    page = open_page(bundled + "/lens")
    scored(page)  # a first pair is there without asking
    page.locator("#lens-mode").get_by_text("My texts").click()
    page.get_by_role("textbox", name="Prompt").last.fill("")
    page.get_by_role("button", name="Score", exact=False).first.click()
    expect(page.locator("#lens-error")).to_have_text("The prompt is blank: write a question or a sentence.")
    page.locator("#lens-prompt").fill("Is <script>alert(1)</script> fine?")
    page.locator("#lens-a").fill("<img src=x onerror=alert(1)> שלום 😄")
    page.locator("#lens-b").fill("")
    page.locator("#lens-a").press("Control+Enter")
    expect(page.locator(".heat-card")).to_have_count(1)
    expect(page.locator("#lens-heat-0-0")).to_contain_text("<img")
    assert page.locator("#lens-heats img").count() == 0
    # A text of small rewards after one of large ones: the running reward's axis fits each, and grows for none.
    sizes = []
    for text in ("zebra " * 60, "Yes."):
        page.locator("#lens-a").fill(text)
        page.locator("#lens-a").press("Control+Enter")
        page.wait_for_function(
            "text => document.querySelector('#lens-heat-0-0')?.innerText.includes(text) &&"
            " !document.querySelector('#lens-heats').classList.contains('stale')",
            arg=text.split()[0],
        )
        count = page.locator("#lens-heat-0-0 .tok").count()
        drawn = "count => document.querySelector('#lens-run-0 .js-plotly-plot')?.data?.[0]?.y.length === count"
        page.wait_for_function(drawn, arg=count)
        seen = running(page)
        assert seen["low"] <= seen["least"] and seen["most"] <= seen["high"]
        assert seen["most"] - seen["least"] > 0.6 * (seen["high"] - seen["low"])
        sizes.append(seen["high"] - seen["low"])
    assert sizes[1] < sizes[0] / 2
    # Blanks, ends and symbols that the vocabulary lacks have a sign of their own, and no picture.
    expect(page.locator(".tok.sign")).not_to_have_count(0)
    pictures = "[...document.querySelectorAll('.tok')].map(token => getComputedStyle(token).backgroundImage)"
    assert set(page.evaluate(pictures)) == {"none"}
    page.locator("#lens-a").fill("word " * 3000)
    page.locator("#lens-a").press("Control+Enter")
    expect(page.locator("#lens-status")).to_contain_text("shorten the text")


def trained(tmp_path: Path, model: Path, write_pairs: Any) -> tuple[Any, Path]:
    """A run in `tmp_path` of 64 pairs, some held out, and its data."""
    words = ["tea", "lake", "dog", "jam", "song", "pizza", "moon", "rain"]
    pairs = write_pairs(
        [
            {
                "prompt": f"What about {word} and {other}?",
                "chosen": f"I love {word} 😄 and {other}!",
                "rejected": f"I have no opinion on {other} or {word}.",
            }
            for word in words
            for other in words
        ]
    )
    run = train(
        make(
            TrainConfig,
            {
                "model": str(model), "dataset": str(pairs), "output_dir": str(tmp_path / "runs" / "mine"),
                "max_steps": 3, "batch_size": 4, "learning_rate": 0.02, "probes": 0, "device": "cpu",
                "eval_fraction": 0.3, "max_prompt_length": 48, "max_completion_length": 80,
            },
        )
    )  # fmt: skip
    return run, pairs


def test_held_out_pairs_sort_filter_and_open(
    serve: Any, open_page: Any, tmp_path: Path, policy_dirs: dict[str, Path], write_pairs: Any
) -> None:
    """A run's own held-out pairs, by the run's own split."""
    run, pairs = trained(tmp_path, policy_dirs["gpt2"], write_pairs)
    n = run.info["dataset"]["held_out"]
    # What a run's record names, its base and its data, is read where the server was told to.
    address = serve([tmp_path / "runs", policy_dirs["gpt2"].parent], data_directory=pairs.parent)
    page = open_page(address + f"/lens?{urlencode({'policy': str(run.path)})}")
    scored(page)
    # The sample pairs may have been trained on: only a run's own are called held out.
    expect(page.locator(".lens-pairs h2").first).to_have_text("Many pairs")
    page.locator("#lens-source").click()
    page.get_by_role("option", name="The run's held-out pairs").click()
    page.get_by_role("button", name="Score pairs").click()
    expect(page.locator("#lens-count")).to_have_text(f"{n} of {n} pairs", timeout=120_000)
    expect(page.locator("#lens-pairs-note")).to_contain_text(f"{n} held-out pairs of pairs.jsonl")
    logged = run.metrics().last("eval_rewards/margins")
    shown = re.search(r"Margin ([+−][\d.]+)", page.locator("#lens-pairs-note").inner_text())
    assert logged is not None and shown and number(shown[1]) == pytest.approx(logged, rel=0.05)
    first = page.locator("#lens-table .ag-row[row-index='0'] [col-id='margin']")
    smallest = number_in(first)
    page.locator("#lens-sort").click()
    page.get_by_role("option", name="Largest margin").click()
    expect(first).not_to_have_text(re.compile(re.escape(f"{smallest:+.3f}".replace("-", "−"))))
    assert number_in(first) > smallest
    # A bar of a histogram filters; its chip takes the filter away.
    bar = page.locator("#lens-hist-margin .bars .point").first
    box = bar.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".filter-chip")).to_contain_text("margin")
    expect(page.locator("#lens-count")).not_to_have_text(f"{n} of {n} pairs")
    kept = int(page.locator("#lens-count").inner_text().split()[0])
    assert 0 < kept < n
    page.get_by_role("button", name="Remove the filter on margin").click()
    expect(page.locator("#lens-count")).to_have_text(f"{n} of {n} pairs")
    page.locator("#lens-which").get_by_text("Both fell").click()
    fell = re.search(r"(\d+) where both fell", page.locator("#lens-pairs-note").inner_text())
    assert fell
    expect(page.locator("#lens-count")).to_have_text(f"{fell[1]} of {n} pairs")
    page.locator("#lens-which").get_by_text("All").click()
    expect(page.locator("#lens-count")).to_have_text(f"{n} of {n} pairs")
    prompt = page.locator("#lens-table .ag-row[row-index='0'] [col-id='prompt']")
    margin = number_in(first)
    wanted = prompt.inner_text()
    prompt.click()
    expect(page.locator("#lens-prompt")).to_have_value(wanted)
    expect(page.locator("#lens-run-note-0")).to_contain_text(f"{margin:+.2f}".replace("-", "−"))


def test_a_request_cannot_name_what_is_not_listed(serve: Any, open_page: Any, tmp_path: Path) -> None:
    url = serve([tmp_path])
    page = open_page(f"{url}/lens?{urlencode({'policy': '../../etc', 'prompt': 'Hi', 'a': 'Ho'})}")
    expect(page.locator("#lens-status")).to_contain_text("is not among the policies")
    for path, body in (
        ("look", {"policies": ["demo/t5-dpo"], "reference": "/etc", "prompt": "Hi", "texts": ["Ho"]}),
        ("look", {"policies": "demo/t5-dpo", "prompt": "Hi", "texts": ["Ho"]}),
        ("look", {"policies": ["demo/t5-dpo"], "prompt": "Hi", "texts": [1]}),
        ("look", {"policies": ["demo/t5-dpo"], "prompt": " ", "texts": ["Ho"]}),
        ("pairs", {"policy": "demo/t5-dpo", "source": "/etc/passwd"}),
        ("pairs", {"policy": 5}),
        ("pairs", []),
    ):
        answer = page.request.post(
            f"{url}/api/lens/{path}", data=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert answer.status == 400 and "error" in answer.json(), body


@pytest.mark.parametrize(("scheme", "widths"), [("dark", (360, 1440)), ("light", (768,))])
def test_no_width_scrolls_sideways(scheme: str, widths: tuple[int, ...], bundled: str, open_page: Any) -> None:
    page = open_page(link(bundled), width=widths[0], scheme=scheme)
    scored(page)
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("[innerWidth, Math.max(innerWidth, document.documentElement.scrollWidth)]") == [width] * 2
