"""The Data page in a browser: audit, findings, pairs, views, export, uploads and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect


def audited(page: Page) -> None:
    """Audit what is chosen and wait for the result."""
    page.get_by_role("button", name="Audit").click()
    expect(page.locator("#da-detect h2")).to_have_text("prompt, chosen, rejected")
    expect(page.locator("#da-rows .ag-row").first).to_be_visible()


def test_the_sample_is_audited_and_its_pairs_are_shown(serve: Any, open_page: Any, tmp_path: Path) -> None:
    page = open_page(serve([tmp_path]) + "/data")
    audited(page)
    expect(page.locator("[data-code='shortcuts'] .minibar").first).to_contain_text("emoji")
    expect(page.locator("#da-command")).to_contain_text("dpo data clean sample")
    expect(page.locator("#da-command")).to_contain_text("--strip-shortcut emoji")
    page.wait_for_function("document.querySelector('#da-lengths .js-plotly-plot')?.data?.length === 2")
    expect(page.locator("#da-count")).to_contain_text("310 pairs")
    page.get_by_label("Search pairs").fill("breakfast")
    expect(page.locator("#da-count")).not_to_contain_text("310")
    expect(page.locator("#da-pair .pair-prompt")).to_contain_text("breakfast")
    page.locator("#da-view").get_by_text("Word diff").click()
    expect(page.locator("#da-pair .side.c mark").first).to_be_visible()
    page.locator("#da-view").get_by_text("Tokens").click()
    expect(page.locator("#da-pair .token.learned.end")).to_have_count(2)
    expect(page.locator("#da-pair .pair-prompt .token.free").first).to_be_visible()
    tokens = page.locator("#da-pair .side.c .token:not(.end)").all_inner_texts()
    page.locator("#da-view").get_by_text("Text", exact=True).click()
    expect(page.locator("#da-pair .token")).to_have_count(0)  # the view has changed
    text = page.locator("#da-pair .side.c .pair-text").inner_text()
    assert "".join("".join(tokens).split()) == "".join(text.split())
    with page.expect_download() as download:
        page.get_by_role("button", name="Export selection").click()
    rows = [json.loads(line) for line in Path(download.value.path()).read_text(encoding="utf-8").splitlines()]
    assert rows
    assert all("breakfast" in " ".join(row.values()).lower() for row in rows)
    page.get_by_label("Search pairs").fill("no pair says this")
    expect(page.locator("#da-pair")).to_contain_text("No pair holds this text.")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_upload_is_audited_and_ordered(serve: Any, open_page: Any, tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}?", "chosen": "yes " * (n + 1), "rejected": f"no {n}"} for n in range(200)]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = open_page(serve([tmp_path]) + "/data")
    page.locator("#da-upload input[type=file]").set_input_files(path)
    expect(page.locator("#da-source")).to_have_value("mine.jsonl")
    audited(page)
    expect(page.locator("[data-code='shortcuts']")).to_contain_text("length")
    page.locator("#da-order").click()
    page.get_by_role("option", name="Chosen longer by").click()
    expect(page.locator("#da-order")).to_have_value("Chosen longer by")
    expect(page.locator("#da-rows .ag-row[row-index='0']")).to_contain_text("Question 199?")
    expect(page.locator("#da-pair .pair-prompt")).to_have_text("Question 199?")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_mistakes_are_told_in_the_page(scheme: str, serve: Any, open_page: Any, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"instruction": "a", "output": "b"}) + "\n")
    page = open_page(serve([tmp_path]) + "/data", scheme=scheme, width=420)
    page.locator("#da-upload input[type=file]").set_input_files(path)
    expect(page.locator("#da-source")).to_have_value("answers.jsonl")
    page.get_by_role("button", name="Audit").click()
    expect(page.locator("#da-problem")).to_contain_text("answers.jsonl: these are single answers, not preferences")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
