"""The Data page in a browser: audit, findings, pairs, views, export, uploads and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route, expect

Serve = Callable[[list[Path]], str]
Open = Callable[..., Page]
AUDIT = 120_000
"""An audit takes seconds; the first one of a process also loads what it computes with."""


def audited(page: Page) -> None:
    """Audit what is chosen and wait for the result."""
    expect(page.locator("#da-detect h2")).to_have_text("prompt, chosen, rejected")
    page.get_by_role("button", name="Audit").click()
    expect(page.locator("#da-rows .ag-row").first).to_be_visible(timeout=AUDIT)


def upload(page: Page, path: Path) -> None:
    """Upload a file and wait until it is chosen."""
    page.locator("#da-upload input[type=file]").set_input_files(path)
    expect(page.locator("#da-source")).to_have_value(path.name)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def downloaded(page: Page, name: str) -> list[dict[str, str]]:
    """The pairs that a button exports."""
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def fits(page: Page) -> bool:
    found: bool = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return found


def test_the_sample_is_audited_and_its_pairs_are_shown(serve: Serve, open_page: Open, tmp_path: Path) -> None:
    page = open_page(serve([tmp_path]) + "/data")
    expect(page.locator("#da-detect tbody tr")).to_have_count(3)
    expect(page.locator("#da-detect .takes")).to_contain_text("rejected")
    audited(page)
    expect(page.locator("#da-detect")).to_contain_text("310 rows, 310 pairs")
    expect(page.locator("[data-code='shortcuts'] .minibar").first).to_contain_text("emoji")
    expect(page.locator("#da-command")).to_contain_text("dpo data clean sample")
    expect(page.locator("#da-command")).to_contain_text("--strip-shortcut emoji")
    page.wait_for_function("document.querySelector('#da-lengths .js-plotly-plot')?.data?.length === 2")
    expect(page.locator("#da-count")).to_have_text("310 pairs")
    page.get_by_label("Search pairs").fill("breakfast")
    expect(page.locator("#da-count")).to_contain_text("of 310")
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
    rows = downloaded(page, "Export selection")
    assert 0 < len(rows) < 310 and all(list(row) == ["prompt", "chosen", "rejected"] for row in rows)
    assert all("breakfast" in " ".join(row.values()).lower() for row in rows)
    assert len(downloaded(page, "Export all")) == 310
    page.get_by_label("Search pairs").fill("no pair says this")
    expect(page.locator("#da-pair")).to_contain_text("No pair holds this text.")
    page.get_by_label("Search pairs").fill("")
    column = page.locator("#da-rows [col-id='ches']")
    expect(column).to_have_count(0)
    page.get_by_role("button", name="Measure").click()
    expect(page.locator("#da-ches-state")).to_contain_text("Under demo/gpt2 half of 310 pairs", timeout=AUDIT)
    expect(column.first).to_be_visible()
    rows = page.locator("#da-rows .ag-row")
    expect(rows.locator("[col-id='ches']").nth(7)).not_to_be_empty()
    shown = page.evaluate("[0, 1, 2, 3].map((at) => dash_ag_grid.getApi('da-rows').getDisplayedRowAtIndex(at).data)")
    assert [row["ches"] for row in shown] == sorted((row["ches"] for row in shown), reverse=True)
    model = {"ches": {"filterType": "number", "type": "greaterThanOrEqual", "filter": shown[3]["ches"]}}
    page.evaluate("model => dash_ag_grid.getApi('da-rows').setFilterModel(model)", model)
    expect(page.locator("#da-count")).to_have_text("4 of 310 pairs")
    page.locator("[data-code='ches']").get_by_role("button", name="Drop these rows").click()
    expect(page.locator("#da-effect")).to_contain_text("Drops 16 and changes 0 of 310 rows", timeout=AUDIT)
    assert fits(page)


def test_a_remedy_is_previewed_written_and_trained_on(serve: Serve, open_page: Open, tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}?", "chosen": f"Yes {n} 😀", "rejected": f"No {n}."} for n in range(240)]
    path = write(tmp_path / "data" / "mine.jsonl", [*rows, rows[3], rows[4]])
    before = path.read_bytes()
    page = open_page(serve([tmp_path], data_directory=tmp_path / "data") + "/data")
    field = page.get_by_label("or a file by its path")
    field.fill("/etc/passwd")
    field.press("Enter")
    expect(page.locator(".page-data .mantine-TextInput-error")).to_contain_text("no directory that this server reads")
    field.fill(str(path))
    field.press("Enter")
    expect(page.locator("#da-source")).to_have_value(str(path))
    audited(page)
    expect(page.locator("#da-cards .whole")).to_contain_text("to look at")
    at = [page.locator(part).bounding_box() or {} for part in ("#da-cards", "#da-detect")]
    assert at[0]["y"] < at[1]["y"]  # what was found comes first
    page.locator("[data-code='duplicate-pairs']").get_by_role("button", name="Drop the repeats").click()
    effect = page.locator("#da-effect")
    expect(effect).to_contain_text("Drops 2 and changes 0 of 242 rows; 240 are left.", timeout=AUDIT)
    expect(effect).to_contain_text("Row 240: dropped")
    page.get_by_role("button", name="Leave it").click()
    expect(effect).to_be_hidden()
    assert [one.name for one in path.parent.iterdir()] == ["mine.jsonl"]  # a preview writes nothing
    page.get_by_role("button", name="Mend all of this").click()
    expect(effect.locator("mark").first).to_contain_text("😀", timeout=AUDIT)  # before and after
    page.get_by_role("button", name="Write the cleaned file").click()
    cleaned = path.with_name("mine-cleaned.jsonl")
    expect(page.locator("#da-written")).to_contain_text(f"Wrote 240 pairs to {cleaned}", timeout=AUDIT)
    written = [json.loads(line) for line in cleaned.read_text(encoding="utf-8").splitlines()]
    assert len(written) == 240 and written[0]["chosen"] == "Yes 0" and path.read_bytes() == before
    page.locator("#da-written").get_by_role("button", name="Train on this").click()
    expect(page.locator("#st-f-dataset")).to_have_value(str(cleaned))


def test_all_pairs_are_listed_sorted_and_filtered(serve: Serve, open_page: Open, tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}?", "chosen": "yes " * (n + 1), "rejected": f"no {n}"} for n in range(1200)]
    page = open_page(serve([tmp_path]) + "/data")
    upload(page, write(tmp_path / "mine.jsonl", rows))
    audited(page)
    expect(page.locator("[data-code='shortcuts']")).to_contain_text("length")
    expect(page.locator("#da-place")).to_have_text("1 of 1,200")
    page.get_by_role("columnheader", name="Difference").click()
    expect(page.locator("#da-rows .ag-row[row-index='0']")).to_contain_text("Question 1199?")
    expect(page.locator("#da-pair .pair-prompt")).to_have_text("Question 1199?")
    page.get_by_role("button", name="Next pair").click()
    expect(page.locator("#da-pair .pair-prompt")).to_have_text("Question 1198?")
    expect(page.locator("#da-rows .ag-row-selected")).to_contain_text("Question 1198?")
    # The end of the list, far beyond what was read so far.
    page.evaluate("dash_ag_grid.getApi('da-rows').ensureIndexVisible(1199)")
    expect(page.locator("#da-rows .ag-row[row-index='1199']")).to_contain_text("Question 0?")
    page.locator("#da-rows .ag-row[row-index='1195'] [col-id='prompt']").click()
    expect(page.locator("#da-pair .pair-prompt")).to_have_text("Question 4?")
    model = {"chosen": {"filterType": "number", "type": "greaterThan", "filter": 4000}}
    page.evaluate("model => dash_ag_grid.getApi('da-rows').setFilterModel(model)", model)
    expect(page.locator("#da-count")).to_have_text("200 of 1,200 pairs")
    expect(page.get_by_role("button", name="Export selection (200)")).to_be_enabled()
    chosen = [len(row["chosen"]) for row in downloaded(page, "Export selection")]
    assert len(chosen) == 200 and min(chosen) > 4000 and chosen == sorted(chosen, reverse=True)


def test_an_audit_asked_for_while_the_file_is_read_is_of_that_file(
    serve: Serve, open_page: Open, tmp_path: Path
) -> None:
    page = open_page(serve([tmp_path]) + "/data")
    expect(page.locator("#da-detect tbody tr")).to_have_count(3)
    page.get_by_text("Columns, if they are not recognised").click()
    page.get_by_role("textbox", name="Prompt column").click()
    page.get_by_role("option", name="prompt", exact=True).click()
    expect(page.locator("#da-command")).to_contain_text("--prompt-column prompt")
    held: list[Route] = []

    def reads_a_source(asked: str | None) -> bool:
        return '"output":"..da-detect.children.' in (asked or "")

    def hold(route: Route) -> None:
        if reads_a_source(route.request.post_data):
            held.append(route)
        else:
            route.continue_()

    page.route("**/_dash-update-component*", hold)
    # The columns chosen for the sample are none of this file's.
    rows = [{"question": f"Question {n}?", "chosen": "yes " * (n + 1), "rejected": f"no {n}"} for n in range(30)]
    with page.expect_request(lambda request: reads_a_source(request.post_data)):
        upload(page, write(tmp_path / "mine.jsonl", rows))
    page.get_by_role("button", name="Audit").click()
    held[0].continue_()
    expect(page.locator("#da-sub")).to_contain_text("mine.jsonl", timeout=AUDIT)
    expect(page.locator("#da-rows .ag-row").first).to_be_visible(timeout=AUDIT)
    expect(page.locator("#da-count")).to_have_text("30 pairs")


def test_three_readings_are_asked_about(serve: Serve, open_page: Open, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Egg {n}?", "answer_1": f"Boil egg {n}.", "answer_2": f"No egg {n}.", "preference": n % 3}
        for n in range(100)
    ]
    page = open_page(serve([tmp_path]) + "/data", scheme="dark")
    upload(page, write(tmp_path / "eggs.jsonl", rows))
    expect(page.locator("#da-detect h2")).to_have_text("These rows can be read in 3 ways")
    expect(page.get_by_role("button", name="Audit")).to_be_disabled()
    first = page.locator(".reading").filter(has_text="1 means the first answer is better, 0 the second, 2 a tie")
    expect(first.locator("thead")).to_have_text("RowpreferencePromptChosenRejected")
    expect(first.locator("tbody tr").first).to_have_text("00Egg 0?No egg 0.Boil egg 0.")
    first.get_by_role("button", name="Read them this way").click()
    expect(page.locator("#da-detect")).to_contain_text("Read as you chose")
    expect(page.locator("#da-command")).to_contain_text("--layout answer1-answer2-preference:first-if-1-tie-2")
    page.get_by_role("button", name="Audit").click()
    expect(page.locator("#da-pair .side.c")).to_contain_text("No egg 0.", timeout=AUDIT)
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator("#da-detect h2")).to_have_text("These rows can be read in 3 ways")
    expect(page.locator("#da-below")).to_be_hidden()  # it showed the reading that is no more chosen
    assert fits(page)


def test_mistakes_are_told_and_columns_named_and_swapped(serve: Serve, open_page: Open, tmp_path: Path) -> None:
    page = open_page(serve([tmp_path]) + "/data", scheme="dark", width=420)
    upload(page, write(tmp_path / "answers.jsonl", [{"instruction": "a", "output": "b"}]))
    expect(page.locator("#da-problem")).to_contain_text("answers.jsonl: these are single answers, not preferences")
    expect(page.get_by_role("button", name="Audit")).to_be_disabled()
    assert fits(page)
    rows = [{"q": f"Egg {n}?", "good": f"Boil egg {n}.", "bad": f"No egg {n}."} for n in range(100)]
    upload(page, write(tmp_path / "odd.jsonl", rows))
    expect(page.locator("#da-problem")).to_contain_text("the columns are q, good, bad")
    for role, name in (("prompt", "q"), ("chosen", "good"), ("rejected", "bad")):
        page.locator(f"#da-{role}-column").click()
        page.get_by_role("option", name=name, exact=True).click()
        expect(page.locator(f"#da-{role}-column")).to_have_value(name)
    expect(page.locator("#da-detect tbody tr").first).to_contain_text("Egg 0?Boil egg 0.No egg 0.")
    expect(page.locator("#da-problem")).to_be_empty()
    page.locator("#da-swap").click()
    expect(page.locator("#da-detect tbody tr").first).to_contain_text("Egg 0?No egg 0.Boil egg 0.")
    expect(page.locator("#da-command")).to_contain_text(
        "--prompt-column q --chosen-column good --rejected-column bad --swap"
    )
    page.get_by_role("button", name="Audit").click()
    expect(page.locator("#da-pair .side.c")).to_contain_text("No egg 0.", timeout=AUDIT)
    assert fits(page)
