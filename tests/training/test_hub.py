"""Publishing and fetching through the hub's real client, against a local stand-in for its HTTP API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import Hub, Repo, serving
from PIL import Image

from dpo.cli.main import main
from dpo.dashboard.compare.policies import DEFAULT, answering
from dpo.policies.loading import load_policy
from dpo.policies.scoring import score
from dpo.publishing.push import push
from dpo.runs import find_runs, open_run
from dpo.training.config import TrainConfig
from dpo.training.recipes.dpo import train

ROOT = Path(__file__).parents[2]
TEXT = ["Do you like tea?"], ["I do! 🍵"]
SETTINGS: dict[str, Any] = {
    "dataset": "sample", "num_samples": 60, "eval_fraction": 0.1, "max_prompt_length": 40, "batch_size": 4,
    "max_completion_length": 40, "max_steps": 4, "learning_rate": 3e-3, "logging_steps": 1, "eval_steps": 2,
    "save_steps": 4, "probes": 1, "device": "cpu",
}  # fmt: skip
Dpo = Callable[..., subprocess.CompletedProcess[str]]


def scored(directory: Path) -> list[list[float]]:
    return score(load_policy(str(directory), device="cpu"), *TEXT)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as server:
        yield server


@pytest.fixture
def dpo(hub: Hub, tmp_path: Path) -> Dpo:
    """`dpo ...` in a process of its own, whose hub is the stand-in."""

    def call(*words: str, token: str | None = "hf_stand_in") -> subprocess.CompletedProcess[str]:
        environment = os.environ | hub.environment(token)
        environment |= {"HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "dpo", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)

    return call


@pytest.fixture(scope="module")
def runs(policy_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A full T5 run and a GPT-2 adapter."""
    root = tmp_path_factory.mktemp("trained")
    train(TrainConfig(**SETTINGS, model=str(policy_dirs["t5"]), output_dir=str(root / "t5-run")))
    adapter = SETTINGS | {"lora": True, "lora_rank": 4, "learning_rate": 3e-2}
    train(TrainConfig(**adapter, model=str(policy_dirs["gpt2"]), output_dir=str(root / "gpt2-run")))
    return {"t5": root / "t5-run", "gpt2": root / "gpt2-run"}


def test_push_then_pull_gives_the_same_policy_and_curves(
    hub: Hub, dpo: Dpo, runs: dict[str, Path], tmp_path: Path
) -> None:
    done = dpo("push", str(runs["t5"]), "--repo-id", "me/tea-t5", "--private", "--license", "mit")
    assert done.returncode == 0, done.stderr
    assert "Published: " in done.stdout and "me/tea-t5" in done.stdout
    repo = hub.repos["me/tea-t5"]
    assert repo.private and len(repo.messages) == 1
    assert {"README.md", "config.json", "curves.png", "model.safetensors", "tokenizer.json"} <= set(repo.files)
    assert {"run/run.json", "run/metrics.jsonl", "run/samples.jsonl", "run/hardware.jsonl"} <= set(repo.files)
    # Nothing of this machine goes out.
    text = b"".join(content for name, content in repo.files.items() if not name.endswith((".safetensors", ".png")))
    assert str(runs["t5"].parent).encode() not in text and b'"host": null' in text and b'"pid": null' in text

    fetched = dpo("pull", "me/tea-t5")
    assert fetched.returncode == 0, fetched.stderr
    pulled = tmp_path / "runs" / "tea-t5"
    assert repo.sha[:12] in fetched.stdout and not (pulled / "policy" / ".cache").exists()
    assert score(load_policy(str(pulled), device="cpu"), *TEXT) == score(
        load_policy(str(runs["t5"]), device="cpu"), *TEXT
    )
    [run] = [run for run in find_runs([tmp_path / "runs"]) if run.name == "tea-t5"]
    assert run.metrics().columns == open_run(runs["t5"]).metrics().columns and run.samples()
    assert (run.state, run.family, run.label) == ("finished", "seq2seq", "T5")
    assert run.info["hub"] == {"id": "me/tea-t5", "revision": repo.sha}
    # Unknown to strangers, and not over what is there.
    assert "no model me/tea-t5" in dpo("pull", "me/tea-t5", "--output-dir", "other", token=None).stderr
    again = dpo("pull", "me/tea-t5")
    assert again.returncode == 2 and "exists already" in again.stderr and (pulled / "policy").is_dir()


def test_a_second_push_replaces_the_first_and_private_is_kept(
    hub: Hub, dpo: Dpo, runs: dict[str, Path], policy_dirs: dict[str, Path]
) -> None:
    old = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x", "run/eval.json": b"{}", "notes.md": b"mine"}
    hub.repos["me/tea-t5"] = Repo(False, dict(old))
    refused = dpo("push", str(runs["t5"]), "--repo-id", "me/tea-t5", "--private")
    assert refused.returncode == 2 and "exists and is public" in refused.stderr
    assert hub.repos["me/tea-t5"].files == old
    assert dpo("push", str(runs["t5"]), "--repo-id", "me/tea-t5").returncode == 0
    files = hub.repos["me/tea-t5"].files
    assert set(old) & set(files) == {"notes.md"} and "model.safetensors" in files


def test_an_adapter_goes_out_folded_in(hub: Hub, dpo: Dpo, runs: dict[str, Path], tmp_path: Path) -> None:
    alone = dpo("push", str(runs["gpt2"]), "--repo-id", "me/tea-gpt2")
    assert alone.returncode == 2 and "add --merge" in alone.stderr and not hub.repos
    done = dpo("push", str(runs["gpt2"]), "--repo-id", "me/tea-gpt2", "--merge")
    assert done.returncode == 0, done.stderr
    assert "say yours with --license" in done.stderr  # of a base that is nobody else's
    assert "model.safetensors" in hub.repos["me/tea-gpt2"].files
    assert not hub.repos["me/tea-gpt2"].private
    assert not [name for name in hub.repos["me/tea-gpt2"].files if name.startswith("adapter")]
    assert dpo("pull", "me/tea-gpt2", "--output-dir", "here", "--base", "demo/gpt2").returncode == 0
    assert scored(tmp_path / "here")[0] == pytest.approx(scored(runs["gpt2"])[0], abs=1e-5)
    listed = [one for one in answering([tmp_path]) if one.value not in DEFAULT and "#" not in one.value]  # no engines
    assert [(arm.short, arm.family, arm.reference) for arm in listed] == [("here", "causal", "demo/gpt2")]


def test_pull_of_a_policy_of_others(
    hub: Hub, dpo: Dpo, policy_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.name: path.read_bytes() for path in policy_dirs["t5"].iterdir()}
    card = b"---\nbase_model: demo/t5\ntags: [dpo]\n---\n# Theirs\n"
    extra = {"README.md": card, "pytorch_model.bin": b"pickle", "modeling.py": b"raise SystemExit", "onnx/m.bin": b"x"}
    hub.repos["they/t5-chat"] = Repo(False, files | extra)
    done = dpo("pull", "they/t5-chat", token=None)
    assert done.returncode == 0, done.stderr
    pulled = tmp_path / "runs" / "t5-chat"
    names = {path.name for path in pulled.rglob("*")}
    assert {"model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not {"pytorch_model.bin", "modeling.py", "onnx", ".cache"} & names
    assert score(load_policy(str(pulled), device="cpu"), *TEXT) == score(
        load_policy(str(policy_dirs["t5"]), device="cpu"), *TEXT
    )
    listed = answering([tmp_path / "runs"])
    assert ("t5-chat", "seq2seq", "demo/t5") in [(arm.short, arm.family, arm.reference) for arm in listed]
    assert open_run(pulled).info["created"].startswith("2025-03-01T10:00:00")
    monkeypatch.chdir(tmp_path)
    assert load_policy("t5-chat", device="cpu").family.key == "seq2seq"  # by its name alone

    hub.repos["they/old"] = Repo(False, {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    hub.repos["they/bare"] = Repo(False, {name: files[name] for name in ("config.json", "model.safetensors")})
    for name, said in [
        ("they/old", "only pickled weights"),
        ("they/bare", "publishes no tokenizer"),
        ("they/none", "no model they/none that you may read"),
    ]:
        refused = dpo("pull", name, token=None)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert said in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr
        assert not (tmp_path / "runs" / name.rpartition("/")[2]).exists()
    assert "no such revision" in dpo("pull", "they/t5-chat", "--revision", "v9", "--output-dir", "v9").stderr


def test_push_without_a_token_is_told_in_a_line(hub: Hub, dpo: Dpo, runs: dict[str, Path]) -> None:
    refused = dpo("push", str(runs["t5"]), "--repo-id", "me/tea-t5", token="hf_wrong")
    assert refused.returncode == 2 and "log in with hf auth login" in refused.stderr
    assert refused.stderr.count("\n") == 1 and not hub.repos


def test_the_card_and_the_picture_of_a_dry_run(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out"
    assert main(["push", str(runs["t5"]), "--repo-id", "me/tea-t5", "--dry-run", str(target)]) == 0
    assert "nothing published" in capsys.readouterr().out
    card = (target / "README.md").read_text(encoding="utf-8")
    facts = yaml.safe_load(card.split("---\n")[1])
    assert facts["tags"] == ["dpo", "dpo-workbench", "t5"] and facts["library_name"] == "transformers"
    assert "license" not in facts and "base_model" not in facts  # nothing that the hub could not follow
    run = open_run(runs["t5"])
    for heading in ("Use", "Data", "Licence", "Training", "Curves", "Held-out measures", "Samples", "Limits"):
        assert f"\n## {heading}\n" in card
    assert f"fingerprint {run.info['dataset']['fingerprint']}" in card and "a frozen copy of that start" in card
    assert f"| learning_rate | {run.config['learning_rate']} |" in card and "| beta | 0.1 |" in card
    accuracies = run.metrics().series("eval_rewards/accuracies")[1]
    assert f"| accuracy | {accuracies[0]:.4g} | {accuracies[-1]:.4g} |" in card
    sample = run.samples()[-1]
    assert f"    {sample.prompt.splitlines()[0]}" in card and "![Loss and rewards over the updates](curves.png)" in card
    with Image.open(target / "curves.png") as picture:
        assert picture.size == (1200, 440)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
        assert {(0x15, 0x17, 0x1C), (0x2F, 0x9A, 0x4A), (0x9A, 0x66, 0xD0)} <= colours
    # The run's own policy has the same card, without what only a publication has.
    own = (runs["t5"] / "policy" / "README.md").read_text(encoding="utf-8")
    assert "## Held-out measures" in own and "## Use" not in own and "curves.png" not in own


@pytest.mark.parametrize(
    ("change", "repo_id", "said"),
    [
        ({"state": "running", "pid": os.getpid()}, "me/x", "is running now"),
        ({"config": {}}, "me/x", "was not made by dpo"),
        ({}, "me/../x", "is no name for the hub"),
    ],
)
def test_what_cannot_be_pushed(
    change: dict[str, Any], repo_id: str, said: str, runs: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    run = tmp_path / "run"
    (run / "policy").mkdir(parents=True)
    info = json.loads((runs["t5"] / "run.json").read_text()) | change
    (run / "run.json").write_text(json.dumps(info))
    assert main(["push", str(run), "--repo-id", repo_id, "--dry-run", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_without_a_connection_both_say_so(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    # The tests' own process is told to stay offline (conftest).
    assert main(["push", str(runs["t5"]), "--repo-id", "me/tea-t5"]) == 2
    assert main(["pull", "me/tea-t5"]) == 2
    assert capsys.readouterr().err.count("cannot be reached: check the connection") == 2


def test_an_adapter_of_a_hub_model_goes_out_alone(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["gpt2"], run)
    info = json.loads((run / "run.json").read_text())
    info["config"] |= {"model": "gpt2", "dataset": "human-like"}
    info["dataset"] |= {"source": "human-like"}
    (run / "run.json").write_text(json.dumps(info))
    config = json.loads((run / "policy" / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": "openai-community/gpt2"}
    (run / "policy" / "adapter_config.json").write_text(json.dumps(config))
    pushed = push(open_run(run), "me/tea-gpt2", dry_run=tmp_path / "out")
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= set(pushed.files)
    assert [note for note in pushed.notes if "begin with Llama-3" in note]
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    facts = yaml.safe_load(card.split("---\n")[1])
    assert facts["base_model"] == "openai-community/gpt2" and facts["library_name"] == "peft"
    assert facts["datasets"] == ["HumanLLMs/Human-Like-DPO-Dataset"] and facts["license"] == "llama3"
    assert "Built with Meta Llama 3." in card and "that start itself, the adapter off" in card
