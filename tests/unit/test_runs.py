"""The record survives kills and full disks, and is read back as far as it is good."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from events import scalar

from dpo.errors import RunError, StorageError
from dpo.runs import Metrics, RunRecord, find_runs, open_run, summarise
from dpo.runs.live import OpenRuns
from dpo.runs.watching import event_of

LOOP = """
import sys
from dpo.runs import RunRecord
record = RunRecord.create(sys.argv[1], {"kind": "dpo", "family": "t5", "state": "running"})
step = 0
while True:
    record.log({"step": step, "loss": 0.5, "text": "x" * 5000})
    record.update(progress={"step": step})
    step += 1
    print(step, flush=True)
"""


def test_what_is_logged_is_read_back(tmp_path: Path) -> None:
    record = RunRecord.create(
        tmp_path / "run", {"kind": "dpo", "family": "gpt2", "state": "running", "pid": os.getpid()}
    )
    record.log({"step": 0, "loss": 0.6931, "eval_loss": 0.6931})
    record.log({"step": 5, "loss": float("nan"), "rewards/margins": 0.5})
    record.add_samples([{"step": 0, "index": 0, "prompt": "p 😀", "policy": "a", "reference": "b"}])
    record.update(state="finished")
    run = open_run(tmp_path / "run")
    assert (run.kind, run.family, run.state) == ("dpo", "causal", "finished")
    metrics = run.metrics()
    assert metrics.steps == [0, 5]
    assert metrics.series("loss") == ([0], [0.6931])
    assert metrics.last("rewards/margins") == 0.5
    assert run.samples()[0].prompt == "p 😀"
    assert (summarise(run)["loss"], summarise(run)["over"]) == (0.6931, "held out")


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    RunRecord.create(tmp_path, {"state": "finished"})
    with pytest.raises(RunError, match="holds a run already"):
        RunRecord.create(tmp_path, {})


@pytest.mark.parametrize("after", [3, 17])
def test_sigkill_leaves_every_complete_row(after: int, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", LOOP, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= after:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = open_run(tmp_path / "run")
    steps = run.metrics().steps
    assert steps == list(range(len(steps))) and len(steps) >= after
    assert json.loads((tmp_path / "run" / "run.json").read_text())["progress"]["step"] >= after - 1


def test_torn_and_damaged_lines_are_skipped(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path, {"state": "finished"})
    record.log({"step": 0, "loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1, "lo\n{"step": 2, "loss": 3.0}\n{"step": 3, "loss": 4.')
    assert open_run(tmp_path).metrics().series("loss") == ([0, 2], [1.0, 3.0])


def test_resume_drops_what_will_be_written_again(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path, {"state": "failed"})
    for step in range(6):
        record.log({"step": step, "loss": float(step)})
        record.add_samples([{"step": step, "prompt": "p", "policy": "a"}])
    resumed = RunRecord.resume(tmp_path, 3)
    resumed.log({"step": 4, "loss": 44.0})
    run = open_run(tmp_path)
    assert run.metrics().series("loss") == ([0, 1, 2, 3, 4], [0.0, 1.0, 2.0, 3.0, 44.0])
    assert [sample.step for sample in run.samples()] == [0, 1, 2, 3]
    assert run.info["state"] == "running"


FULL = """
import resource, signal, sys
from dpo.errors import StorageError
from dpo.runs import RunRecord
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
record = RunRecord.create(sys.argv[1], {"state": "running"})
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    for step in range(100):
        record.log({"step": step, "text": "x" * 300})
except StorageError as error:
    print(error)
"""


def test_a_write_that_fails_leaves_no_half_row(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "run")], capture_output=True, text=True)
    assert "cannot be written" in done.stdout and done.stdout.count("\n") == 1
    steps = open_run(tmp_path / "run").metrics().steps
    assert steps == list(range(len(steps))) and len(steps) > 5
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes().endswith(b"\n")


def test_unwritable_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be created"):
        RunRecord.create(tmp_path / "file" / "run", {})


def test_a_running_run_without_its_process_is_interrupted(tmp_path: Path) -> None:
    import socket

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    RunRecord.create(tmp_path, {"state": "running", "pid": gone.pid, "host": socket.gethostname()})
    assert open_run(tmp_path).state == "interrupted"


def test_find_lists_damaged_runs_with_their_problem(tmp_path: Path) -> None:
    RunRecord.create(tmp_path / "good", {"state": "finished"})
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{")
    (tmp_path / "other").mkdir()
    runs = {run.name: run for run in find_runs([tmp_path, tmp_path / "nowhere"])}
    assert set(runs) == {"good", "bad"}
    assert "cannot be read" in (runs["bad"].problem or "")
    with pytest.raises(RunError, match="holds no run"):
        open_run(tmp_path / "other")


def test_a_trl_output_directory_is_read(tmp_path: Path) -> None:
    for step in (5, 10):
        checkpoint = tmp_path / f"checkpoint-{step}"
        checkpoint.mkdir()
        (checkpoint / "config.json").write_text('{"is_encoder_decoder": true}')
        history = [{"step": s, "loss": 1 / s, "rewards/chosen": 0.1 * s} for s in range(5, step + 1, 5)]
        (checkpoint / "trainer_state.json").write_text(
            json.dumps({"log_history": [*history, {"train_runtime": 3, "step": step}]})
        )
    run = open_run(tmp_path)
    assert (run.family, run.state) == ("seq2seq", "finished")
    assert run.metrics().series("rewards/chosen") == ([5, 10], [0.5, 1.0])


def test_rows_of_one_step_are_merged() -> None:
    metrics = Metrics.of_rows([{"step": 2, "loss": 1.0}, {"step": 1, "loss": 3}, {"step": 2, "eval_loss": 2.0}])
    assert metrics.columns == {"step": [1, 2], "loss": [3, 1.0], "eval_loss": [None, 2.0]}


def test_a_run_is_followed_from_before_its_first_row(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"name": "run"})
    run = open_run(tmp_path / "run")
    assert run.metrics().rows == 0
    record.log({"step": 1, "loss": 0.5})
    assert run.metrics().steps == [1]


def test_event_files_never_stand_for_the_record_of_a_run(tmp_path: Path) -> None:
    """Opened between `run.json` and the first row, resumed later: the curve is the record's, step 0 included."""
    record = RunRecord.create(tmp_path / "run", {"name": "run", "state": "running"})
    (tmp_path / "run" / "events.out.tfevents.1").write_bytes(scalar("train/loss", 1, 0.6))
    viewer = OpenRuns()
    assert viewer.get(str(tmp_path / "run")).metrics().rows == 0
    for step in (0, 1):
        record.log({"step": step, "examples": 4 * step, "loss": 0.7 - step / 10})
    assert viewer.get(str(tmp_path / "run")).metrics().series("loss", "examples") == ([0, 4], [0.7, 0.6])
    resumed = RunRecord.resume(tmp_path / "run", 1)
    (tmp_path / "run" / "events.out.tfevents.2").write_bytes(scalar("train/loss", 2, 0.4))
    resumed.log({"step": 2, "examples": 8, "loss": 0.5})
    resumed.update(state="finished")
    assert viewer.get(str(tmp_path / "run")).metrics().series("loss", "examples") == ([0, 4, 8], [0.7, 0.6, 0.5])


def test_event_files_seen_before_run_json_give_way_to_the_record(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(scalar("train/loss", 1, 0.6))
    run = open_run(tmp_path)
    assert run.metrics().steps == [1]
    record = RunRecord.create(tmp_path, {"name": "run"})
    record.log({"step": 0, "loss": 0.7})
    assert run.metrics().steps == [0]


def test_who_waits_for_a_run_is_told_what_became_of_it(tmp_path: Path) -> None:
    here = {"state": "running", "pid": os.getpid(), "host": socket.gethostname()}
    record = RunRecord.create(tmp_path / "run", {"name": "run", "kind": "dpo"} | here)
    record.log_all([{"step": step, "loss": 0.5, "time": 60.0 * step} for step in range(4)])
    run, now = open_run(record.path), time.time()
    assert event_of(run, run.metrics(), now) == "running"
    assert event_of(run, run.metrics(), now + 590) == "running"  # ten times its usual pause
    assert event_of(run, run.metrics(), now + 620) == "stalled"
    record.log({"step": 4, "loss": float("nan"), "time": 240.0})
    run = open_run(record.path)
    assert event_of(run, run.metrics(), now) == "diverged"
    record.update(state="failed")
    run = open_run(record.path)
    assert event_of(run, None, now) == "failed" and event_of(run, None, now + 3600) is None
