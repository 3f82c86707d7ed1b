"""Text behind the points: a prompt of one's own at every checkpoint, and a checkpoint opened in Compare."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import press_generate
from playwright.sync_api import expect
from safetensors.numpy import load_file, save_file

from dpo.runs import BUNDLED_RUNS, RunRecord

Write = Callable[..., RunRecord]
SLOW = 120_000  # PyTorch is started by the first prompt


@pytest.fixture
def kept(tmp_path: Path, write_run: Write, policy_dirs: dict[str, Path]) -> Path:
    """A run of 20 steps with checkpoints of other weights at 8 and 16, and its base beside it."""
    base = tmp_path / "base"
    shutil.copytree(policy_dirs["gpt2"], base)
    record = write_run(tmp_path / "kept", "gpt2")
    record.add_samples([{"step": 8, "index": 0, "prompt": "Tea?", "policy": "eight", "reference": "No."}])
    record.update(config=record.info["config"] | {"model": str(base)})
    for step in (8, 16):
        folder = tmp_path / "kept" / f"checkpoint-{step}"
        shutil.copytree(base, folder)
        (folder / "trainer_state.json").write_text("{}")
        weights = load_file(folder / "model.safetensors")
        weights["transformer.wte.weight"] = weights["transformer.wte.weight"][:, ::-1] * (1 + step / 10)
        weights = {name: value.copy() for name, value in weights.items()}
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return tmp_path


def test_my_prompt_is_answered_at_every_checkpoint(serve: Any, open_page: Any, kept: Path) -> None:
    page = open_page(serve([kept]) + "/training")
    expect(page.get_by_text("gpt2 at 19 🍵")).to_be_visible()
    page.get_by_role("button", name="Answer at every checkpoint").click()
    expect(page.locator("#tr-ask-message")).to_have_text("The prompt is blank: write a question or a sentence")
    page.get_by_label("Your own prompt for every checkpoint").fill("Coffee?")
    page.get_by_label("Your own prompt for every checkpoint").press("Enter")
    expect(page.locator("#tr-ask-message")).to_have_text("3 of 3 answered", timeout=SLOW)
    expect(page.get_by_role("textbox", name="Probe prompt")).to_have_value("Coffee?")
    tag = page.locator(".answers-run.causal .pill").last
    expect(tag).to_have_text("step 16 · marked: new since step 8")
    slider = page.get_by_role("slider", name="Step of the answers")
    answer, seen = page.locator(".answers-run.causal .out"), {}
    slider.press("ArrowLeft")  # from what was probed last to step 16
    for step, text in ((8, "step 8 · marked: new since step 0"), (0, "step 0")):
        slider.press("ArrowLeft")
        expect(tag).to_have_text(text)
        seen[step] = answer.last.inner_text()
    assert seen[0] == answer.first.inner_text()  # before training it is the base
    assert seen[8] != seen[0]  # other weights say other things


def test_a_point_opens_its_checkpoint_in_compare(serve: Any, open_page: Any, kept: Path) -> None:
    page = open_page(serve([kept]) + "/training")
    page.wait_for_function("document.querySelectorAll('#tr-fig-loss .scatterlayer .trace').length > 0")
    expect(page.get_by_text("gpt2 at 19 🍵")).to_be_visible()
    box = page.locator("#tr-fig-loss .nsewdrag").bounding_box()
    assert box is not None
    for part in (0.5, 0.51):  # Plotly tells of a click only where it has seen the pointer move
        page.mouse.move(box["x"] + box["width"] * part, box["y"] + box["height"] / 2)
    page.wait_for_function("document.querySelector('#tr-fig-loss .hoverlayer').childElementCount > 0")
    page.mouse.click(box["x"] + box["width"] * 0.51, box["y"] + box["height"] / 2)
    expect(page.get_by_text("eight", exact=True)).to_be_visible()
    page.get_by_role("link", name="Open step 8 in Compare").click()
    expect(page.locator("#cmp-prompt")).to_have_value("Tea?")
    expect(page.get_by_role("region", name="kept @ 8")).to_be_visible()
    expect(page.locator("#cmp-rows .pane:visible")).to_have_count(2)
    press_generate(page)
    chips = page.locator("#cmp-chips-1")
    expect(chips).to_contain_text("tokens", timeout=SLOW)
    expect(page.locator("#cmp-progress")).to_contain_text("2 of 2 answered", timeout=SLOW)
    answer = page.locator("#cmp-out-1").inner_text()
    page.locator(".navigation").get_by_role("link", name="Training").click()
    expect(page.get_by_text("eight", exact=True)).to_be_visible()
    page.locator(".navigation").get_by_role("link", name="Compare").click()
    assert page.locator("#cmp-out-1").inner_text() == answer  # pages stay as they were left


def test_runs_without_checkpoints_say_so_and_stop_stops(
    serve: Any, open_page: Any, tmp_path: Path, write_run: Write
) -> None:
    write_run(tmp_path / "bare", "t5")
    page = open_page(serve([tmp_path, BUNDLED_RUNS]) + "/training")
    expect(page.locator("#tr-run-list")).to_contain_text("bare")
    ask = page.get_by_label("Your own prompt for every checkpoint")
    ask.fill("Coffee?")
    ask.press("Enter")
    expect(page.locator("#tr-ask-stop")).to_be_visible()
    page.locator("#tr-ask-stop").click()
    told = page.locator("#tr-ask-message")
    expect(told).to_contain_text("Stopped: ", timeout=SLOW)
    expect(told).to_contain_text("Llama-3-gpt2-dpo kept no checkpoints: its base and its result answer")
    expect(page.get_by_role("button", name="Answer at every checkpoint")).to_be_visible()
    page.get_by_role("checkbox", name="Show bare").check()
    for name in ("Llama-3-gpt2-dpo", "Llama-3-t5-dpo"):
        box = page.get_by_role("checkbox", name=f"Show {name}", exact=True)
        if box.is_checked():
            box.uncheck()
    page.wait_for_function("window.dpo.training.runs().length === 1")
    ask.press("Enter")
    expect(told).to_have_text("bare kept no checkpoints: train with --save-steps and --keep-checkpoints")
