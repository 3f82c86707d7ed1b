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
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dpo.errors import StorageError
from dpo.runs import RunRecord
from dpo.runs.record import HARDWARE, read_lines
from dpo.sensors import Energy, Sensor, sensors

INTERVAL = 2.0


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
        self._energy = Energy()
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
            self._energy = Energy(next((float(row["wh"]) for row in reversed(rows) if "wh" in row), None))
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
            row["wh"] = round(self._energy.add(row["time"], watts), 6)
        return row

    def _note_energy(self) -> None:
        if self._energy.wh is not None:
            with contextlib.suppress(StorageError):
                self.record.update(energy_wh=round(self._energy.wh, 6))
