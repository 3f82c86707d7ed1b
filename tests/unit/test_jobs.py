"""Trainings in processes of their own: flags, the queue, and what a killed process leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from queues import put, until, worker_lock_held

from dpo.cli.arguments import settings
from dpo.cli.main import parser
from dpo.errors import BusyError, ConfigError, RunError
from dpo.runs import RunRecord
from dpo.training import jobs as module
from dpo.training.command_line import arguments, command_line
from dpo.training.config import SftConfig, TrainConfig
from dpo.training.jobs import SWEEP, Jobs, TrainingJob, run_directory, work
from dpo.training.preflight import parameters, preflight
from dpo.training.settings import make

PARSER = parser()


def read_back(flags: list[str]) -> TrainConfig:
    return settings(PARSER.parse_args(["train", *flags]), TrainConfig)


@examples(max_examples=30)
@given(
    beta=st.floats(1e-6, 1e3), rate=st.none() | st.floats(1e-9, 1.0), steps=st.none() | st.integers(1, 10**6),
    weights=st.none() | st.lists(st.floats(-2, 2), min_size=2, max_size=2), cache=st.booleans(),
    alpha=st.floats(-3, 3),
    # argparse drops a value that is "--", also after "=" (a fault of its own).
    name=st.text("abc -=_'\"é", min_size=1, max_size=12).filter(lambda name: name != "--"),
)  # fmt: skip
def test_the_line_gives_the_same_settings(
    beta: float,
    rate: float | None,
    steps: int | None,
    weights: list[float] | None,
    cache: bool,
    alpha: float,
    name: str,
) -> None:
    given_values: dict[str, Any] = {
        "beta": beta, "learning_rate": rate, "max_steps": steps, "cache_reference": cache, "dataset": name,
        "loss_type": ["sigmoid", "hinge"], "loss_weights": weights, "f_divergence_type": "alpha_divergence",
        "f_alpha_divergence_coef": alpha, "report_to": ["wandb"],
    }  # fmt: skip
    config = make(TrainConfig, given_values)
    assert read_back(arguments(config)) == config


def test_only_what_differs_is_in_the_line() -> None:
    assert command_line(TrainConfig(beta=0.2, lora=True)) == "dpo train --beta 0.2 --lora"
    assert command_line(SftConfig(learn="both")) == "dpo sft --learn both"
    assert command_line(TrainConfig(dataset="my pairs.jsonl")) == "dpo train --dataset 'my pairs.jsonl'"


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "x" * 81, "-x"])
def test_a_run_stays_within_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name"):
        run_directory(tmp_path, name)


def test_the_queue_goes_in_order_and_tells_how_each_ended(tmp_path: Path) -> None:
    queue = Jobs(tmp_path)
    put(queue, "1-a", ["runs", "list", "--runs", str(tmp_path)], tmp_path / "a")
    put(queue, "2-b", ["train", "--beta", "-1"], tmp_path / "b")
    put(queue, "3-c", ["runs", "list", "--runs", str(tmp_path)], tmp_path / "c")
    queue.stop("3-c")
    work(queue.directory)
    first, second, third = queue.all()
    assert [job.state for job in (first, second, third)] == ["finished", "failed", "cancelled"]
    assert second.message == "--beta is -1.0: it must be above 0"
    assert "No runs yet" in queue.log("1-a")
    assert first.started is not None and second.started is not None and first.started < second.started
    assert third.started is None
    with pytest.raises(RunError, match="already"):
        queue.stop("1-a")
    queue.forget("1-a")
    assert [job.ident for job in queue.all()] == ["2-b", "3-c"]
    with pytest.raises(RunError, match="no job"):
        queue.get("1-a")


def test_a_sweep_is_a_job_that_can_be_stopped_and_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Jobs(tmp_path)
    monkeypatch.setattr(Jobs, "work", lambda self: None)
    text = "name: betas\nmethod: grid\nsearch:\n  beta: [0.1, 0.3]\n"
    job = queue.submit_sweep(text)
    assert (job.state, job.trials, job.resumes, job.plan()) == ("waiting", 2, False, text)
    asked = json.loads((job.directory / "job.json").read_text())["arguments"]
    assert PARSER.parse_args(asked).dir == tmp_path / "betas"
    with pytest.raises(RunError, match="in the queue already"):
        queue.submit_sweep(text)
    (tmp_path / "betas").mkdir()
    (tmp_path / "betas" / SWEEP).touch()
    for name, state in (("betas-000", "finished"), ("betas-001", "stopped")):
        RunRecord.create(tmp_path / "betas" / name, {"state": state, "kind": "dpo", "config": {}})
    (job.directory / "process.json").write_text(json.dumps({"pid": 2**22 + 1, "born": 1.0, "started": 1.0}))
    (job.directory / "stop").touch()
    (job.directory / "exit.json").write_text(json.dumps({"code": 130, "time": 2.0}))
    stopped = queue.get(job.ident)
    assert (stopped.state, stopped.message) == ("stopped", "the trial under way was saved")
    assert stopped.progress() == (1, 2, None) and stopped.record()["resumable"]
    assert queue.submit_sweep(stopped.plan()).resumes
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConfigError, match="exists already: give the sweep another name"):
        queue.submit_sweep("name: taken\nsearch: {beta: [0.1, 0.3]}\ntrials: 2\n")


def test_a_directory_is_in_the_queue_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Jobs(tmp_path)
    monkeypatch.setattr(Jobs, "work", lambda self: None)  # nobody works: both would wait
    queue.submit(TrainConfig(output_dir=str(tmp_path / "a")))
    with pytest.raises(RunError, match="in the queue already"):
        queue.submit(TrainConfig(output_dir=str(tmp_path / "a")))
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    with pytest.raises(BusyError, match="waiting already"):
        queue.submit(TrainConfig(output_dir=str(tmp_path / "b")))
    assert [job.state for job in queue.all()] == ["waiting"]


def test_a_training_whose_worker_was_killed_is_waited_for(tmp_path: Path) -> None:
    """The next worker begins nothing while that training lives."""
    queue = Jobs(tmp_path)
    folder = put(queue, "1-a", ["train"], tmp_path / "a")
    orphan = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = psutil.Process(orphan.pid).create_time()
    (folder / "process.json").write_text(json.dumps({"pid": orphan.pid, "born": born, "started": 1.0}))
    put(queue, "2-b", ["runs", "list", "--runs", str(tmp_path)], tmp_path / "b")
    worker = subprocess.Popen([sys.executable, "-m", "dpo.training.jobs", str(queue.directory)])
    until(lambda: worker_lock_held(queue))
    assert [job.state for job in queue.all()] == ["running", "waiting"]
    orphan.communicate(b"\n")
    assert worker.wait(120) == 0
    assert [job.state for job in queue.all()] == ["interrupted", "finished"]


def test_another_process_with_the_number_is_not_taken_for_the_training(tmp_path: Path) -> None:
    queue = Jobs(tmp_path)
    folder = put(queue, "1-a", ["train"], tmp_path / "a")
    (folder / "process.json").write_text(json.dumps({"pid": os.getpid(), "born": 1.0, "started": 1.0}))
    RunRecord.create(tmp_path / "a", {"state": "stopped", "kind": "dpo", "config": {"beta": 0.1}})
    job: TrainingJob = queue.get("1-a")
    assert job.state == "stopped" and job.record()["resumable"]
    with pytest.raises(RunError, match="nothing to stop"):
        queue.stop("1-a")  # and no signal was sent to this process


def test_a_killed_training_is_named_and_what_is_no_job_is_left_out(tmp_path: Path) -> None:
    queue = Jobs(tmp_path)
    folder = put(queue, "1-a", ["train"], tmp_path / "a")
    (folder / "process.json").write_text(json.dumps({"pid": 2**22 + 1, "born": 1.0, "started": 1.0}))
    (folder / "exit.json").write_text(json.dumps({"code": -signal.SIGKILL, "time": 2.0}))
    (queue.directory / "half-written").mkdir()
    (queue.directory / "torn-job").mkdir()
    (queue.directory / "torn-job" / "job.json").write_text('{"argu')
    torn, job = queue.all()[::-1]
    assert torn.state == "damaged" and torn.over and "job.json cannot be read" in (torn.message or "")
    assert (job.state, job.message) == ("interrupted", "its process was killed: resume it")
    # One that was resumed, and asked to stop while it was still loading, when nobody listened yet.
    RunRecord.create(tmp_path / "a", {"state": "stopped", "kind": "dpo", "config": {"beta": 0.1}})
    (tmp_path / "a" / "checkpoint-4").mkdir()
    (tmp_path / "a" / "checkpoint-4" / "trainer_state.json").touch()
    (folder / "stop").touch()
    (folder / "exit.json").write_text(json.dumps({"code": -signal.SIGTERM, "time": 2.0}))
    job = queue.get("1-a")
    assert (job.state, job.message) == ("stopped", "stopped before it went on: its last checkpoint stays")
    assert job.record()["resumable"]


def test_parameters_are_counted_from_the_headers(policy_dirs: dict[str, Path]) -> None:
    from transformers import AutoModelForCausalLM

    assert (
        parameters(str(policy_dirs["gpt2"]))
        == AutoModelForCausalLM.from_pretrained(policy_dirs["gpt2"]).num_parameters()
    )
    assert parameters("t5") is None  # not on this machine
    assert parameters("demo/gpt2-dpo") == 9_497_600 + 368_640  # the base and its adapter


def test_preflight_names_what_is_missing(tmp_path: Path) -> None:
    found = {line["topic"]: line for line in preflight(TrainConfig(), tmp_path / "not" / "there", [])}
    assert found["Policy"]["level"] == "ok" and "9.5 million" in found["Policy"]["text"]
    assert "training and" in found["Data"]["text"] and found["Audit"]["level"] in ("ok", "warning")
    assert found["Time"]["level"] == "note"  # no like run was measured
    assert found["Disk"]["level"] == "ok"
    bad = preflight(TrainConfig(model="demo/none", dataset=str(tmp_path / "no.jsonl")), tmp_path, [])
    assert [line["topic"] for line in bad if line["level"] == "fault"] == ["Policy", "Data"]


def test_preflight_audits_the_head_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    said = " so" * 60
    rows = ({"prompt": f"Question {n}?", "chosen": f"Yes {n} 😀{said}", "rejected": "No."} for n in range(20_000))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert path.stat().st_size > 4_000_000
    found = {line["topic"]: line for line in preflight(TrainConfig(dataset=str(path)), tmp_path, [])}
    read = "large.jsonl: the first 3,072 pairs were read, more follow, which the Data page audits"
    assert found["Data"]["text"] == read
    assert found["Audit"]["level"] == "warning" and "alone tells chosen from rejected" in found["Audit"]["text"]
    away = {line["topic"]: line for line in preflight(TrainConfig(dataset="orca=1,sample=1"), tmp_path, [])}
    assert away["Data"]["text"] == "orca is fetched from the hub first: dpo data audit looks into it"


def test_preflight_names_lengths_beyond_the_context(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    from dpo.policies.names import context

    assert context(str(policy_dirs["gpt2"])) == 128 and context("demo/t5-dpo") is None and context("gpt2") is None
    assert context("demo/gpt2-dpo") == context("demo/gpt2") == 512  # an adapter's is its base's
    for config in (TrainConfig, SftConfig):
        long = config(model=str(policy_dirs["gpt2"]), max_prompt_length=100, max_completion_length=29)
        found = {line["topic"]: line for line in preflight(long, tmp_path, [])}
        assert found["Lengths"]["level"] == "fault"
        assert re.match(
            "--max-prompt-length 100 and --max-completion-length 29 need 129 tokens, .* has a context of 128: lower",
            found["Lengths"]["text"],
        )
        fits = config(model=str(policy_dirs["gpt2"]), max_prompt_length=100, max_completion_length=28)
        assert "Lengths" not in {line["topic"] for line in preflight(fits, tmp_path, [])}
    t5 = TrainConfig(model="demo/t5", max_prompt_length=5000, max_completion_length=5000)
    assert "Lengths" not in {line["topic"] for line in preflight(t5, tmp_path, [])}


def test_preflight_counts_the_findings_of_the_audit(tmp_path: Path, write_pairs: Callable[..., Path]) -> None:
    rows = [{"prompt": f"Tea {i}?", "chosen": f"I do {i}!", "rejected": f"No {i}."} for i in range(40)]
    same = [{"prompt": f"Milk {i}?", "chosen": "The same.", "rejected": "The same."} for i in range(20)]
    found = {
        line["topic"]: line
        for line in preflight(TrainConfig(dataset=str(write_pairs(rows + same + rows))), tmp_path, [])
    }
    assert found["Audit"]["level"] == "warning"
    assert re.match(r"(\d+ faults?, )?(\d+ warnings?, )?\d+ notes?: ", found["Audit"]["text"]), found["Audit"]["text"]


def test_time_comes_from_a_like_run(tmp_path: Path) -> None:
    import dataclasses

    from dpo.runs import open_run

    config = TrainConfig(max_steps=100, batch_size=4)
    record = RunRecord.create(
        tmp_path / "before", {"kind": "dpo", "family": "gpt2", "config": dataclasses.asdict(config)}
    )
    for step in range(3):
        record.log({"step": step, "time": 10.0 + 2.0 * step, "examples": 4 * step, "loss": 0.69})
    record.add_hardware({"step": 2, "rss_mb": 900.0})
    known = [open_run(tmp_path / "before")]
    found = {line["topic"]: line for line in preflight(config, tmp_path, known)}
    assert found["Time"]["text"].startswith("about 3 min: 100 updates of 4 pairs at the pace of before")
    assert found["Memory"]["text"].startswith("0.9 GB, as before took at most")
    other = {line["topic"]: line for line in preflight(TrainConfig(max_steps=100, lora=True), tmp_path, known)}
    assert other["Time"]["level"] == "note"
