"""What this machine's sensors say: CPU, memory and GPUs, and the energy under a curve of power (no torch until asked).

A sensor that is missing or fails leaves its keys out: no figure is better than a wrong one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import psutil

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
    import torch

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
    """Every sensor that works here; the GPU's only for what runs on it."""
    found: list[Sensor] = []
    for make in (host_sensor, *((gpu_sensor,) if device == "cuda" else ())):
        # No driver, no permission, a library that does not fit the driver: each has its own exception.
        with contextlib.suppress(Exception):
            sensor = make()
            if sensor is not None:
                found.append(sensor)
    return found


class Energy:
    """Watt-hours under a curve of power; `wh` is None until a power is known."""

    def __init__(self, wh: float | None = None) -> None:
        self.wh = wh
        self._last: tuple[float, float] | None = None

    def add(self, seconds: float, watts: float) -> float:
        """Go on to a reading of the power `seconds` after the start; returns the watt-hours so far."""
        wh = self.wh or 0.0
        if self._last is not None:
            then, before = self._last
            # Trapezoid: the mean of both readings over the time between them.
            wh += (before + watts) / 2 * (seconds - then) / 3600
        self._last, self.wh = (seconds, watts), wh
        return wh


class PowerMeter:
    """Adds up, within its block, the energy that the GPUs of PyTorch draw; a thread reads their power meanwhile.

    Args:
        device: "cuda", or another kind of device, of which no power is known.
        interval: seconds between two readings.
        readers: sensors to read instead of this machine's.
    """

    def __init__(self, device: str, interval: float = 0.5, readers: list[Sensor] | None = None) -> None:
        self._readers = sensors(device) if readers is None else readers
        self._interval, self._energy = interval, Energy()
        self._lock, self._done = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PowerMeter:
        if self.wh() is not None:
            self._thread = threading.Thread(target=self._sample, name="power-meter", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=10)  # a sensor that hangs must not hold the work

    def wh(self) -> float | None:
        """Watt-hours since the block began; None where the power cannot be read now."""
        row: dict[str, float] = {}
        with self._lock:
            for reader in self._readers:
                with contextlib.suppress(Exception):
                    row |= reader()
            watts = row.get("gpu_watts")
            return None if watts is None else self._energy.add(time.monotonic(), watts)

    def _sample(self) -> None:
        while not self._done.wait(self._interval):
            self.wh()
