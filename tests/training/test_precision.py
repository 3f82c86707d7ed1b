"""Training in 16 bits, as every GPU run does, tried on the CPU; and what a device cannot do, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import BASE, one_thread, rows_of

from dpo.cli.main import main
from dpo.errors import ConfigError
from dpo.families import facts_of
from dpo.pretraining.config import PretrainConfig
from dpo.pretraining.recipe import pretrain
from dpo.runs import open_run
from dpo.training import precision
from dpo.training.config import SftConfig, TrainConfig
from dpo.training.precision import check_device, resolved_precision
from dpo.training.recipes.dpo import train
from dpo.training.recipes.sft import sft

__all__ = ["one_thread"]  # the fixture acts here too

SHORT: dict[str, Any] = BASE | {"num_samples": 40, "max_steps": 2, "eval_steps": 2, "save_steps": 2, "probes": 1}


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_bf16_starts_where_policy_and_reference_agree(
    family: str, lora: bool, cached: bool, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    settings = SHORT | {"precision": "bf16", "lora": lora, "cache_reference": cached, "kl_prompts": 2}
    run = train(TrainConfig(**settings, model=str(policy_dirs[family]), output_dir=str(tmp_path / "run")))
    assert run.state == "finished" and run.info["policy"]["precision"] == "bf16"
    check = run.step_zero
    assert check is not None and check["passed"] and check["max_logp_gap"] < 1e-6
    assert check["loss"] == pytest.approx(check["expected"], abs=1e-7)
    rows = rows_of(run.path)
    # The first update and the held-out pairs see the same agreement: both start from ln 2.
    assert rows[1]["loss"] == pytest.approx(check["expected"], abs=1e-6)
    assert rows[0]["eval_loss"] == pytest.approx(check["expected"], abs=1e-6)
    assert rows[0]["eval_kl"] == pytest.approx(0, abs=1e-6)
    # One policy, one random seed: at step 0 both answers of a probe are the same.
    assert all(sample.policy == sample.reference for sample in run.samples() if sample.step == 0)


def test_bf16_at_the_command_line(
    policy_dirs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--device cpu` too: on a machine with no GPU it trains on the CPU."""
    settings = SHORT | {"precision": "bf16"}
    if torch.cuda.is_available():
        settings |= {"device": "cpu"}
    else:
        del settings["device"]
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    for command, family in (("train", "gpt2"), ("sft", "t5")):
        given = [flag for flag in flags if command == "train" or not flag.startswith("--kl")]
        directory = tmp_path / command
        assert main([command, f"--model={policy_dirs[family]}", f"--output-dir={directory}", *given]) == 0
        assert open_run(directory).info["policy"]["precision"] == "bf16"
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_what_a_device_cannot_do_is_one_line(
    family: str, policy_dirs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = "--precision fp16 needs a CUDA device; use bf16 or fp32"
    settings = SHORT | {"model": str(policy_dirs[family]), "output_dir": str(tmp_path / "run")}
    with pytest.raises(ConfigError, match=refused):
        train(TrainConfig(**settings | {"precision": "fp16"}))
    with pytest.raises(ConfigError, match=refused):
        sft(SftConfig(**settings | {"precision": "fp16"}))
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    assert main(["train", *flags, "--precision=fp16"]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1 and refused in printed[0]
    assert not (tmp_path / "run").exists()


def test_several_gpus_in_one_process_are_refused(
    policy_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What PyTorch would say on a machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    settings = SHORT | {"model": str(policy_dirs["gpt2"]), "output_dir": str(tmp_path / "run"), "device": "auto"}
    text = PretrainConfig(text=[__file__], output_dir=str(tmp_path / "run"))
    for start in (
        lambda: train(TrainConfig(**settings)),
        lambda: sft(SftConfig(**settings)),
        lambda: pretrain(text),
    ):
        with pytest.raises(ConfigError, match="2 GPUs are visible to one process: choose one with CUDA_VISIBLE"):
            start()
    assert not (tmp_path / "run").exists()
    check_device(TrainConfig(**settings | {"device": "cpu"}))
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun starts them: a process for each
    check_device(TrainConfig(**settings))


@pytest.mark.parametrize(
    ("gpu", "native", "asked", "family", "expected"),
    [
        ("cuda", True, "auto", "t5", "bf16"),
        ("cuda", True, "fp16", "gpt2", "fp16"),
        ("cuda", True, "fp16", "t5", "T5's activations overflow in fp16; use bf16 or fp32"),
        # Turing and older imitate bf16 in software.
        ("cuda", False, "auto", "gpt2", "fp32"),
        ("cuda", False, "bf16", "gpt2", "this GPU has no bf16; use fp32, or fp16 for GPT-2"),
        ("cuda", False, "bf16", "t5", "this GPU has no bf16; use fp32, or fp16 for GPT-2"),
        ("mps", True, "auto", "gpt2", "fp32"),
        ("mps", False, "bf16", "gpt2", "this device has no bf16; use fp32"),
        ("mps", True, "fp16", "gpt2", "needs a CUDA device"),
    ],
)
def test_the_precision_fits_the_device(
    gpu: str, native: bool, asked: Any, family: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PyTorch's answers on other machines in place of its answers here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu == "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: gpu == "mps")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    monkeypatch.setattr(precision, "is_torch_bf16_gpu_available", lambda: native)
    config, facts = TrainConfig(precision=asked), facts_of(family)
    assert facts is not None
    if " " in expected:
        with pytest.raises(ConfigError, match=expected):
            resolved_precision(config, facts)
    else:
        assert resolved_precision(config, facts) == expected
