"""What only an NVIDIA GPU can show: run by `make bench-gpu`, skipped elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from short_runs import BASE, FAMILIES, rows_of

from dpo.generation.sampler import generate
from dpo.generation.settings import PLAIN
from dpo.policies.loading import load_policy
from dpo.policies.scoring import score
from dpo.runs import open_run
from dpo.training.config import SftConfig, TrainConfig
from dpo.training.recipes.dpo import train
from dpo.training.recipes.sft import sft

pytestmark = pytest.mark.gpu

SETTINGS: dict[str, Any] = BASE | {"device": "cuda", "num_samples": 40, "probes": 1, "kl_prompts": 2}
TEXTS = ["Do you like tea?", "What's your favorite food?"], ["I do! 🍵", "I have no preferences."]


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_is_the_default_and_starts_at_agreement(
    family: str, lora: bool, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    run = train(TrainConfig(**SETTINGS, lora=lora, model=str(policy_dirs[family]), output_dir=str(tmp_path / "run")))
    assert run.state == "finished" and run.info["policy"]["precision"] == "bf16"
    assert run.step_zero is not None and run.step_zero["passed"] and run.step_zero["max_logp_gap"] < 1e-5
    rows = rows_of(run.path)
    assert rows[1]["loss"] == pytest.approx(run.step_zero["expected"], abs=1e-4)
    assert all(sample.policy == sample.reference for sample in run.samples() if sample.step == 0)
    hardware = [json.loads(line) for line in (run.path / "hardware.jsonl").read_text().splitlines()]
    assert all(row["gpu_mem_mb"] > 0 and 0 <= row["gpu_util"] <= 100 for row in hardware)


@pytest.mark.parametrize("family", FAMILIES)
def test_fp32_trains_as_on_the_cpu(family: str, policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    runs = [
        train(TrainConfig(**SETTINGS | {"device": device, "precision": "fp32"}, model=str(policy_dirs[family]),
                          output_dir=str(tmp_path / device)))
        for device in ("cuda", "cpu")
    ]  # fmt: skip
    gpu, cpu = (rows_of(run.path) for run in runs)
    for name in ("loss", "rewards/margins", "logps/chosen"):
        # Adam blows rounding up, so the first updates only.
        for step in (0, 1, 2):
            assert gpu[step][name] == pytest.approx(cpu[step][name], rel=1e-3, abs=1e-3), (step, name)


def test_fp16_trains_gpt2(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    settings = SETTINGS | {"precision": "fp16"}
    run = train(TrainConfig(**settings, model=str(policy_dirs["gpt2"]), output_dir=str(tmp_path / "run")))
    assert run.state == "finished" and run.step_zero is not None and run.step_zero["passed"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_run_and_fine_tuning_end(family: str, policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name != "kl_prompts"}
    run = sft(SftConfig(**settings, model=str(policy_dirs[family]), output_dir=str(tmp_path / "sft")))
    assert run.state == "finished"
    directory = tmp_path / "dpo"
    train(TrainConfig(**SETTINGS, model=str(run.path), output_dir=str(directory)))
    # As a kill after the first checkpoint leaves it.
    for name in ("checkpoint-8", "policy"):
        shutil.rmtree(directory / name)
    info = json.loads((directory / "run.json").read_text()) | {"state": "stopped"}
    (directory / "run.json").write_text(json.dumps(info))
    assert train(TrainConfig(resume=str(directory))).state == "finished"
    assert [step for step, _ in open_run(directory).checkpoints] == [4, 8]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_and_scores_equal_the_cpus(family: str, policy_dirs: dict[str, Path]) -> None:
    gpu, cpu = (load_policy(str(policy_dirs[family]), device=device) for device in ("cuda", "cpu"))
    for ours, theirs in zip(score(gpu, *TEXTS), score(cpu, *TEXTS), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
    greedy = replace(PLAIN, temperature=0, max_new_tokens=16)
    texts = [[made.text for made in generate(policy, TEXTS[0], greedy)] for policy in (gpu, cpu)]
    assert texts[0] == texts[1]


def test_several_gpus_are_one_line(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    done = subprocess.run(
        [sys.executable, "-m", "dpo", "train", f"--model={policy_dirs['gpt2']}", "--dataset=sample",
         f"--output-dir={tmp_path / 'run'}"],
        capture_output=True, text=True, env=os.environ, timeout=250,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "CUDA_VISIBLE_DEVICES=0" in done.stderr
