"""Whole runs on disk: the record, killing and resuming, adapters, and mistakes told in one line."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from commands import run as run_command
from short_runs import BASE, FAMILIES, WITHOUT_KL, one_thread, rows_of

from dpo.cli.main import main
from dpo.errors import ConfigError, RunError, StepZeroError, StorageError
from dpo.families import facts_of
from dpo.generation.sampler import generate
from dpo.generation.settings import Sampling
from dpo.policies.loading import load_policy
from dpo.policies.scoring import score
from dpo.preferences.audit import Audit
from dpo.runs import open_run
from dpo.training.config import SftConfig, TrainConfig
from dpo.training.recipes.dpo import train
from dpo.training.recipes.sft import sft

__all__ = ["one_thread"]  # the fixture acts here too


@pytest.mark.parametrize("family", FAMILIES)
def test_the_record_of_a_run(family: str, policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    run = train(TrainConfig(**BASE, model=str(policy_dirs[family]), output_dir=str(directory)))
    assert run.state == "finished" and facts_of(run.family) is facts_of(family)
    rows = rows_of(directory)
    assert rows[0]["step"] == 0
    assert abs(rows[0]["loss"] - math.log(2)) < 1e-4
    assert [row["step"] for row in rows] == list(range(9))
    for row in rows:
        for name in ("chosen", "rejected", "margins", "accuracies"):
            assert f"rewards/{name}" in row
    assert rows[-1]["rewards/margins"] > 0
    assert rows[-1]["examples"] == 32 and rows[-1]["tokens"] > 0
    assert {row["step"] for row in rows if "eval_loss" in row} == {0, 4, 8}
    assert run.step_zero is not None and run.step_zero["passed"]
    assert {sample.step for sample in run.samples()} == {0, 4, 8}
    first = [sample for sample in run.samples() if sample.step == 0]
    assert len(first) == 2 and all(sample.policy == sample.reference for sample in first)
    assert list(directory.glob("events.out.tfevents.*"))
    assert [step for step, _ in run.checkpoints] == [4, 8]
    info = json.loads((directory / "run.json").read_text())
    assert info["dataset"]["split"]["method"] == "sha256(salt + prompt)" and info["dataset"]["fingerprint"]
    assert info["versions"]["trl"] and info["reference"]["kind"] == "frozen copy"
    assert not list(directory.rglob("*.bin")) and not (directory / ".saving").exists()
    # The audit of the pairs that were trained on; the card and the doctor read it.
    found = Audit.from_json((directory / "audit.json").read_text(encoding="utf-8"))
    assert found.pairs == found.measures["sampled_of"] == info["dataset"]["pairs"] == 60
    limits = found.measures["models"][str(policy_dirs[family])]
    assert (limits["prompt"]["limit"], limits["chosen"]["limit"]) == (40, 60)
    card = (directory / "policy" / "README.md").read_text(encoding="utf-8")
    assert "### What an audit found in it\n\nOf 60 pairs" in card
    assert all(finding.sentence in card for finding in found.severe()) and found.severe()
    # The saved policy is the trained one, and plain transformers loads it.
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    auto = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
    assert auto.from_pretrained(directory / "policy") and AutoTokenizer.from_pretrained(directory / "policy")
    text = ["Do you like tea?"], ["I do! 🍵"]
    assert score(load_policy(str(directory)), *text) == score(load_policy(str(directory / "checkpoint-8")), *text)
    assert score(load_policy(str(directory)), *text) != score(load_policy(str(policy_dirs[family])), *text)


@pytest.mark.parametrize("family", FAMILIES)
def test_sigkill_then_resume_equals_the_uninterrupted_run(
    family: str, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    # Long enough that the kill comes in the middle, however late this process gets its turn.
    settings = BASE | {"max_steps": 60, "save_steps": 5, "logging_steps": 2, "eval_steps": 14, "kl_prompts": 1}
    train(TrainConfig(**settings, model=str(policy_dirs[family]), output_dir=str(whole)))
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    process = Command("train", "--model", str(policy_dirs[family]), "--output-dir", str(killed), *flags)
    while process.poll() is None and not (killed / "checkpoint-5" / "trainer_state.json").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"
    assert open_run(killed).state == "interrupted"
    assert main(["train", "--resume", str(killed)]) == 0
    timeless = [[{k: v for k, v in row.items() if k != "time"} for row in rows_of(run)] for run in (whole, killed)]
    assert timeless[0] == timeless[1]
    assert open_run(killed).state == "finished"
    weights = [(run / "policy" / "model.safetensors").read_bytes() for run in (whole, killed)]
    assert weights[0] == weights[1]
    with pytest.raises(RunError, match="is finished"):
        train(TrainConfig(resume=str(killed)))


def test_interrupt_saves_and_says_how_to_go_on(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    settings = WITHOUT_KL | {"max_steps": 5000, "save_steps": 5000, "eval_steps": 5000, "probes": 0}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    process = Command("train", "--model", str(policy_dirs["gpt2"]), "--output-dir", str(directory), *flags)
    metrics = directory / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Go on with: dpo train --resume" in out
    assert "Traceback" not in err
    run = open_run(directory)
    assert run.state == "stopped" and len(run.checkpoints) == 1 and run.policy_path
    assert run.checkpoints[0][0] == run.metrics().steps[-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_trains_saves_and_loads_with_its_base(family: str, policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    settings = WITHOUT_KL | {"learning_rate": 3e-2, "lora": True, "lora_rank": 4}
    run = train(TrainConfig(**settings, model=str(policy_dirs[family]), output_dir=str(directory)))
    assert run.metrics().last("rewards/margins") > 0
    assert (directory / "policy" / "adapter_model.safetensors").is_file()
    policy, base = load_policy(str(directory)), load_policy(str(policy_dirs[family]))
    text = ["Do you like tea?"], ["I do! 🍵\n{yes}"]
    tuned, plain = score(policy, *text)[0], score(base, *text)[0]
    assert tuned != plain
    with policy.reference():
        assert score(policy, *text)[0] == pytest.approx(plain, abs=1e-5)
    assert policy.decode(policy.family.encode_completions(policy.tokenizer, text[1])[0]) == text[1][0]
    # Training it further: the reference is the adapter as it came.
    short = WITHOUT_KL | {"max_steps": 2}
    again = train(TrainConfig(**short, model=str(directory), output_dir=str(tmp_path / "again")))
    assert again.step_zero is not None and again.step_zero["passed"]
    with pytest.raises(ConfigError, match="is an adapter already"):
        train(TrainConfig(**WITHOUT_KL, model=str(directory), output_dir=str(tmp_path / "no"), lora=True))


def test_a_lossy_vocabulary_grows_also_under_lora(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration
    from vocabularies import lossy_unigram

    base = tmp_path / "lossy"
    tokenizer = lossy_unigram()
    config = T5Config(
        vocab_size=64, d_model=32, d_kv=16, d_ff=64, num_heads=2, num_layers=1, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(base)
    tokenizer.save_pretrained(base)
    for lora in (False, True):
        directory = tmp_path / f"run-{lora}"
        run = train(
            TrainConfig(**WITHOUT_KL | {"learning_rate": 3e-2}, model=str(base), output_dir=str(directory), lora=lora)
        )
        assert run.info["policy"]["added_tokens"] > 256
        policy = load_policy(str(directory))
        answer = "Sure! 😄\n{ok}"
        ids = policy.family.encode_completions(policy.tokenizer, [answer])[0]
        assert policy.decode(ids) == answer
        rewards = score(policy, ["hi"], [answer])[0]
        with policy.reference():
            assert not lora or rewards != score(policy, ["hi"], [answer])[0]
        # The new tokens themselves were learned, not only the layers around them.
        if lora:
            rows = policy.network.get_input_embeddings().token_adapter.trainable_tokens_delta["default"]
            assert rows.std(0).max() > 1e-6


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("family", FAMILIES)
def test_sft_learns_and_its_run_can_be_tuned(
    family: str, optimizer: Any, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    settings = BASE | {"learning_rate": 1e-2, "max_steps": 12, "save_steps": 12, "eval_steps": 12}
    directory = tmp_path / "sft"
    run = sft(
        SftConfig(
            **settings, model=str(policy_dirs[family]), output_dir=str(directory), learn="both", optimizer=optimizer
        )
    )
    metrics = run.metrics()
    _, losses = metrics.series("eval_chosen_loss")
    assert len(losses) == 2 and losses[1] < losses[0]
    assert (run.kind, run.state) == ("sft", "finished")
    tuned = train(TrainConfig(**WITHOUT_KL | {"max_steps": 2}, model=str(directory), output_dir=str(tmp_path / "dpo")))
    assert tuned.step_zero is not None and tuned.step_zero["passed"]


def test_muon_resumes_like_the_uninterrupted_run(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    settings = BASE | {"max_steps": 6, "save_steps": 3, "probes": 0, "optimizer": "muon"}
    whole = tmp_path / "whole"
    sft(SftConfig(**settings, model=str(policy_dirs["gpt2"]), output_dir=str(whole)))
    half = tmp_path / "half"
    shutil.copytree(whole, half)
    shutil.rmtree(half / "checkpoint-6")
    info = json.loads((half / "run.json").read_text())
    info |= {"state": "stopped"}
    (half / "run.json").write_text(json.dumps(info))
    sft(SftConfig(resume=str(half)))
    assert rows_of(half)[-1]["loss"] == rows_of(whole)[-1]["loss"]


def test_directories_of_others_are_left_alone(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    model = str(policy_dirs["gpt2"])
    directory = tmp_path / "run"
    train(TrainConfig(**WITHOUT_KL | {"max_steps": 1, "probes": 0}, model=model, output_dir=str(directory)))
    before = (directory / "metrics.jsonl").read_bytes()
    with pytest.raises(RunError, match=r"belongs to a run with another config \(max_steps, beta differ\)"):
        train(TrainConfig(**WITHOUT_KL | {"probes": 0}, model=model, output_dir=str(directory), beta=0.5))
    with pytest.raises(RunError, match="holds this run already .finished."):
        train(TrainConfig(**WITHOUT_KL | {"max_steps": 1, "probes": 0}, model=model, output_dir=str(directory)))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "keep.txt").write_text("mine")
    with pytest.raises(RunError, match="exists and is not a run"):
        train(TrainConfig(**WITHOUT_KL, model=model, output_dir=str(tmp_path / "notes")))
    assert (directory / "metrics.jsonl").read_bytes() == before
    assert (tmp_path / "notes" / "keep.txt").read_text() == "mine"


def test_resume_refuses_other_settings(policy_dirs: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    directory = tmp_path / "run"
    train(TrainConfig(**WITHOUT_KL | {"max_steps": 1}, model=str(policy_dirs["gpt2"]), output_dir=str(directory)))
    capsys.readouterr()
    assert main(["train", "--resume", str(directory), "--beta", "0.4"]) == 2
    assert "--beta was 0.1, not 0.4" in capsys.readouterr().err
    assert main(["sft", "--resume", str(directory)]) == 2
    assert "was made by dpo train" in capsys.readouterr().err


def test_a_failed_step_zero_check_stops_the_run(
    policy_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A real fault: dropout left on, as T5's attention has it under TRL's own switch.
    monkeypatch.setattr("dpo.policies.loading.disable_dropout", lambda model: None)
    monkeypatch.setattr("dpo.training.trainer.disable_dropout", lambda model: None)
    settings = WITHOUT_KL | {"model": str(policy_dirs["t5"])}
    with pytest.raises(StepZeroError, match=r"Step-0 check failed: the loss is .* --allow-step-zero"):
        train(TrainConfig(**settings, output_dir=str(tmp_path / "run")))
    run = open_run(tmp_path / "run")
    assert run.state == "failed" and run.step_zero is not None and not run.step_zero["passed"]
    allowed = train(TrainConfig(**settings | {"max_steps": 1}, output_dir=str(tmp_path / "go"), allow_step_zero=True))
    assert allowed.state == "finished" and allowed.step_zero is not None and not allowed.step_zero["passed"]


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from dpo.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
raise SystemExit(main(sys.argv[2:]))
"""


def test_a_disk_that_fills_up_while_saving_loses_nothing(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    settings = WITHOUT_KL | {"probes": 0, "save_steps": 4}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    arguments = ["train", "--model", str(policy_dirs["gpt2"]), "--output-dir", str(directory), *flags]
    # Files of at most 100 kB: the record fits, the weights (200 kB) do not.
    (tmp_path / "full.py").write_text(FULL, encoding="utf-8")
    done = run_command(str(tmp_path / "full.py"), "100000", *arguments)
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("dpo: checkpoint-4 could not be saved") and "--resume" in line
    assert "Traceback" not in done.stderr
    run = open_run(directory)
    assert run.state == "failed" and run.checkpoints == [] and run.metrics().steps[-1] >= 3
    assert not list(directory.glob("checkpoint-*"))
    assert main(["train", "--resume", str(directory)]) == 0
    assert open_run(directory).state == "finished"


def test_staged_keeps_what_was_there(tmp_path: Path) -> None:
    from dpo.training.checkpoints import staged

    final = tmp_path / "policy"
    with staged(final) as directory:
        (directory / "a").write_text("old")
    with pytest.raises(StorageError, match="could not be saved"), staged(final) as directory:
        (directory / "a").write_text("new")
        raise OSError(28, "No space left on device")
    assert (final / "a").read_text() == "old"
    assert not (tmp_path / ".saving" / "policy").exists()


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"max_prompt_length": 100, "max_completion_length": 100}, ConfigError, "has a context of 128: lower one"),
        ({"batch_size": 500}, ConfigError, "--batch-size 500 is more than the"),
        ({"precision": "fp16"}, ConfigError, "needs a CUDA device"),
        ({"device": "cuda"}, ConfigError, "PyTorch sees no CUDA device"),
    ],
)
def test_settings_that_do_not_fit(
    settings: dict[str, Any], error: type[Exception], says: str, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    import torch

    if torch.cuda.is_available() and ("CUDA" in says):
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(error, match=says):
        train(TrainConfig(**WITHOUT_KL | settings, model=str(policy_dirs["gpt2"]), output_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


def test_generate_and_compare_from_the_command_line(policy_dirs: dict[str, Path], capsys: Any) -> None:
    names = [str(policy_dirs["t5"]), str(policy_dirs["gpt2"])]
    assert main(["generate", "--policy", names[0], "--prompt", "hi", "--max-new-tokens", "5"]) == 0
    out, err = capsys.readouterr()
    expected = generate(load_policy(names[0]), ["hi"], Sampling(max_new_tokens=5))[0].text
    assert out == expected + "\n" and "tokens" in err
    assert main(["compare", "--policies", *names, "/nowhere", "--prompt", "hi", "--max-new-tokens", "5"]) == 2
    out, err = capsys.readouterr()
    assert out.count("──") == 3 and "dpo: No policy '/nowhere'" in err
    assert main(["generate", "--policy", names[0], "--prompt", "  "]) == 2
    assert "dpo: The prompt is blank" in capsys.readouterr().err
    assert main(["generate", "--policy", names[1], "--prompt", "word " * 200]) == 2
    assert "takes at most" in capsys.readouterr().err
    assert main(["generate", "--policy", "someone/unknown", "--prompt", "hi"]) == 2
    assert "the hub cannot be reached" in capsys.readouterr().err


def test_weights_without_safetensors_are_refused(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    import torch

    from dpo.errors import PolicyError

    copy = tmp_path / "pickled"
    shutil.copytree(policy_dirs["gpt2"], copy)
    os.remove(copy / "model.safetensors")
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(PolicyError, match="cannot be loaded"):
        load_policy(str(copy))
