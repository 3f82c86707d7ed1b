"""What a training costs: utilisation, memory, temperature and power, sampled beside it.

A thread of its own reads the sensors every few seconds and appends to `hardware.jsonl`; TensorBoard
gets the same scalars under `hardware/`.  Nothing here may harm the training: a sensor that is missing
or fails leaves its keys out of the row, a full disk loses the row, and no random number is drawn.

Keys of a row (absent where unknown): `time` (seconds since the run began), `step`, `cpu_percent` (of
all cores), `ram_percent` (of the machine), `rss_mb` (of this process, MiB), `gpu_util` (percent),
`gpu_mem_mb` (MiB in use on the GPU, by anyone), `gpu_temp` (degrees Celsius), `gpu_watts`, and `wh`:
watt-hours of the run's GPUs since it began, interruptions left out.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import psutil
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dpo.errors import StorageError
from dpo.runs import RunRecord
from dpo.runs.record import HARDWARE, read_lines

INTERVAL = 2.0
Sensor = Callable[[], dict[str, float]]


def host_sensor() -> Sensor:
    """CPU and memory through psutil."""
    process = psutil.Process()
    psutil.cpu_percent()  # the first call only sets the mark that the next one measures from

    def read() -> dict[str, float]:
        return {
            "cpu_percent": psutil.cpu_percent(),
            "ram_percent": psutil.virtual_memory().percent,
            "rss_mb": process.memory_info().rss / 2**20,
        }

    return read


def gpu_sensor() -> Sensor | None:
    """The NVIDIA GPUs that PyTorch uses, through NVML; None where there are none.

    With several, memory and power are sums, utilisation is the mean, and temperature the highest.
    """
    if not torch.cuda.is_available():
        return None
    import pynvml

    pynvml.nvmlInit()
    # By identity: CUDA_VISIBLE_DEVICES renumbers PyTorch's devices, not NVML's.
    names = [f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(torch.cuda.device_count())]
    handles = [pynvml.nvmlDeviceGetHandleByUUID(name) for name in names]

    def every(read: Callable[[Any], float]) -> list[float]:
        """One value for each GPU, or none at all if any of them lacks the sensor."""
        try:
            return [float(read(handle)) for handle in handles]
        except pynvml.NVMLError:
            return []

    def read() -> dict[str, float]:
        row: dict[str, float] = {}
        if load := every(lambda handle: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu):
            row["gpu_util"] = sum(load) / len(load)
        if memory := every(lambda handle: pynvml.nvmlDeviceGetMemoryInfo(handle).used):
            row["gpu_mem_mb"] = sum(memory) / 2**20
        if heat := every(lambda handle: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)):
            row["gpu_temp"] = max(heat)
        if power := every(pynvml.nvmlDeviceGetPowerUsage):  # milliwatts
            row["gpu_watts"] = sum(power) / 1000
        return row

    return read


def sensors(device: str) -> list[Sensor]:
    """Every sensor that works here; the GPU's only for a training that runs on it."""
    found: list[Sensor] = []
    for make in (host_sensor, *((gpu_sensor,) if device == "cuda" else ())):
        # No driver, no permission, a library that does not fit the driver: each has its own exception.
        with contextlib.suppress(Exception):
            sensor = make()
            if sensor is not None:
                found.append(sensor)
    return found


class HardwareLog(TrainerCallback):
    """Samples the hardware from the first update to the last, in the first process of a run.

    Args:
        record: gets the rows, and `energy_wh` in `run.json` where the power is known.
        events: the run's TensorBoard writer, or anything with its `add_scalar`; None for none.
        began: `time.monotonic()` at the run's second 0, as `metrics.jsonl` counts; default: the first update.
        interval: seconds between two samples.
        readers: sensors to read instead of this machine's.

    A context manager as well: leaving the block stops the sampling also when training fails.
    """

    def __init__(
        self,
        record: RunRecord,
        events: Any = None,
        began: float | None = None,
        interval: float = INTERVAL,
        readers: Sequence[Sensor] | None = None,
    ) -> None:
        self.record, self.events, self.interval, self.readers = record, events, interval, readers
        self.energy: float | None = None
        self._power: tuple[float, float] | None = None  # seconds and watts of the last sample
        self._state: TrainerState | None = None
        self._began = began
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> HardwareLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero or self._thread is not None:
            return
        if self.readers is None:
            self.readers = sensors(args.device.type)
        self._state = state
        self._began = self._continue(self._began if self._began is not None else time.monotonic())
        self._thread = threading.Thread(target=self._sample, name="hardware-log", daemon=True)
        self._thread.start()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._note_energy()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Before TensorBoard's callback closes the writer: a later scalar would open a second file.
        self.stop()

    def stop(self) -> None:
        """Take a last sample and end the thread; nothing happens if there is none."""
        if self._thread is None:
            return
        self._done.set()
        self._thread.join(timeout=10)  # a sensor that hangs must not hold the run
        self._thread = None
        self._note_energy()

    def _continue(self, began: float) -> float:
        """After an interruption: the energy so far, and a second 0 before every row that is on disk."""
        path = self.record.path / HARDWARE
        if not path.is_file():
            return began
        with contextlib.suppress(OSError):
            torn = path.read_bytes().rpartition(b"\n")[2]
            os.truncate(path, path.stat().st_size - len(torn))  # what a kill left of its last line
            rows = read_lines(path)
            self.energy = next((float(row["wh"]) for row in reversed(rows) if "wh" in row), None)
            # Rows never go back in time, even where the run goes on from before the last of them.
            seconds = float(rows[-1].get("time") or 0.0) if rows else 0.0
            began = min(began, time.monotonic() - seconds)
        return began

    def _sample(self) -> None:
        self._take()
        while not self._done.wait(self.interval):
            self._take()
        self._take()

    def _take(self) -> None:
        row = self._read()
        with contextlib.suppress(StorageError):
            self.record.add_hardware(row)
        if self.events is not None:
            with contextlib.suppress(Exception):  # a full disk, or a writer that is closed
                for name, value in row.items():
                    if name not in ("time", "step"):
                        self.events.add_scalar(f"hardware/{name}", value, row["step"])

    def _read(self) -> dict[str, Any]:
        assert self._state is not None and self._began is not None and self.readers is not None
        seconds = time.monotonic() - self._began
        row: dict[str, Any] = {"time": round(seconds, 3), "step": self._state.global_step}
        for reader in self.readers:
            with contextlib.suppress(Exception):
                row |= {name: round(value, 3) for name, value in reader().items()}
        watts = row.get("gpu_watts")
        if watts is not None:
            if self._power is not None:
                then, before = self._power
                # Trapezoid: the mean of both readings over the time between them.
                self.energy = (self.energy or 0.0) + (before + watts) / 2 * (row["time"] - then) / 3600
            self._power = (row["time"], watts)
            row["wh"] = round(self.energy or 0.0, 6)
        return row

    def _note_energy(self) -> None:
        if self.energy is not None:
            with contextlib.suppress(StorageError):
                self.record.update(energy_wh=round(self.energy, 6))
