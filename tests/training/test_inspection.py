"""Policies that somebody else wrote: what is refused before anything in their directory is loaded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dpo.errors import PolicyError, PromptError
from dpo.policies.loading import load_policy


def test_directories_are_looked_at_before_they_are_loaded(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    """Each would take minutes, gigabytes or the process, or bring a pickle or code; each is refused in a line."""
    sound, number = policy_dirs["gpt2"], iter(range(100))

    def changed(name: str, change: Callable[[dict[str, Any]], Any]) -> Path:
        directory = tmp_path / str(next(number))
        shutil.copytree(sound, directory)
        content = json.loads((directory / name).read_text())
        change(content)
        (directory / name).write_text(json.dumps(content))
        return directory

    def put(name: str, content: bytes, *gone: str) -> Path:
        directory = tmp_path / str(next(number))
        shutil.copytree(sound, directory)
        for other in gone:
            (directory / other).unlink()
        (directory / name).write_bytes(content)
        return directory

    weights, index = "model.safetensors", "model.safetensors.index.json"
    pipe = put("other", b"", weights)
    os.mkfifo(pipe / weights)
    bomb = {"type": "Sequence", "normalizers": [{"type": "Replace", "content": "a" * 50}] * 6}
    words = [{"id": n, "content": f"<x{n}>"} for n in range(200_000)]
    loops = b"{% for i in range(9) %}" * 3 + b"x" + b"{% endfor %}" * 3
    adapter = {"peft_type": "LORA", "r": 4, "target_modules": ["c_attn"], "base_model_name_or_path": str(sound)}
    own, large, itself = (tmp_path / name for name in ("bin", "large", "itself"))
    for directory in (own, large, itself):
        directory.mkdir()
    (own / "adapter_config.json").write_text(json.dumps(adapter))
    (own / "adapter_model.bin").write_bytes(b"\x80\x04.")
    (large / "adapter_config.json").write_text(json.dumps(adapter | {"r": 10**7}))
    save_file({"x.lora_A.weight": torch.zeros(4, 8)}, large / "adapter_model.safetensors")
    (itself / "adapter_config.json").write_text(json.dumps(adapter | {"base_model_name_or_path": str(itself)}))
    save_file({"x.lora_A.weight": torch.zeros(4, 8)}, itself / "adapter_model.safetensors")
    for directory, why in (
        (changed("config.json", lambda config: config.update(n_layer=10**7)), "n_layer 10000000"),
        (changed("config.json", lambda config: config.update(n_layer=-1)), "n_layer -1"),
        (changed("config.json", lambda config: config.update(n_head=0)), "cannot be loaded"),
        (changed("config.json", lambda config: config.update(vocab_size="x")), "cannot be loaded"),
        (changed("tokenizer.json", lambda tokenizer: tokenizer.update(normalizer=bomb)), "times as long"),
        (changed("tokenizer.json", lambda tokenizer: tokenizer.update(added_tokens=words)), "adds 200,000 tokens"),
        (put("chat_template.jinja", loops), "3 loops"), (put("evil.py", b"import os"), "code of its own"),
        (pipe, "neither a file nor"), (put("pytorch_model.bin", b"x", weights), "pytorch_model.bin is not read"),
        (put(index, b'{"weight_map": {"a": "pytorch_model.bin"}}', weights), "'pytorch_model.bin'"),
        (put(index, b'{"weight_map": {"a": "../x.safetensors"}}', weights), "safetensors files beside it"),
        (put(weights, (2**40).to_bytes(8, "little") + b"{}"), "cut off"),
        (put(weights, (sound / weights).read_bytes()[:-9]), "cannot be loaded"),
        (own, "no adapter_model.safetensors"), (large, "rank 10000000"), (itself, "without end"),
    ):  # fmt: skip
        with pytest.raises(PolicyError, match=why) as told:
            load_policy(str(directory), device="cpu")
        assert "\n" not in str(told.value)
    shutil.copy(large / "adapter_config.json", itself)
    config = json.loads((itself / "adapter_config.json").read_text()) | {"r": 4}
    (itself / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(PolicyError, match="weights are missing"):
        load_policy(str(itself), device="cpu")


def test_a_chat_template_reaches_nothing(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(policy_dirs["gpt2"], tmp_path / "policy")
    (tmp_path / "policy" / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    policy = load_policy(str(tmp_path / "policy"), device="cpu")
    with pytest.raises(PromptError, match="chat template"):
        policy.encode_prompt([{"role": "user", "content": "hi"}])
