"""The hardware log beside a training: rows, energy, missing and failing sensors, resume."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from dpo.errors import ConfigError
from dpo.runs import RunRecord, open_run
from dpo.sensors import PowerMeter, Sensor, gpu_sensor, host_sensor, sensors
from dpo.training import heap
from dpo.training.config import TrainConfig
from dpo.training.hardware import HardwareLog
from dpo.training.recipes.dpo import train

SETTINGS: dict[str, Any] = {
    "dataset": "sample", "num_samples": 40, "max_prompt_length": 40, "max_completion_length": 40, "batch_size": 4,
    "max_steps": 4, "logging_steps": 1, "eval_steps": 4, "save_steps": 2, "probes": 0, "kl_prompts": 0, "device": "cpu",
}  # fmt: skip


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "hardware.jsonl").read_text().splitlines()]


def watch(
    record: RunRecord, readers: list[Sensor], samples: int, events: Any = None, zero: bool = True
) -> list[dict[str, Any]]:
    """Let a log run on its own until it has written this many rows more; returns all rows."""
    state = TrainerState(global_step=7, is_world_process_zero=zero)
    arguments, control = TrainingArguments(output_dir=str(record.path), use_cpu=True), TrainerControl()
    path = record.path / "hardware.jsonl"
    wanted = samples + (path.read_bytes().count(b"\n") if path.exists() else 0)
    with HardwareLog(record, events, interval=0.01, readers=readers) as log:
        log.on_train_begin(arguments, state, control)
        until = time.monotonic() + 60
        while zero and (not path.exists() or path.read_bytes().count(b"\n") < wanted):
            assert time.monotonic() < until
    return rows_of(record.path) if path.exists() else []


def trapezoid(rows: list[dict[str, Any]]) -> float:
    """Watt-hours under the power curve."""
    pairs = itertools.pairwise(rows)
    return sum((a["gpu_watts"] + b["gpu_watts"]) / 2 * (b["time"] - a["time"]) for a, b in pairs) / 3600


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hardware-log"]


def test_a_run_keeps_its_hardware_log(
    policy_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "run"
    trimmed: list[None] = []
    monkeypatch.setattr(heap, "EVERY", 2)
    monkeypatch.setattr(heap, "trim_heap", lambda: trimmed.append(None))
    train(TrainConfig(**SETTINGS, model=str(policy_dirs["gpt2"]), output_dir=str(directory)))
    assert len(trimmed) == 4  # two updates of four, the evaluations at 0 and 4
    rows = rows_of(directory)
    assert len(rows) >= 2 and [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    assert rows[-1]["step"] == 4 and rows[0]["step"] == 0
    for row in rows:
        assert 0 <= row["cpu_percent"] <= 100 and 0 < row["ram_percent"] <= 100 and row["rss_mb"] > 50
        assert "gpu_util" not in row and "wh" not in row  # trained on the CPU
    assert all(earlier["time"] <= later["time"] for earlier, later in itertools.pairwise(rows))
    # The clock of `metrics.jsonl`: the last sample is taken after the last logged step.
    assert rows[-1]["time"] >= open_run(directory).progress["seconds"]
    assert "energy_wh" not in open_run(directory).info
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert len(list(directory.glob("events.out.tfevents.*"))) == 1
    events = EventAccumulator(str(directory)).Reload()
    assert len(events.Scalars("hardware/rss_mb")) == len(rows)
    assert not threads()


def test_energy_is_the_area_under_the_power_and_goes_on_after_a_resume(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"name": "run"})
    watts = iter(range(100, 100000, 50))
    power: list[Sensor] = [lambda: {"gpu_watts": float(next(watts)), "gpu_util": 50.0}]
    first = watch(record, power, 4)
    assert first[0]["wh"] == 0 and first[-1]["wh"] == pytest.approx(trapezoid(first), abs=2e-6)
    assert open_run(record.path).info["energy_wh"] == pytest.approx(first[-1]["wh"], abs=2e-6)
    # A kill tears the last line off; the gap until the resume costs nothing.
    whole = (record.path / "hardware.jsonl").read_bytes()
    (record.path / "hardware.jsonl").write_bytes(whole + b'{"time": 99')
    resumed = RunRecord.resume(record.path, step=3)
    rows = watch(resumed, power, 4)
    assert rows[: len(first)] == first and len(rows) >= len(first) + 4
    later = rows[len(first) :]
    assert later[0]["wh"] == pytest.approx(first[-1]["wh"], abs=2e-6) and later[0]["time"] >= first[-1]["time"]
    assert later[-1]["wh"] == pytest.approx(first[-1]["wh"] + trapezoid(later), abs=4e-6)
    assert open_run(record.path).info["energy_wh"] == pytest.approx(later[-1]["wh"], abs=2e-6)


def test_a_meter_adds_up_what_is_drawn_and_knows_nothing_without_a_sensor() -> None:
    readings: list[float] = []

    def power() -> dict[str, float]:
        readings.append(3_600_000.0)  # a kilowatt-hour each second
        return {"gpu_watts": readings[-1]}

    began = time.monotonic()
    with PowerMeter("cuda", interval=0.001, readers=[power]) as meter:
        first = meter.wh()
        while len(readings) < 20:  # the thread reads meanwhile
            assert time.monotonic() < began + 60
        last = meter.wh()
        seconds = time.monotonic() - began
    assert first is not None and last is not None
    assert 0 < first < last <= 1000 * seconds
    count = len(readings)
    assert "power-meter" not in {thread.name for thread in threading.enumerate()} and len(readings) == count

    def gone() -> dict[str, float]:
        raise OSError("driver gone")

    for readers in ([gone], [host_sensor()], []):
        with PowerMeter("cuda", readers=readers) as silent:
            assert silent.wh() is None
    with PowerMeter("cpu") as silent:
        assert silent.wh() is None


def test_a_missing_or_failing_sensor_or_writer_leaves_the_rest(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"name": "run"})

    def broken() -> dict[str, float]:
        raise OSError("driver gone")

    class FullDisk:
        def add_scalar(self, *args: Any) -> None:
            raise OSError(28, "No space left on device")

    rows = watch(record, [broken, host_sensor(), broken], 3, events=FullDisk())
    assert all(set(row) == {"time", "step", "cpu_percent", "ram_percent", "rss_mb"} for row in rows)
    assert not threads()


def test_an_unwritable_log_does_not_stop_the_training(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    config = TrainConfig(**SETTINGS, model=str(policy_dirs["gpt2"]), output_dir=str(directory))
    train(config)
    (directory / "hardware.jsonl").unlink()
    (directory / "hardware.jsonl").mkdir()  # nothing can be appended to it
    info = json.loads((directory / "run.json").read_text()) | {"state": "stopped"}
    (directory / "run.json").write_text(json.dumps(info))
    assert train(TrainConfig(resume=str(directory))).state == "finished"


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    record = RunRecord.create(tmp_path / "run", {"name": "run"})
    assert watch(record, [host_sensor()], 1, zero=False) == []


def test_the_thread_ends_when_training_fails(
    policy_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpo.training.trainer import PreferenceTrainer

    def fails(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise ConfigError("stop here")

    monkeypatch.setattr(PreferenceTrainer, "training_step", fails)
    with pytest.raises(ConfigError, match="stop here"):
        train(TrainConfig(**SETTINGS, model=str(policy_dirs["gpt2"]), output_dir=str(tmp_path / "run")))
    assert not threads() and rows_of(tmp_path / "run")


def test_a_machine_without_a_gpu_has_only_the_host_sensor() -> None:
    import torch

    assert len(sensors("cpu")) == 1
    if not torch.cuda.is_available():
        assert len(sensors("cuda")) == 1
        return
    row: dict[str, float] = {}
    for sensor in sensors("cuda"):
        row |= sensor()
    assert row["gpu_mem_mb"] > 0 and row["gpu_watts"] > 0 and 0 <= row["gpu_util"] <= 100


def test_gpus_are_summed_and_one_missing_reading_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a driver's answers in place of a driver: two GPUs, and a power reading that only one of them has."""
    from types import SimpleNamespace

    import pynvml
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"uuid-{index}"))
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", ["GPU-uuid-0", "GPU-uuid-1"].index)
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetUtilizationRates", lambda handle: SimpleNamespace(gpu=(40, 60)[handle], memory=0)
    )
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(used=(3 * 2**30, 2**30)[handle])
    )
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTemperature", lambda handle, sensor: (50, 70)[handle])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", lambda handle: (100500, 200000)[handle])
    read = gpu_sensor()
    assert read is not None
    assert read() == {"gpu_util": 50.0, "gpu_mem_mb": 4096.0, "gpu_temp": 70.0, "gpu_watts": 300.5}

    def power(handle: int) -> int:
        if handle == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return 100500

    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", power)
    assert read() == {"gpu_util": 50.0, "gpu_mem_mb": 4096.0, "gpu_temp": 70.0}  # half the power would be a lie
    # A driver that does not answer leaves the host's sensor.
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: power(1))
    assert len(sensors("cuda")) == 1
