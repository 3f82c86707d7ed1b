"""W&B's offline runs: the log's frames without wandb, whole runs with it."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import pytest

from dpo.errors import RunError
from dpo.runs import open_run
from dpo.runs.import_export import import_runs
from dpo.runs.wandb_files import _records, wandb_files


def log_of(records: list[bytes]) -> bytes:
    """A LevelDB log with W&B's head, by the format's description."""
    made = bytearray(struct.pack("<4sHB", b":W&B", 0xBEE1, 0))
    for record in records:
        begun, rest = False, record
        while True:
            left = (1 << 15) - len(made) % (1 << 15)
            if left < 7:
                made += bytes(left)
                left = 1 << 15
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (3 if begun else 2) if rest else (4 if begun else 1)
            made += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            begun = True
            if not rest:
                break
    return bytes(made)


def test_records_of_any_length_are_joined_and_damage_ends_them(tmp_path: Path) -> None:
    records = [bytes([n]) * size for n, size in enumerate((5, 40_000, 0, 32_740, 3, 100_000, 12))]
    path = tmp_path / "run-a.wandb"
    content = log_of(records)
    path.write_bytes(content)
    assert list(_records(path)) == records
    path.write_bytes(content[:-1])  # torn off while it was written
    assert list(_records(path)) == records[:-1]
    damaged = bytearray(content)
    damaged[20_000] ^= 1
    path.write_bytes(damaged)
    assert list(_records(path)) == records[:1]
    path.write_bytes(b"something else")
    with pytest.raises(RunError, match="is not a file of W&B"):
        list(_records(path))


def test_without_wandb_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    path = tmp_path / "offline-run-20260101_101010-abc" / "run-abc.wandb"
    path.parent.mkdir()
    path.write_bytes(log_of([b"x"]))
    with pytest.raises(RunError, match=r"pip install 'dpo-workbench\[wandb\]'.*export .* as CSV"):
        import_runs(tmp_path, tmp_path / "runs")


def test_a_real_offline_run_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(project="p", name="gpt2-trial", mode="offline", dir=tmp_path, config={"beta": 0.1, "odd": "yes"})
    for place in range(1, 401):
        step = 10 * place
        measures = {"train/loss": 0.69 - 1e-3 * place, "train/rewards/chosen": 0.1 * place, "train/global_step": step}
        run.log(measures | ({"eval/loss": float("nan") if place == 200 else 0.6} if place % 100 == 0 else {}))
    run.finish()
    assert len(wandb_files(tmp_path)) == 1
    (directory,) = import_runs(tmp_path, tmp_path / "runs")
    made = open_run(directory)
    metrics = made.metrics()
    assert (made.name, made.family, made.config["beta"]) == ("gpt2-trial", "causal", 0.1)
    assert metrics.steps == list(range(10, 4001, 10))
    assert metrics.last("loss") == pytest.approx(0.29) and metrics.last("rewards/chosen") == pytest.approx(40.0)
    assert metrics.not_finite["eval_loss"] == [2000]
    assert metrics.series("eval_loss")[0] == [1000, 3000, 4000]
    assert metrics.series("time")[1] == sorted(metrics.series("time")[1])
