"""The timeline of the Training page: one line of time for all curves and the answers beside them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from dpo.runs import RunRecord


def test_the_timeline_plays_curves_and_answers_side_by_side(
    serve: Any, open_page: Any, tmp_path: Path, write_run: Callable[..., RunRecord]
) -> None:
    """The answers beside the charts, the step's values in each subtitle, what comes after faded."""
    for family in ("t5", "gpt2"):
        write_run(tmp_path / f"{family}-run", family, slope=0.05 if family == "t5" else 0.02)
    page = open_page(serve([tmp_path]) + "/training", width=1440)
    page.wait_for_function("window.dpo.training?.settled?.() && document.querySelector('#tr-fig-loss .plot')?.data")
    expect(page.get_by_text("t5 at 19 🍵")).to_be_visible()
    answers, chart = (page.locator(name).bounding_box() for name in (".answers-card", "#tr-card-rejected"))
    assert answers and chart and answers["x"] > chart["x"] + chart["width"] - 1 and answers["y"] < 900
    columns = "getComputedStyle(document.querySelector('.smalls')).gridTemplateColumns.split(' ').length"
    assert page.evaluate(columns) == 3
    page.get_by_role("slider", name="Step of the answers").press("ArrowLeft")
    expect(page.get_by_text("t5 at 0 🍵")).to_be_visible()
    for key in ("loss", "chosen"):
        expect(page.locator(f"#tr-note-{key}")).to_have_text(re.compile(r"^Step 0 · T5 .* · GPT-2 "))
        shapes = page.evaluate(f"document.querySelector('#tr-fig-{key} .plot').layout.shapes")
        assert [(shapes[at]["visible"], shapes[at]["x0"]) for at in (0, -1)] == [(True, 0), (True, 0)]
        assert shapes[-1]["x1"] == 19
    page.get_by_role("button", name="Play the training").click()
    expect(page.get_by_text("t5 at 19 🍵")).to_be_visible()
    expect(page.get_by_role("button", name="Play the training")).to_be_visible()  # it has come to its end
    expect(page.locator("#tr-note-chosen")).to_have_text("T5 0.5, GPT-2 0.2 held out")
