"""A dashboard that is killed while a run trains: the next one shows the run, its queue, and can stop and save it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from dpo.runs import open_run
from dpo.training.jobs import Jobs

ROOT = Path(__file__).resolve().parents[2]
SLOW = 240_000  # PyTorch is started anew for each training


@pytest.fixture
def start_app(tmp_path: Path) -> Iterator[Callable[[], tuple[str, subprocess.Popen[bytes]]]]:
    """Start `app.py` as a person does; what still runs at the end is ended, trainings too."""
    started: list[subprocess.Popen[bytes]] = []
    (tmp_path / "runs").mkdir()

    def start() -> tuple[str, subprocess.Popen[bytes]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--runs", str(tmp_path / "runs")]
        process = subprocess.Popen([*command, "--votes", str(tmp_path / "votes.sqlite")], cwd=tmp_path)
        started.append(process)
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(address + "/api/jobs", timeout=30).close()
                return address, process
            except urllib.error.URLError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)

    yield start
    for process in started:
        process.kill()
        process.wait()
    jobs = Jobs(tmp_path / "runs")
    for job in reversed(jobs.all()):
        if not job.over:
            jobs.stop(job.ident)


def submit(address: str, name: str, model: Path, pairs: Path, steps: int, kind: str = "dpo") -> None:
    settings = {
        "model": str(model), "dataset": str(pairs), "max_steps": steps, "batch_size": 2, "logging_steps": 1,
        "max_prompt_length": 24, "max_completion_length": 24, "eval_steps": 100_000, "save_steps": 100_000,
        "probes": 0, "max_eval_pairs": 2, "precision": "fp32",
    }  # fmt: skip
    settings |= {"kl_prompts": 0} if kind == "dpo" else {"learn": "both"}
    request = urllib.request.Request(
        address + "/api/jobs", json.dumps({"kind": kind, "name": name, "settings": settings}).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    urllib.request.urlopen(request, timeout=60).close()


def test_training_and_queue_outlive_a_killed_dashboard(
    start_app: Any, open_page: Any, tmp_path: Path, policy_dirs: dict[str, Path], write_pairs: Callable[..., Path]
) -> None:
    pairs = write_pairs([{"prompt": f"Tea {i}?", "chosen": f"I do {i}!", "rejected": f"No {i}."} for i in range(64)])
    address, app = start_app()
    submit(address, "long", policy_dirs["gpt2"], pairs, 50_000)
    submit(address, "next", policy_dirs["gpt2"], pairs, 2, "sft")
    jobs = Jobs(tmp_path / "runs")
    deadline = time.monotonic() + SLOW / 1000
    while (done := jobs.all()[0].progress()[0]) == 0:
        assert time.monotonic() < deadline and not jobs.all()[0].over, jobs.log(jobs.all()[0].ident)
        time.sleep(0.1)
    os.kill(app.pid, signal.SIGKILL)
    app.wait()

    address, _ = start_app()
    page = open_page(address + "/training")
    expect(page.locator("#tr-live")).to_contain_text("long · step")
    page.get_by_role("button", name="New run").click()
    page.get_by_role("tab", name="Queue").click()
    long, following = (page.locator(".st-job", has=page.get_by_text(name, exact=True)) for name in ("long", "next"))
    expect(long).to_have_attribute("data-state", "running")
    expect(following).to_have_attribute("data-state", "waiting")
    page.wait_for_function(
        "before => +document.querySelector('.st-job[data-state=running] .num')?.textContent.match(/step (\\d+)/)?.[1]"
        " > before",
        arg=done + 1,
        timeout=SLOW,
    )
    page.get_by_role("button", name="Stop long").click()
    expect(long).to_have_attribute("data-state", "stopped", timeout=SLOW)
    saved = list((tmp_path / "runs" / "long").glob("checkpoint-*"))
    assert len(saved) == 1 and int(saved[0].name.rpartition("-")[2]) > done
    assert (tmp_path / "runs" / "long" / "policy").is_dir()
    expect(following).to_have_attribute("data-state", "finished", timeout=SLOW)  # nobody had to ask again
    assert open_run(tmp_path / "runs" / "next").kind == "sft"
