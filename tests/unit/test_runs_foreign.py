"""Runs of other tools, live files and damaged ones are read as far as they are good."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from events import frame, scalar
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.util import tensor_util
from torch.utils.tensorboard import SummaryWriter

from dpo.errors import RunError
from dpo.runs import BUNDLED_RUNS, RunRecord, find_runs, open_run
from dpo.runs.cursor import EventMetrics, LineMetrics, measure_name
from dpo.runs.find import names
from dpo.runs.tfevents import read_events


@pytest.mark.parametrize("name", sorted(path.name for path in BUNDLED_RUNS.iterdir()))
def test_event_files_are_read_as_tensorboard_reads_them(name: str) -> None:
    path = BUNDLED_RUNS / name / "events.out.tfevents.0"
    theirs = EventAccumulator(str(path), size_guidance={"scalars": 0})
    theirs.Reload()
    ours = read_events(path.read_bytes())
    assert ours.damaged == 0 and sorted(ours.tags) == sorted(theirs.Tags()["scalars"])
    for tag in ours.tags:
        expected = theirs.Scalars(tag)
        assert ours.tags[tag].steps == [point.step for point in expected]
        assert ours.tags[tag].values == [point.value for point in expected]
        assert ours.tags[tag].walls == [point.wall_time for point in expected]


def test_a_writer_of_torch_is_followed_while_it_writes(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    writer.add_text("args", "not a scalar")
    for step in (0, 1, 127, 128, 70000):
        writer.add_scalar("train/rewards/chosen", step / 7, step)
    writer.add_scalar("eval/loss", 0.5, 128)
    writer.flush()
    run = open_run(tmp_path)
    first = run.metrics()
    assert first.series("rewards/chosen")[0] == [0, 1, 127, 128, 70000]
    assert first.series("eval_loss") == ([128], [0.5])
    writer.add_scalar("train/rewards/chosen", 1.5, 70001)
    writer.close()
    assert run.metrics().last("rewards/chosen") == 1.5
    assert first.last("rewards/chosen") == pytest.approx(10000)


def test_scalars_as_tensors_are_read(tmp_path: Path) -> None:
    value = Summary.Value(tag="train/loss", tensor=tensor_util.make_tensor_proto(np.float32(0.25)))
    value.metadata.plugin_data.plugin_name = "scalars"
    event = Event(wall_time=1.0, step=3, summary=Summary(value=[value]))
    (tmp_path / "events.out.tfevents.1.v2").write_bytes(frame(event))
    assert open_run(tmp_path).metrics().series("loss") == ([3], [0.25])


def test_damage_in_an_event_file_costs_only_the_damaged_records(tmp_path: Path) -> None:
    frames = [scalar("train/loss", step, 1 / (step + 1)) for step in range(50)]
    content = bytearray(b"".join(frames))
    starts = [sum(map(len, frames[:i])) for i in range(50)]
    content[starts[10] + 12 + 3] ^= 0xFF  # inside a message: its checksum fails
    content[starts[20] + 2] ^= 0x0F  # a length: the chain is lost until the next sound frame
    torn = bytes(content[: starts[49] + 20])
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(torn)
    source = EventMetrics([path])
    metrics = source.read()
    assert [int(step) for step in metrics.series("loss")[0]] == [step for step in range(49) if step not in (10, 20)]
    assert metrics.problems == ("events.out.tfevents.1: 2 damaged records left out",)
    path.write_bytes(torn + bytes(content[starts[49] + 20 :]))
    assert source.read().steps[-1] == 49


def test_nothing_but_noise_is_an_empty_run(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1").write_bytes(bytes(range(256)) * 20)
    metrics = open_run(tmp_path).metrics()
    assert metrics.rows == 0 and "damaged" in metrics.problems[0]


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("train/rewards/chosen", "rewards/chosen"),
        ("eval/rewards/chosen", "eval_rewards/chosen"),
        ("eval/loss", "eval_loss"),
        ("train/loss", "loss"),
        ("loss", "loss"),
        ("train/epoch", "epoch"),
        ("train/num_tokens", "tokens"),
    ],
)
def test_tags_of_old_and_new_trainers(tag: str, name: str) -> None:
    assert measure_name(tag) == name


def test_a_restart_in_a_second_file_wins_and_clocks_may_go_back(tmp_path: Path) -> None:
    first = b"".join(scalar("train/loss", step, 1.0, 2000.0 + step) for step in range(10))
    second = b"".join(scalar("train/loss", step, 2.0, 1000.0 + step) for step in range(5, 12))
    (tmp_path / "events.out.tfevents.1").write_bytes(first)
    (tmp_path / "events.out.tfevents.2").write_bytes(second)
    steps, values = open_run(tmp_path).metrics().series("loss")
    assert steps == list(range(12)) and values == [1.0] * 5 + [2.0] * 7


def test_not_finite_values_are_told_with_their_steps(tmp_path: Path) -> None:
    content = b"".join(scalar("train/loss", step, value) for step, value in enumerate((0.5, math.nan, math.inf)))
    (tmp_path / "events.out.tfevents.1").write_bytes(content)
    metrics = open_run(tmp_path).metrics()
    assert metrics.series("loss") == ([0], [0.5]) and metrics.not_finite == {"loss": [1, 2]}
    record = RunRecord.create(tmp_path / "ours", {"state": "finished"})
    record.log({"step": 0, "loss": 0.5})
    record.log({"step": 7, "loss": math.nan})
    assert open_run(tmp_path / "ours").metrics().not_finite == {"loss": [7]}
    state = {"log_history": [{"step": 1, "loss": math.nan}, {"step": 2, "loss": 0.1}]}
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "trainer_state.json").write_text(json.dumps(state))
    assert open_run(tmp_path / "hf").metrics().not_finite == {"loss": [1]}


def test_only_appended_bytes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = RunRecord.create(tmp_path, {"state": "running"})
    record.log({"step": 0, "loss": 1.0})
    source = LineMetrics(tmp_path / "metrics.jsonl")
    seen: list[int] = []
    real = source.tail.fresh

    def fresh() -> tuple[bytes, bool]:
        content, replaced = real()
        seen.append(len(content))
        return content, replaced

    monkeypatch.setattr(source.tail, "fresh", fresh)
    assert source.read().rows == 1
    record.log({"step": 1, "loss": 0.5})
    assert source.read().series("loss") == ([0, 1], [1.0, 0.5])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss"')
        file.flush()
        assert source.read().rows == 2
        file.write(": 0.25}\n")
    assert source.read().last("loss") == 0.25
    size = (tmp_path / "metrics.jsonl").stat().st_size
    assert seen[0] + seen[1] + seen[3] == size and seen[2] < 20


def test_a_rewritten_record_is_read_again(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path, {"state": "failed"})
    for step in range(6):
        record.log({"step": step, "loss": float(step)})
        record.add_samples([{"step": step, "prompt": "p", "policy": "a"}])
    run = open_run(tmp_path)
    assert run.metrics().rows == 6 and len(run.samples()) == 6
    RunRecord.resume(tmp_path, 2).log({"step": 3, "loss": 33.0})
    assert run.metrics().series("loss") == ([0, 1, 2, 3], [0.0, 1.0, 2.0, 33.0])
    assert [sample.step for sample in run.samples()] == [0, 1, 2]


def test_a_run_deleted_while_shown_is_empty_then_told(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"state": "finished"})
    record.log({"step": 0, "loss": 1.0})
    run = open_run(tmp_path / "run")
    assert run.metrics().rows == 1
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    assert run.metrics().rows == 0
    with pytest.raises(RunError, match="holds no run"):
        open_run(tmp_path / "run")


def test_a_damaged_line_of_a_long_record_costs_only_itself(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": s, "loss": 1 / (s + 1), "note": "x"} for s in range(8000)]
    for row in rows[::10]:
        row["eval_loss"] = 0.5
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "sound.jsonl").write_text(lines)
    (tmp_path / "damaged.jsonl").write_text(lines + "{damaged\n")
    sound, damaged = (LineMetrics(tmp_path / f"{name}.jsonl").read() for name in ("sound", "damaged"))
    assert sound.problems == () and damaged.problems == ("1 damaged line of damaged.jsonl left out",)
    assert sound.columns.keys() == damaged.columns.keys() == {"step", "loss", "eval_loss"}
    for name in sound.arrays:
        np.testing.assert_array_equal(sound.arrays[name], damaged.arrays[name])


def test_a_huggingface_directory_joins_state_and_newer_events(tmp_path: Path) -> None:
    output = tmp_path / "t5-small-dpo"
    (output / "checkpoint-4").mkdir(parents=True)
    state = {"global_step": 4, "max_steps": 9, "train_batch_size": 2, "log_history": [{"step": 4, "loss": 0.4}]}
    (output / "checkpoint-4" / "trainer_state.json").write_text(json.dumps(state))
    logs = output / "runs" / "Mar01_10-00-00_host"
    logs.mkdir(parents=True)
    content = b"".join(scalar("train/loss", step, 0.9) for step in (4, 6))
    (logs / "events.out.tfevents.1").write_bytes(content)
    [run] = find_runs([tmp_path])
    assert (run.name, run.family, run.progress) == ("t5-small-dpo", "seq2seq", {"step": 6, "max_steps": 9})
    assert run.metrics().series("loss")[1] == pytest.approx([0.4, 0.9])
    # A run that goes on elsewhere writes a new file of events, and a later checkpoint: both are found.
    assert run.metrics().steps == [4, 6]
    (logs / "events.out.tfevents.2").write_bytes(scalar("train/loss", 8, 0.3))
    assert run.metrics().steps == [4, 6, 8]
    (output / "checkpoint-9").mkdir()
    later = {"log_history": [{"step": 4, "loss": 0.4}, {"step": 9, "loss": 0.2}]}
    (output / "checkpoint-9" / "trainer_state.json").write_text(json.dumps(later))
    assert run.metrics().steps == [4, 6, 8, 9]
    (output / "checkpoint-9" / "trainer_state.json").unlink()
    (output / "checkpoint-4" / "trainer_state.json").write_text("{")
    damaged = open_run(output).metrics()
    assert damaged.steps == [4, 6, 8] and "cannot be read" in damaged.problems[0]


def test_nested_folders_are_searched_and_equal_names_told_apart(tmp_path: Path) -> None:
    for folder in ("alice/logs/gpt2-dpo", "bob/logs/gpt2-dpo", "gpt2-x/runs/Mar01_10-00-00_pc"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "events.out.tfevents.1").write_bytes(scalar("train/loss", 1, 0.5))
    runs = find_runs([tmp_path])
    assert [run.family for run in runs] == ["causal"] * 3
    assert len(set(names(runs))) == 3 and "gpt2-x" in names(runs)
