"""`make bench-gpu`: what it would do, the tables that it writes, and one line where there is no GPU."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the module's names
    spec.loader.exec_module(module)
    return module


def test_the_dry_run_lists_every_part_without_a_gpu(gpu: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    listed = {}
    for part in gpu.PARTS:
        gpu.main([part, "--dry-run"])
        listed[part] = capsys.readouterr().out
    assert "pytest -m gpu" in listed["tests"]
    for words in ("gpt2-124m --precision bf16", "t5-60m --precision fp32", "--one stock", "--one ours"):
        assert words in listed["steps"]
    assert "--model demo/gpt2" in listed["training"] and "--model demo/t5" in listed["training"]
    assert "docs/benchmarks.md" in listed["write"]
    every = [command for part in gpu.PARTS for command in gpu.commands(part)]
    assert sum(command.minutes for command in every) <= 30
    assert len({command.result for command in every if command.result}) == 16  # none overwrites another


def test_the_target_is_one_readable_command_a_line() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make here")
    done = subprocess.run([make, "--dry-run", "bench-gpu", "ARGS=--x"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "benchmarks/gpu.py" in line]
    parts = ("tests", "steps", "training", "write")
    assert [line.split("gpu.py ")[1] for line in lines] == [f"{part} --x" for part in parts]


def test_without_a_gpu_it_is_one_line(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for part in ("tests", "steps", "training"):
        with pytest.raises(SystemExit, match="PyTorch sees no NVIDIA GPU here.*ARGS=--dry-run"):
            gpu.main([part])


def test_the_tables_are_written_between_the_markers(gpu: ModuleType) -> None:
    common = {
        "precision": "bf16", "batch": 16, "operations": 2e12, "product_rate": 5e14, "machine": "a card",
        "device": "NVIDIA H100 80GB HBM3", "shape": "gpt2-124m", "mib": 2048.4,
    }  # fmt: skip
    steps = [
        common | {"who": "stock", "method": "full", "seconds": 0.04},
        common | {"who": "ours", "method": "full", "seconds": 0.02},
        common | {"who": "stock", "method": "lora", "seconds": 0.03},
        common | {"who": "ours", "method": "lora-cached", "seconds": 0.01, "device": "Some Card", "precision": "bf16"},
    ]
    run = {"model": "demo/t5", "precision": "bf16", "step": 60, "seconds": 31.4, "energy_wh": None, "n": 25, "gap": 0.0,
           "accuracy": 0.8, "margin": 0.5312}  # fmt: skip
    text = gpu.tables(steps, [run], "2026-01-01, a card")
    told = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in told]
    assert rows[2] == [
        "gpt2-124m (batch 16)", "bf16", "full, reference asked", "ours", "20.0", "800", "10%", "20%", "2048", "2.00"
    ]  # fmt: skip
    assert rows[1][3] == "TRL's DPOTrainer" and rows[1][-1] == ""
    assert rows[4][6] == "-" and rows[4][-1] == "3.00"  # no published peak is known of that card
    assert rows[-1] == ["demo/t5, bf16", "60", "31", "-", "0.0e+00", "0.800 (n 25)", "0.531"]
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    once = gpu.put(page, text)
    assert text in once and gpu.put(once, text) == once
    head, tail = page.split(gpu.BEGIN)[0], page.split(gpu.END)[1]
    assert once.startswith(head) and once.endswith(tail)
    with pytest.raises(SystemExit, match="lacks its markers"):
        gpu.put("# Benchmarks\n", text)
