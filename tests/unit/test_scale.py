"""docs/scale.md and the launch files: what they print is printed, and what they start are commands of ours."""

from __future__ import annotations

import re
import shlex
import subprocess
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


def test_the_script_for_slurm_is_a_script() -> None:
    path = LAUNCH / "slurm.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    lines = path.read_text(encoding="utf-8").splitlines()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", "\n".join(lines), re.M))
    assert {"nodes", "gpus-per-node", "time", "output"} <= asked.keys()
    assert next(n for n, line in enumerate(lines) if line.startswith("#SBATCH")) < lines.index("set -euo pipefail")
    words = re.findall(r"WORDS=\(([^)]*)\)", path.read_text(encoding="utf-8"))
    assert len(words) == 2
    for line in words:
        parser().parse_args(shlex.split(line.replace('"$RUN"', "runs/x")))


def test_the_files_for_skypilot_and_kubernetes_have_what_these_ask_for() -> None:
    sky = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text(encoding="utf-8"))
    assert sky["resources"]["accelerators"] and "pip install" in sky["setup"] and sky["file_mounts"]["/runs"]
    volume, job = yaml.safe_load_all((LAUNCH / "kubernetes.yaml").read_text(encoding="utf-8"))
    assert [(part["apiVersion"], part["kind"]) for part in (volume, job)] == [
        ("v1", "PersistentVolumeClaim"),
        ("batch/v1", "Job"),
    ]
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] in ("OnFailure", "Never")  # what a Job may have
    [container] = pod["containers"]
    volumes = {entry["name"]: entry for entry in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    assert volumes["runs"]["persistentVolumeClaim"]["claimName"] == volume["metadata"]["name"]
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    for script in (sky["run"], sky["setup"], container["args"][0]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert set(re.findall(r"--nproc-per-node (\S+)", container["args"][0])) == {str(gpus)}
    for script in (sky["run"], container["args"][0]):
        assert [words[0] for words in commands(script)] == ["train", "train"] and "--resume" in script
