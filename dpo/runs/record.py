"""Writing a run: nothing half written, nothing lost by a kill or a full disk.

`run.json` is replaced as a whole (temporary file, fsync, rename).  `metrics.jsonl` and
`samples.jsonl` only grow, one complete line at a time; a line that a kill tore off is cut when the
run is resumed and ignored by the reader until then.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpo.errors import RunError, StorageError
from dpo.files import write_atomically
from dpo.runs.files import MOST_LOG_BYTES, parse_lines, read_file, read_object, reason

FORMAT = 1
RUN, METRICS, SAMPLES, HARDWARE = "run.json", "metrics.jsonl", "samples.jsonl", "hardware.jsonl"
AUDIT = "audit.json"
EVALUATIONS, EVALUATION = "evaluations", "eval.json"
"""A run's directory of evaluations, and the result in each of them."""
NOTE = "note.json"  # not in run.json: a training under way writes that from its own memory
LOCK = ".lock"  # held by the process that trains into the directory


class RunRecord:
    """The writer of one run's record.  `info` is what `run.json` holds."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path, self.info = path, info

    @classmethod
    def create(cls, path: str | Path, info: dict[str, Any]) -> RunRecord:
        """Begin a run in a new or empty directory.

        Raises:
            RunError: a run is there already.
            StorageError: the directory cannot be written.
        """
        path = Path(path)
        if (path / RUN).exists():
            raise RunError(f"{path} holds a run already: name another directory")
        now = _now()
        record = cls(path, {"format": FORMAT, "created": now, "updated": now} | info)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{path} cannot be created ({error.strerror}): name another directory") from error
        record.update()
        return record

    @classmethod
    def resume(cls, path: str | Path, step: int, rows_from: Path | None = None) -> RunRecord:
        """Go on with a run from `step`: later rows are dropped, because they will be written again.

        Args:
            rows_from: a folder with the rows as they were at that step; without it those in place are filtered.

        Raises:
            RunError: no run is there.
        """
        path = Path(path)
        info = read_json(path / RUN)
        record = cls(path, info)
        for name in (METRICS, SAMPLES):
            if rows_from is not None and (rows_from / name).exists():
                record._replace(path / name, (rows_from / name).read_text(encoding="utf-8"))
            elif rows_from is not None:
                (path / name).unlink(missing_ok=True)
            elif (path / name).exists():
                rows = (row for row in read_lines(path / name) if row.get("step", 0) <= step)
                record._replace(path / name, "".join(_line(row) for row in rows))
        record.update(state="running", reason=None)
        return record

    def log(self, row: dict[str, Any]) -> None:
        """Append one row of measures; values that are not finite become null."""
        self._append(METRICS, [row])

    def log_all(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append many rows of measures at once."""
        self._append(METRICS, rows)

    def add_samples(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append answers to probe prompts."""
        self._append(SAMPLES, rows)

    def copy_rows(self, folder: Path) -> None:
        """Write the rows of measures and answers so far into `folder` too, for `resume`.

        Raises:
            OSError: they cannot be read or written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, SAMPLES):
            if (self.path / name).exists():
                shutil.copyfile(self.path / name, folder / name)

    def add_hardware(self, row: dict[str, Any]) -> None:
        """Append one row of sensor readings (see `dpo.training.hardware`)."""
        self._append(HARDWARE, [row])

    def update(self, **fields: Any) -> None:
        """Set fields of `run.json`.

        Raises:
            StorageError: it cannot be written; the former content is kept.
        """
        self.info = self.info | fields | {"updated": _now()}
        self._replace(self.path / RUN, json.dumps(_finite(self.info), indent=1, ensure_ascii=False) + "\n")

    def _append(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        text = "".join(_line(row) for row in rows)
        path = self.path / name
        try:
            size = path.stat().st_size if path.exists() else 0
            try:
                with path.open("a", encoding="utf-8") as file:
                    file.write(text)
            except OSError:
                os.truncate(path, size)  # no half line stays behind
                raise
        except OSError as error:
            raise self._storage_error(path, error) from error

    def _replace(self, path: Path, text: str) -> None:
        try:
            write_atomically(path, text)
        except OSError as error:
            raise self._storage_error(path, error) from error

    @staticmethod
    def _storage_error(path: Path, error: OSError) -> StorageError:
        return StorageError(
            f"{path} cannot be written ({error.strerror}): make room or choose another disk; "
            "what was saved before is kept"
        )


class SilentRecord(RunRecord):
    """Takes everything and writes nothing: for all but one of the processes that train together."""

    def log(self, row: dict[str, Any]) -> None:
        """Nothing is written."""

    def add_samples(self, rows: Sequence[dict[str, Any]]) -> None:
        """Nothing is written."""

    def update(self, **fields: Any) -> None:
        """Only `info` changes, nothing is written."""
        self.info = self.info | fields


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        RunError: missing, unreadable or damaged.
    """
    try:
        return read_object(path)
    except FileNotFoundError as error:
        raise RunError(f"{path.parent.absolute()} holds no run (no {path.name}): check the directory") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({reason(error)}): restore it or remove the run") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The complete JSON objects of a `.jsonl` file; a torn or damaged line is left out.

    Raises:
        OSError: missing, unreadable, too large, or no plain file.
    """
    content = read_file(path, MOST_LOG_BYTES)
    return parse_lines(content[: content.rfind(b"\n") + 1])[0]


def _line(row: dict[str, Any]) -> str:
    return json.dumps(_finite(row), ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
