"""`dpo pretrain`: both families from text to a policy that the other commands take."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import dpo
from dpo.cli import main
from dpo.families import facts_of
from dpo.policies.loading import load_policy
from dpo.pretraining.measure import bits_per_byte
from dpo.training.stopping import StopOnSignal

WORDS = ("the", "cat", "sat", "mat", "saw", "dog", "run", "over", "hills", "while", "birds", "rain", "in", "May")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    said = [(a, b, c) for a in WORDS for b in WORDS[:6] for c in WORDS[6:10]]
    talks = [[f"Where is the {a}?", f"The {a} is {b} the {c}.", f"Is it? {b} the {c}!"] for a, b, c in said]
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps({"turns": turns}) + "\n" for turns in talks))
    return path


def flags(file: Path, family: str, directory: Path, **more: Any) -> list[str]:
    settings = {
        "text": file, "family": family, "width": 64, "layers": 1, "vocabulary": 400, "batch-tokens": 512,
        "row-length": 64, "prompt-length": 48, "tokens": 512 * 24, "held-out": 0.1, "eval-documents": 6,
        "eval-steps": 12, "save-steps": 8, "logging-steps": 4, "probes": 1, "device": "cpu", "output-dir": directory,
    } | more  # fmt: skip
    return ["pretrain", *(str(part) for name, value in settings.items() for part in (f"--{name}", value))]


def measures(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "time"} for line in lines]


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_text_becomes_a_policy_that_learns_and_resumes(
    family: str, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(flags(text, family, whole)) == 0
    assert "Finished whole at step 24: held out" in capsys.readouterr().out
    run = dpo.open_run(whole)
    assert (run.kind, run.state, facts_of(run.family)) == ("pretrain", "finished", facts_of(family))
    bits = [row["eval_bits_per_byte"] for row in measures(whole) if "eval_bits_per_byte" in row]
    assert len(bits) == 3 and bits[-1] < bits[0] - 0.5
    policy = load_policy(str(whole))
    assert dpo.generate(policy, ["Where is the cat?"], dpo.Sampling(max_new_tokens=4))[0].tokens

    # Ctrl-C at step 10, then on: the same rows, the same weights.
    stopped = StopOnSignal.on_step_end

    def interrupt(self: StopOnSignal, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 10:
            os.kill(os.getpid(), signal.SIGINT)
        stopped(self, args, state, control, **kwargs)

    monkeypatch.setattr(StopOnSignal, "on_step_end", interrupt)
    assert main(flags(text, family, parts, tokenizer=whole / "policy")) == 0
    assert "Go on with: dpo pretrain --resume" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(["pretrain", "--resume", str(parts)]) == 0
    assert measures(parts) == measures(whole)
    again = load_policy(str(parts))
    for (name, one), two in zip(policy.network.state_dict().items(), again.network.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


def test_bits_per_byte_of_random_weights_are_those_of_a_guess(policy_dirs: dict[str, Path]) -> None:
    policy = load_policy(str(policy_dirs["gpt2"]))
    with torch.no_grad():
        policy.network.transformer.wte.weight.zero_()  # every token alike
    bits, nats = bits_per_byte(policy, [("Do you?", "I love pizza! 🍕")])
    tokens = len(policy.tokenizer("I love pizza! 🍕", add_special_tokens=False)["input_ids"])
    assert nats == pytest.approx(math.log(len(policy.tokenizer)), rel=1e-5)
    assert bits == pytest.approx(math.log2(len(policy.tokenizer)) * tokens / len("I love pizza! 🍕".encode()), rel=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "nowhere.txt"}, "--text nowhere.txt cannot be read"),
        ({"width": 100}, "--width is 100: it must be a multiple of 64"),
        ({"row-length": 600}, "--row-length 600 is over --batch-tokens 512"),
        ({"decay": 1.0}, "--warmup 0.03 and --decay 1 are over 1 together"),
        ({"tokenizer": "nowhere"}, "--tokenizer nowhere holds no tokenizer"),
        ({"precision": "fp16"}, "--precision fp16 needs a CUDA device"),
    ],
)
def test_a_mistake_is_one_line(
    change: dict[str, Any], said: str, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(text, "gpt2", tmp_path / "run", **change)) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_changed_text_is_not_resumed(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags(text, "gpt2", tmp_path / "run", tokens=1024)) == 0
    record = tmp_path / "run" / "run.json"
    record.write_text(record.read_text().replace('"finished"', '"stopped"'))
    text.write_text(text.read_text() + '{"text": "more"}\n')
    capsys.readouterr()
    assert main(["pretrain", "--resume", str(tmp_path / "run")]) == 2
    assert "the text has changed since" in capsys.readouterr().err
