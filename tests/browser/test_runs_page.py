"""The Runs page in a browser: table, filter, notes, names, deleting, the frontier, the report opened offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect
from run_rows import row as row_of

from dpo.runs import RunRecord, open_run
from dpo.runs.manage import note_of
from dpo.training.sweep_plan import Choices, plan_of

Write = Callable[..., RunRecord]


def write_sweep(root: Path, write_run: Write) -> None:
    """Six runs as a sweep leaves them: other betas and rates, with the KL of their checkpoints."""
    for number in range(6):
        family = "gpt2" if number % 2 else "t5"
        record = write_run(root / f"rates-{number:03d}", family, slope=0.02 * (number + 1))
        beta, rate = (0.1, 0.3, 0.5)[number % 3], (1e-5, 1e-3)[number // 3]
        record.update(
            config=record.info["config"] | {"beta": beta, "learning_rate": rate, "lora": False}, energy_wh=0.5
        )
        for step in (0, 10):
            value = 0.04 * (number + 1) * step
            record.log({
                "step": 20 + step, "eval_kl": 0.01 + number * step / 20, "eval_rewards/margins": value,
                "eval_rewards/accuracies": 0.5 + number / 20, "eval_loss": 0.69 - value / 20,
            })  # fmt: skip


def shown(page: Page) -> list[str]:
    return page.locator("#rn-grid .ag-pinned-left-cols-container .cell").all_inner_texts()


def opened(page: Page, count: int) -> Page:
    expect(page.locator("#rn-grid .ag-pinned-left-cols-container .ag-row")).to_have_count(count)
    return page


def choose(page: Page, name: str) -> None:
    row = page.locator("#rn-grid .ag-pinned-left-cols-container .ag-row").filter(has_text=name)
    row.locator("input[type=checkbox]").check()


CHOOSE_AS_ROWS_COME = """async (name) => {
  const api = await dash_ag_grid.getApiAsync("rn-grid");
  const rows = [];
  api.forEachNode((row) => rows.push({ ...row.data, note: `${row.data.note} again` }));
  const shown = [...document.querySelectorAll("#rn-grid .ag-pinned-left-cols-container .ag-row")];
  shown.find((row) => row.innerText.includes(name)).querySelector("input").click();
  dash_clientside.set_props("rn-grid", { rowData: rows });
}"""


@pytest.fixture
def sweep(tmp_path: Path, write_run: Write) -> Path:
    root = tmp_path / "runs"
    write_sweep(root, write_run)
    return root


def test_the_table_shows_what_differs_and_the_charts_follow_its_filter(serve: Any, open_page: Any, sweep: Path) -> None:
    page = opened(open_page(serve([sweep]) + "/runs"), 6)
    assert page.evaluate("[0.005, 7e-4, 0].map(dashAgGridFunctions.dpoPower)") == ["5e-3", "7e-4", 0]
    losses = "[0.5, 0.0001, -2].map(value => dashAgGridFunctions.dpoMeasure(value, 3))"
    assert page.evaluate(losses) == ["0.500", "1e-4", "−2.000"]
    rates = "[4.0240612e-5, 1.2296e-4, 5e-6, 0.0015].map(dashAgGridFunctions.dpoNumber)"
    assert page.evaluate(rates) == ["4.02e-5", "1.23e-4", "5e-6", "0.0015"]  # an exponent is never cut off
    heads = page.locator("#rn-grid .ag-header-cell-text").all_inner_texts()
    assert {"Run", "Status", "β", "lr", "Margin", "KL", "Note"} <= set(heads)
    expect(page.locator("#rn-frontier-note")).to_contain_text("6 runs, 12 checkpoints")
    page.wait_for_function("document.querySelector('#rn-frontier .js-plotly-plot')?.data?.length === 13")
    points = page.evaluate("document.querySelector('#rn-frontier .js-plotly-plot').data[1].x")
    assert points == pytest.approx([0.01, 0.01 + 5 * 10 / 20]) or len(points) == 2
    page.wait_for_function("document.querySelector('#rn-parallel .js-plotly-plot')?.data?.length === 6")
    expect(page.locator("#rn-importance .weight")).to_have_count(3)  # model, beta, learning rate
    page.get_by_label("Filter the table").fill("beta < 0.3 and kl > 1")
    opened(page, 1)
    page.wait_for_function("document.querySelector('#rn-frontier .js-plotly-plot')?.data?.length === 3")
    page.get_by_label("Filter the table").fill("tokens < 3")
    expect(page.locator(".page-runs .mantine-TextInput-error")).to_contain_text("No column is called 'tokens'")
    opened(page, 6)  # not those of the filter before
    expect(page.locator("#rn-sub")).to_contain_text("All 6 runs: the filter is not understood")
    page.get_by_label("Filter the table").fill("")
    opened(page, 6)
    page.locator("#rn-grid .ag-header-cell").filter(has_text="Margin").click()
    page.wait_for_function(
        "document.querySelector('#rn-grid .ag-pinned-left-cols-container .cell')?.innerText === 'rates-000'"
    )
    page.locator("#rn-over").get_by_text("Accuracy").click()
    page.wait_for_function("document.querySelector('#rn-frontier .js-plotly-plot').layout.yaxis.tickformat === '.0%'")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_notes_and_names_are_kept_on_disk(serve: Any, open_page: Any, sweep: Path) -> None:
    page = opened(open_page(serve([sweep]) + "/runs", width=1680), 6)
    row = page.locator("#rn-grid .ag-center-cols-container .ag-row[row-id$='rates-002']")
    row.locator("[col-id='note']").dblclick()
    page.keyboard.type("the best so far")
    page.keyboard.press("Enter")
    expect(row.locator("[col-id='note']")).to_have_text("the best so far")
    row.locator("[col-id='tags']").dblclick()
    page.keyboard.type("long, sft")
    # What is chosen before the rows are there anew is not chosen in them.
    with page.expect_response(lambda answer: '"rn-changed.data"' in (answer.request.post_data or "")):
        page.keyboard.press("Enter")
    expect(row.locator("[col-id='tags'] .pill")).to_have_text(["long", "sft"])
    choose(page, "rates-002")
    page.get_by_role("button", name="Pin", exact=True).click()
    expect(page.locator("#rn-pin")).to_have_text("Unpin")
    first = page.locator("#rn-grid .ag-pinned-left-cols-container .ag-row[row-index='0']")
    expect(first).to_contain_text("rates-002")
    page.reload()  # kept on disk
    expect(first).to_contain_text("rates-002")
    expect(first.get_by_label("pinned")).to_be_visible()
    page.locator(".columns-box summary").click()
    page.get_by_role("combobox", name="Columns").or_(page.get_by_label("Columns", exact=True)).first.fill("KL")
    page.get_by_role("option", name="KL", exact=True).click()
    heads = page.locator("#rn-grid .ag-header-cell-text")
    expect(heads).to_have_text(["Choose", "Run", "Status", "KL"])
    page.locator(".columns-box summary").click()
    name = page.locator("#rn-grid .ag-pinned-left-cols-container .ag-row[row-id$='rates-002'] [col-id='name']")
    name.dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.type("x" * 81)
    page.keyboard.press("Enter")
    expect(page.locator("#rn-problem")).to_contain_text("1 to 80 letters")
    page.get_by_label("Filter the table").fill("beta > 0")
    expect(page.locator("#rn-problem")).to_be_empty()  # what was refused is not told over what follows
    page.get_by_label("Filter the table").fill("")
    opened(page, 6)
    expect(name).to_contain_text("rates-002")
    name.dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.type("t5-best")
    # The chart is drawn anew from what the grid shows, maybe before the server has the name.
    with page.expect_response(lambda answer: "rn-grid.cellValueChanged" in (answer.request.post_data or "")) as kept:
        page.keyboard.press("Enter")
    assert kept.value.ok
    expect(page.locator("#rn-frontier-note")).to_contain_text("6 runs")
    page.wait_for_function(
        "document.querySelector('#rn-frontier .js-plotly-plot').data.some(d => d.name === 't5-best')"
    )
    run = open_run(sweep / "rates-002")
    assert (run.name, note_of(run)) == ("t5-best", "the best so far")
    rising = [row_of(step) | {"loss": 0.2 * step} for step in range(30, 60)]  # what the doctor has a change for
    RunRecord(run.path, run.info).log_all(rising)
    name.get_by_role("link", name="t5-best").click()
    look_at_the_run(page, run.path)


def look_at_the_run(page: Page, path: Path) -> None:
    """From the table to the page of a run: curves and answers by step, its note, its line, a file, the way to mend."""
    expect(page.get_by_role("heading", level=1, name="t5-best")).to_be_visible()
    expect(page.locator(".navigation [aria-current=page]")).to_have_text("Runs")  # it has no entry of its own
    charts = page.locator("#rp-charts .chart")
    expect(charts.locator(".main-svg").first).to_be_visible()
    assert {"Loss", "Margin", "KL to reference"} <= set(charts.locator("h3").all_inner_texts())
    expect(page.locator("#rp-texts")).to_contain_text("t5 at 19")
    page.locator("#rp-step [role=slider]").press("ArrowLeft")
    expect(page.locator("#rp-texts")).to_contain_text("t5 at 0")
    expect(charts.filter(has_text="Loss").locator(".sub").last).to_contain_text("Step 0 · T5")
    line = "document.querySelector('#rp-fig-loss .js-plotly-plot').layout.shapes.find(s => s.name === 'cursor')"
    page.wait_for_function(f"{line}.visible && {line}.x0 === 0")
    assert "step=0" in page.url
    note = page.get_by_label("Note on this run")
    expect(note).to_have_value("the best so far")
    note.fill("the best so far, again")
    note.blur()
    page.wait_for_function("document.querySelector('#rp-files, .run-files').innerText.includes('note.json')")
    expect(page.locator("#rp-more")).to_contain_text("dpo train --model demo/t5")
    with page.expect_download() as download:
        page.get_by_role("link", name="metrics.jsonl").click()
    assert Path(download.value.path()).read_bytes() == (path / "metrics.jsonl").read_bytes()
    page.reload()
    expect(note).to_have_value("the best so far, again")
    expect(page.locator("#rp-texts")).to_contain_text("t5 at 0")
    page.locator(".run-acts .js-fix").click()  # on Training, whatever page asks
    expect(page.locator("#st-drawer")).to_contain_text("--learning-rate is changed")
    assert "/training" in page.url
    page.go_back()
    page.get_by_role("link", name="Runs", exact=True).last.click()
    opened(page, 6)


def test_runs_are_deleted_after_a_question_and_never_while_they_train(
    serve: Any, open_page: Any, sweep: Path, write_run: Write
) -> None:
    write_run(sweep / "live", "t5", state="running")
    page = opened(open_page(serve([sweep]) + "/runs"), 7)
    page.evaluate(CHOOSE_AS_ROWS_COME, "rates-000")
    expect(page.locator("#rn-count")).to_have_text("1 run chosen")
    page.evaluate(CHOOSE_AS_ROWS_COME, "rates-000")
    expect(page.locator("#rn-chosen")).to_be_hidden()
    choose(page, "rates-001")
    choose(page, "rates-004")
    expect(page.locator("#rn-count")).to_have_text("2 runs chosen")
    page.locator("#rn-delete").click()
    expect(page.locator("#rn-delete-list")).to_contain_text("rates-004")
    page.get_by_role("button", name="Keep them").click()
    expect(page.locator("#rn-delete-list")).not_to_be_visible()
    assert (sweep / "rates-001").is_dir()
    page.locator("#rn-delete").click()
    page.get_by_role("button", name="Delete 2 runs").click()
    opened(page, 5)
    kept = ["live", "rates-000", "rates-002", "rates-003", "rates-005"]
    assert sorted(path.parent.name for path in sweep.glob("*/run.json")) == kept
    expect(page.locator("#rn-undo-bar")).to_contain_text("2 runs deleted.")
    page.get_by_role("button", name="Undo").click()
    opened(page, 7)
    assert (sweep / "rates-001" / "metrics.jsonl").is_file()
    choose(page, "rates-001")
    choose(page, "rates-004")
    page.locator("#rn-delete").click()
    page.get_by_role("button", name="Delete 2 runs").click()
    opened(page, 5)
    page.get_by_role("button", name="Trash: deleted runs").click()
    page.get_by_role("button", name="Bring rates-004 back").click()
    opened(page, 6)
    page.get_by_role("button", name="Empty the trash").click()
    expect(page.locator("#rn-trash-list")).to_contain_text("The trash is empty")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    opened(page, 6)
    choose(page, "live")
    page.locator("#rn-delete").click()
    expect(page.locator("#rn-delete-list")).to_contain_text("is running")
    expect(page.locator("#rn-delete-go")).to_be_disabled()
    assert (sweep / "live").is_dir()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_exported_report_opens_offline(
    scheme: str, serve: Any, open_page: Any, browser: Browser, sweep: Path, tmp_path: Path
) -> None:
    page = opened(open_page(serve([sweep]) + "/runs", scheme=scheme), 6)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export report").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    context = browser.new_context(offline=True, color_scheme=scheme)  # type: ignore[arg-type]
    alone, asked, errors = context.new_page(), [], []
    alone.on("request", lambda request: asked.append(request.url))
    alone.on("pageerror", lambda error: errors.append(str(error)))
    alone.goto(path.as_uri())
    alone.wait_for_function("document.querySelectorAll('[data-figure] .main-svg').length >= 6")
    expect(alone.locator("h1")).to_have_text("DPO runs")
    expect(alone.get_by_role("heading", name="rates-005")).to_be_visible()
    figures = json.loads(alone.locator("#figures").text_content() or "")
    assert len(figures["frontier"]["data"]) == 13
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []
    context.close()


def its_own_page(page: Page) -> None:
    """Of a sweep of two trials."""
    expect(page.get_by_role("heading", level=1, name="tiny")).to_be_visible()
    expect(page.locator("#sw-head")).to_contain_text("2 of 2 trials done in")
    expect(page.locator("#sw-head")).to_contain_text("Searched, gridβ0.1, 0.3")
    expect(page.locator(".sweep-trials tbody tr")).to_have_count(2)
    expect(page.locator(".sweep-trials th").nth(3)).to_have_text("Margin")  # what the plan says
    best = page.locator(".sweep-trials tr.best")
    expect(page.locator(".sweep-best a")).to_have_text(best.locator("a").inner_text())
    page.locator("#sw-measure").get_by_text("Loss").click()
    expect(page.locator(".sweep-trials th").nth(3)).to_have_text("Loss")


def test_a_new_sweep_starts_from_the_page(
    serve: Any, open_page: Any, sweep: Path, policy_dirs: dict[str, Path]
) -> None:
    page = opened(open_page(serve([sweep]) + "/runs"), 6)
    page.get_by_role("button", name="New sweep").click()
    expect(page.locator("#rn-sweep")).to_contain_text("dpo sweep --config sweep.yaml")
    message = page.locator("#rn-sweep-message")
    expect(message).to_have_text("12 trainings: beta, learning_rate")
    plan = page.get_by_label("The sweep as YAML")
    assert plan_of(plan.input_value(), "the page", "x").trials == 12
    # The form writes the text, and says at once what it comes to.
    page.get_by_label("Method").select_option("grid")
    expect(message).to_contain_text("a grid needs values of learning_rate")
    expect(page.get_by_role("button", name="Start sweep")).to_be_disabled()
    page.get_by_label("Values of learning_rate").fill("1e-4, 3e-4")
    expect(message).to_have_text("6 trainings of 6 combinations: beta, learning_rate")
    page.get_by_role("button", name="Remove learning_rate").click()
    page.locator("#rn-sweep-search").get_by_role("button", name="Add a setting").click()
    page.keyboard.type("loss_type")
    page.get_by_label("Values of loss_type").fill("[sigmoid], [sigmoid, sft]")
    page.locator("#rn-sweep-settings").get_by_label("Values of max_steps").fill("7")
    expect(message).to_have_text("6 trainings of 6 combinations: beta, loss_type")
    made = plan_of(plan.input_value(), "the page", "x")
    assert made.settings["max_steps"] == 7
    assert made.search["loss_type"] == Choices(('["sigmoid"]', '["sigmoid", "sft"]'))
    page.get_by_text("As YAML").click()
    plan.fill("name: tiny\nsearch:\n  betta: [0.1, 0.3]\n")
    expect(message).to_contain_text("did you mean beta?")
    settings = {
        "model": str(policy_dirs["gpt2"]), "dataset": "sample", "num_samples": 40, "eval_fraction": 0.2,
        "max_eval_pairs": 4, "max_prompt_length": 40, "max_completion_length": 32, "max_steps": 1, "batch_size": 2,
        "probes": 0, "kl_prompts": 0, "device": "cpu",
    }  # fmt: skip
    plan.fill(yaml.safe_dump(
        {"name": "tiny", "method": "grid", "measure": "margin", "settings": settings, "search": {"beta": [0.1, 0.3]}}
    ))  # fmt: skip
    page.get_by_role("button", name="Start sweep").click()
    expect(message).to_contain_text("tiny: 2 trials are in the queue")
    page.get_by_role("button", name="Start sweep").click()
    expect(message).to_contain_text("is in the queue already")
    page.keyboard.press("Escape")
    page.locator(".navigation").get_by_role("link", name="Training").click()
    page.get_by_role("button", name="New run").click()
    page.get_by_role("tab", name="Queue").click()
    job = page.locator(".st-job", has_text="tiny")
    expect(job).to_have_attribute("data-state", "finished", timeout=240_000)
    expect(job.locator(".num")).to_contain_text("2 of 2 trials done")
    job.get_by_role("link", name="Show the sweep tiny").click()
    its_own_page(page)
    page.locator(".navigation").get_by_role("link", name="Runs").click()
    opened(page, 8)
    page.get_by_role("navigation", name="Sweeps").get_by_role("link", name="rates, 6 trials").click()
    expect(page.locator(".sweep-trials tbody tr")).to_have_count(6)


def test_no_runs_and_a_damaged_one_are_told(serve: Any, open_page: Any, tmp_path: Path) -> None:
    page = open_page(serve([tmp_path]) + "/runs", width=420, scheme="dark")
    expect(page.locator("#rn-sub")).to_contain_text("0 runs")
    expect(page.locator("#rn-grid")).to_contain_text("No runs yet")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    opened(page, 1)  # it appears by itself
    expect(page.locator("#rn-grid")).to_contain_text("damaged")
    page.get_by_role("button", name="Export report").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
