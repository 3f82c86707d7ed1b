"""Every command and snippet of the README runs as it is written (fewer updates, no hub)."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from dpo.cli.main import main
from dpo.preferences.sources import NAMED, SAMPLE

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, re.S)
SHORT = (
    "--max-steps=1", "--batch-size=2", "--max-completion-length=48", "--max-eval-pairs=2", "--probes=0",
    "--kl-prompts=0",
)  # fmt: skip


def test_commands_and_snippet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # The named dataset's place on the hub stands for a file here, and runs are cut short.
    monkeypatch.setitem(NAMED, "human-like", str(SAMPLE))
    monkeypatch.setattr("dpo.preferences.sources._hub", lambda hub_id, source, split: _rows(hub_id))
    lines = [line.split("#")[0].strip() for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("dpo ")]
    assert len(commands) >= 7
    for command in commands:
        if "--resume" in command or "--config" in command:
            continue  # test_sigkill_then_resume_equals_the_uninterrupted_run, test_presets
        short = [*SHORT] if command[1] == "train" else []
        short += ["--kl-prompts", "1"] if command[1] == "eval" else []
        few = ["--max-new-tokens", "8"] if command[1] in ("generate", "compare", "eval") else []
        few += ["--prompts", "2"] if command[1] == "eval" else []
        assert main(command[1:] + short + few) == 0, command
    capsys.readouterr()
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_scored_answers_show_what_tuning_did(capsys: pytest.CaptureFixture[str]) -> None:
    """The tuned policy prefers the casual answer of the example to the one that says it is an AI."""
    [line] = [
        line for _, block in BLOCKS for line in block.splitlines() if line.startswith("dpo score") and "--text" in line
    ]
    assert main(shlex.split(line)[1:]) == 0
    assert float(capsys.readouterr().out.split("margin A - B")[1]) > 0


def _rows(path: str):  # type: ignore[no-untyped-def]
    from datasets import Dataset

    return Dataset.from_list([json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()])
