"""docs/scale.md and the launch files: what they print is printed, and what they start are commands of ours."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from dpo.cli.main import main, parser

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
LAUNCH = ROOT / "configs" / "launch"


def commands(text: str) -> list[list[str]]:
    """The words after `dpo` of each command in a text, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = re.findall(r"(?:-m dpo|(?:^|\$ |\s)dpo) ((?:train|sweep|eval|plan|serve|runs) [^\n`#;|&]*)", joined, re.M)
    return [shlex.split(re.sub(r"\$\{?\w+\}?", "1", line)) for line in found]


def test_the_page_shows_what_the_plan_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    shown = re.findall(r"```text\n\$ dpo (plan .*)\n((?s:.*?))\n```", PAGE)
    assert shown
    for line, expected in shown:
        assert main(shlex.split(line)) == 0
        assert capsys.readouterr().out.rstrip("\n") == expected


def test_every_command_is_one_of_ours() -> None:
    texts = [PAGE, *(path.read_text(encoding="utf-8") for path in LAUNCH.glob("*.*"))]
    found = [words for text in texts for words in commands(text)]
    assert {words[0] for words in found} >= {"plan", "train"}
    for words in found:
        parser().parse_args(words)


def test_the_launchers_file_is_accelerates() -> None:
    content = yaml.safe_load((LAUNCH / "fsdp.yaml").read_text(encoding="utf-8"))
    assert content["distributed_type"] == "FSDP" and content["fsdp_config"]["fsdp_version"] == 2
