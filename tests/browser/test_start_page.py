"""Start, stop and resume trainings from the page; the playground of losses and the glossary."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Page, expect

from dpo.runs import RunRecord
from dpo.training.jobs import Jobs

SLOW = 240_000  # PyTorch is started anew for each training


@pytest.fixture
def quiet(tmp_path: Path) -> Any:
    """No training outlives its test."""
    yield
    for job in Jobs(tmp_path / "runs").all():
        if not job.over:
            Jobs(tmp_path / "runs").stop(job.ident)


def fill(page: Page, name: str, steps: int, model: Path, pairs: Path) -> None:
    """The form's settings for a small run that logs every step."""
    page.get_by_label("Run name").fill(name)
    page.get_by_label("Search settings").fill("")
    wanted = {
        "model": str(model), "dataset": str(pairs), "max_steps": steps, "batch_size": 2, "logging_steps": 1,
        "max_prompt_length": 24, "max_completion_length": 24,
        "eval_steps": 1000, "save_steps": 1000, "probes": 0, "kl_prompts": 0, "max_eval_pairs": 2, "precision": "fp32",
    }  # fmt: skip
    for setting, value in wanted.items():
        page.get_by_label("Search settings").fill(setting.replace("_", " "))
        control = page.locator(f"#st-f-{setting}")
        if setting == "precision":
            control.select_option(str(value))
        else:
            control.fill(str(value))


def leads_on(page: Page, base: Path, run: Path) -> None:
    """What was started is on screen by itself, and its card leads to Compare."""
    expect(page.locator("#tr-run-list [aria-label='Show tiny']")).to_be_checked()
    expect(page.locator("#st-message")).to_have_text("tiny trains: its curves are on the page")
    page.wait_for_function("document.querySelector('#tr-fig-loss .plot').data?.some(({ x }) => x.at(-1) === 10)")
    compare = (
        page.locator(".st-job", has_text="tiny")
        .get_by_role("link", name="Compare tiny with its base")
        .get_attribute("href")
        or ""
    )
    assert parse_qs(compare)["/?policy"] + parse_qs(compare)["policy"] == [str(base), str(run)]


def test_start_stop_and_resume(
    serve: Any, open_page: Any, tmp_path: Path, policy_dirs: dict[str, Path], pairs: Path, quiet: None
) -> None:
    (tmp_path / "runs").mkdir()
    page = open_page(serve([tmp_path / "runs"]) + "/training")
    page.get_by_role("button", name="Start a 2-minute demo run").click()
    expect(page.locator("#st-command")).to_contain_text("--max-steps 40")

    fill(page, "tiny", 10, policy_dirs["gpt2"], pairs)
    expect(page.locator("#st-command")).to_contain_text("--max-steps 10")
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_role("list", name="Pre-flight")).to_contain_text("training and")
    page.get_by_role("button", name="Start training").click()
    tiny = page.locator(".st-job", has_text="tiny")
    expect(tiny).to_have_attribute("data-state", "finished", timeout=SLOW)
    leads_on(page, policy_dirs["gpt2"], tmp_path / "runs" / "tiny")

    page.get_by_role("tab", name="New run").click()
    fill(page, "long", 4000, policy_dirs["gpt2"], pairs)
    expect(page.locator("#st-command")).to_contain_text("--max-steps 4000")
    page.get_by_role("button", name="Start training").click()
    long = page.locator(".st-job", has_text="long")
    expect(long.locator("progress")).to_be_visible()  # also while data and policy are read
    expect(page.locator("#tr-run-list [aria-label='Show long']")).to_be_checked(timeout=SLOW)
    long.get_by_role("button", name="Show the curves of long").click()
    page.wait_for_function("window.dpo.training.runs().length === 1 && dpo.training.runs()[0].endsWith('long')")
    expect(long.locator(".num")).to_have_text(re.compile(r"step [1-9]\d* of 4000 · .* left"), timeout=SLOW)
    long.get_by_role("button", name="Stop long").click()
    expect(long).to_have_attribute("data-state", "stopped", timeout=SLOW)
    expect(long.locator(".num")).to_contain_text("stopped by the user at step")
    stopped = int(re.findall(r"at step (\d+)", long.locator(".num").inner_text())[0])
    assert 0 < stopped < 4000 and (tmp_path / "runs" / "long" / f"checkpoint-{stopped}").is_dir()

    long.get_by_role("button", name="Resume long").click()
    again = page.locator(".st-job", has_text="resumed")
    expect(again).to_have_attribute("data-state", "running", timeout=SLOW)
    page.wait_for_function(
        "([after]) => { const all = [...document.querySelectorAll('.st-job')];"
        " const job = all.find(n => n.textContent.includes('resumed'));"
        " const said = job?.querySelector('.num').textContent.match(/step (\\d+) of 4000 · .* left/);"
        " return said && +said[1] > after; }",
        arg=[stopped], timeout=SLOW,
    )  # fmt: skip
    again.get_by_role("button", name="Stop long").click()
    expect(again).to_have_attribute("data-state", "stopped", timeout=SLOW)
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "runs" / "long" / "metrics.jsonl").read_text().splitlines()
        if "eval_loss" not in line
    ]
    assert steps == sorted(set(steps)) and steps[-1] > stopped  # every step once, none left out
    again.get_by_text("Log", exact=True).click()
    expect(again.locator("pre")).to_contain_text("Stopped at step")


def test_a_mistake_is_named_before_anything_starts(serve: Any, open_page: Any, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    page = open_page(serve([tmp_path / "runs"]) + "/training")
    page.get_by_role("button", name="Start a 2-minute demo run").click()
    expect(page.locator("#st-f-beta")).to_be_attached()
    page.get_by_label("Search settings").fill("pull towards")
    expect(page.locator(".st-field:visible")).to_have_count(1)
    page.locator("#st-f-beta").fill("-1")
    expect(page.locator("#st-problem")).to_have_text("--beta is -1.0: it must be above 0")
    expect(page.locator("#st-f-beta")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#st-f-beta-error")).to_have_text("Beta is -1.0: it must be above 0")
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    page.locator("#st-f-beta").fill("0.3")
    expect(page.locator("#st-command")).to_contain_text("--beta 0.3")
    expect(page.locator("#st-fields [aria-invalid]")).to_have_count(0)
    page.get_by_label("Run name").fill("../outside")
    expect(page.locator("#st-problem")).to_contain_text("The run's name is '../outside'")
    expect(page.locator("#st-name")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Run name").fill("")
    page.get_by_label("Search settings").fill("")
    # Five settings stand first, open ones with what they come to; the others are folded.
    first = page.locator(".st-first .st-field")
    names = ["Model", "Dataset", "Max steps", "Learning rate", "Beta"]
    expect(first.locator(".st-name")).to_have_text(names)
    page.locator("#st-f-model").fill("demo/t5")
    page.locator("#st-f-learning_rate").fill("")
    expect(page.locator("#st-f-learning_rate")).to_have_attribute("placeholder", "2e-5")
    # Whether it fits is looked at by itself, and what cannot be found stops the start.
    fits = page.locator(".st-lines li.fit b")
    expect(fits).to_have_text(["Time", "Memory", "Disk"])
    page.locator("#st-f-dataset").fill("nowhere.jsonl")
    expect(page.locator("#st-f-dataset-error")).to_contain_text("nowhere.jsonl")
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    page.locator("#st-f-dataset").fill("sample")
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()
    page.keyboard.press("Escape")
    expect(page.locator("#st-drawer")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_finding_is_mended_and_run_again(serve: Any, open_page: Any, tmp_path: Path) -> None:
    """The doctor's change, in the form of the run that it is about: everything else as it was."""
    record = RunRecord.create(
        tmp_path / "far",
        {"name": "far", "kind": "dpo", "family": "gpt2", "state": "finished",
         "config": {"model": "demo/gpt2", "dataset": "sample", "max_steps": 40, "beta": 0.1, "loss_type": ["sigmoid"]}},
    )  # fmt: skip
    rewards = {"rewards/chosen": -4.0, "rewards/rejected": -9.0, "rewards/margins": 5.0, "rewards/accuracies": 0.9}
    shares = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    record.log_all(
        [
            {"step": 8 * at, "loss": 0.69 - 0.4 * share} | {name: share * value for name, value in rewards.items()}
            for at, share in enumerate(shares)
        ]
    )
    page = open_page(serve([tmp_path]) + "/training")
    finding = page.locator('[data-code="likelihood displacement"]')
    finding.get_by_role("button", name="Fix and rerun GPT-2 with --loss-type sigmoid sft").click()
    expect(page.locator("#st-message")).to_contain_text("--loss-type is changed")
    expect(page.locator("#st-command")).to_contain_text("--max-steps 40 --loss-type sigmoid sft")
    expect(page.get_by_label("Run name")).to_have_value("far-2")
    expect(page.locator(".st-field.fixed .st-name")).to_have_text("Loss type")
    expect(page.locator("#st-f-loss_type")).to_have_values(["sigmoid", "sft"])


def test_the_form_starts_supervised_fine_tuning_too_and_has_the_presets_of_the_files(
    serve: Any, open_page: Any, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    page = open_page(serve([tmp_path / "runs"]) + "/training")
    page.get_by_role("button", name="Start a 2-minute demo run").click()
    expect(page.locator("#st-command")).to_contain_text("dpo train --max-steps 40 --batch-size 4")
    page.get_by_label("Learn from").select_option("sft")
    expect(page.locator("#st-command")).to_contain_text("dpo sft --max-steps 40 --batch-size 4")
    expect(page.locator("#st-f-beta")).to_have_count(0)
    page.get_by_label("Search settings").fill("learn")
    page.locator("#st-f-learn").select_option("both")
    expect(page.locator("#st-command")).to_contain_text("--learn both")
    page.get_by_label("Learn from").select_option("dpo")
    expect(page.locator("#st-command")).to_contain_text("dpo train --max-steps 40 --batch-size 4")
    page.set_viewport_size({"width": 420, "height": 900})
    page.get_by_label("Preset").select_option("t5-small-human-like")
    expect(page.locator("#st-command")).to_have_text(
        re.compile(r"^dpo train --model t5 --dataset human-like .*--learning-rate 2e-05 --schedule cosine")
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_margins_lie_beneath_the_losses(
    serve: Any, open_page: Any, tmp_path: Path, policy_dirs: dict[str, Path], pairs: Path
) -> None:
    from dpo import TrainConfig, train

    train(
        TrainConfig(
            model=str(policy_dirs["gpt2"]),
            dataset=str(pairs),
            max_steps=2,
            max_prompt_length=24,
            max_completion_length=24,
            batch_size=2,
            eval_fraction=0.3,
            probes=0,
            kl_prompts=0,
            learning_rate=1e-2,
            loss_type=["ipo"],
            precision="fp32",
            output_dir=str(tmp_path / "runs" / "a"),
        )
    )
    # What a run's record names, its base and its data, is read where the server was told to.
    address = serve([tmp_path / "runs", policy_dirs["gpt2"].parent], data_directory=pairs.parent)
    page = open_page(address + "/training")
    page.get_by_role("heading", name="Loss playground").click()
    expect(page.locator("#learn-note")).to_have_text("a: not measured yet")
    expect(page.locator(".js-loss[aria-pressed=true]")).to_have_text(["sigmoid", "hinge", "ipo"])
    page.get_by_role("button", name="Measure held-out margins").click()
    expect(page.locator("#learn-note")).to_contain_text("ranked right", timeout=90_000)
    drawn = page.evaluate("document.querySelector('#learn-figure .plot').data.map(t => [t.name, t.type])")
    pairs = page.evaluate("document.querySelector('#learn-figure .plot').data.at(-1).y.reduce((a, b) => a + b)")
    shown = re.findall(r"(\d+) held-out pairs", page.locator("#learn-note").inner_text())
    assert drawn[-1] == ["a held out", "bar"] and pairs == int(shown[0]) > 5
    assert len(drawn) == 15
    page.get_by_role("button", name="robust").click()
    expect(page.locator(".js-loss[data-loss=robust]")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("heading", name="Glossary").click()
    expect(page.get_by_text("Chosen reward - rejected reward.")).to_be_visible()


def test_a_page_of_another_site_cannot_train(serve: Any, tmp_path: Path) -> None:
    address = serve([tmp_path])
    for headers in ({"Origin": "http://evil.example"}, {"Content-Type": "text/plain"}):
        request = urllib.request.Request(
            address + "/api/jobs",
            json.dumps({"settings": {}}).encode(),
            headers={"Content-Type": "application/json"} | headers,
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code in (403, 415)
    assert not (tmp_path / ".jobs").exists()
