"""A published policy from the Hugging Face hub into a directory that the dashboard and the commands find."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from dpo.errors import HubError, PolicyError, RunError
from dpo.policies.names import DEFAULT_RUNS, base_of, resolve
from dpo.publishing.client import check_name, explained
from dpo.publishing.directories import whole
from dpo.publishing.layout import CARD, RECORD, RECORDED, is_pickled, is_policy_file, is_tokenizer, is_weights
from dpo.runs.record import FORMAT, RUN, read_json


@dataclass(frozen=True)
class Pulled:
    """Where the policy is, the exact revision, and what it was tuned from (None if nothing says)."""

    path: Path
    revision: str
    base: str | None


def pull(
    repo_id: str, output_dir: str | Path | None = None, *, revision: str | None = None, base: str | None = None
) -> Pulled:
    """Download weights (safetensors only), tokenizer and card, and the record if `dpo push` published it.

    Args:
        output_dir: a new directory; default: `runs/NAME`.
        revision: a branch, a tag or a commit.
        base: the policy to show it beside, where its card does not say.

    Raises:
        HubError: no such repository, out of reach, or nothing in it that can be loaded safely.
        StorageError: the directory holds something already, or cannot be written.
    """
    from huggingface_hub import HfApi, snapshot_download

    target = Path(output_dir) if output_dir is not None else DEFAULT_RUNS / repo_id.rpartition("/")[2]
    check_name(repo_id)
    with explained(repo_id, "fetched"):
        found = HfApi().repo_info(repo_id, revision=revision)
        wanted = _wanted(repo_id, {file.rfilename for file in found.siblings or []})
    with whole(target) as directory, explained(repo_id, "fetched"):
        policy = directory / "policy"
        snapshot_download(repo_id, revision=found.sha, allow_patterns=wanted, local_dir=policy)
        shutil.rmtree(policy / ".cache", ignore_errors=True)
        record = policy / RECORD
        for name in RECORDED:
            if (record / name).is_file():
                (record / name).rename(directory / name)
        info = _info(policy, record, found.last_modified) | {
            "name": target.name,
            "hub": {"id": repo_id, "revision": str(found.sha)},
        }
        if base is not None:
            info["config"] = (info.get("config") or {}) | {"model": base}
        shutil.rmtree(record, ignore_errors=True)
        (directory / RUN).write_text(json.dumps(info, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return Pulled(target, str(found.sha), (info.get("config") or {}).get("model"))


def _wanted(repo_id: str, names: set[str]) -> list[str]:
    """The files to fetch.

    Raises:
        HubError: the weights, the config or the tokenizer are not there in a safe format.
    """
    weights = list(filter(is_weights, names))
    if "adapter_config.json" in names:
        weights = [name for name in weights if name.startswith("adapter")]
    if not weights:
        pickled = any(map(is_pickled, names))
        why = "only pickled weights, which can run code when they are loaded" if pickled else "no weights"
        raise HubError(f"{repo_id} publishes {why}: choose a model with .safetensors files")
    if not {"config.json", "adapter_config.json"} & names:
        raise HubError(f"{repo_id} has no config.json: it is no transformers model")
    if "adapter_config.json" not in names and not any(map(is_tokenizer, names)):
        raise HubError(f"{repo_id} publishes no tokenizer: pull its base, and load the weights by hand")
    beside = [name for name in names if name == CARD or (is_policy_file(name) and not is_weights(name))]
    record = names.intersection(f"{RECORD}/{name}" for name in (RUN, *RECORDED))
    return sorted([*weights, *beside, *record])


def _info(policy: Path, record: Path, published: datetime | None) -> dict[str, Any]:
    """The published `run.json`; for a policy of others, what its own files say."""
    if (record / RUN).is_file():
        try:
            # Whatever it says about a process is not about one of this machine.
            return read_json(record / RUN) | {"state": "finished", "pid": None, "host": None}
        except RunError:
            pass  # the policy is good all the same
    card = _card(policy / CARD)
    tags = card.get("tags") or []
    base = base_of(policy) if (policy / "adapter_config.json").is_file() else card.get("base_model")
    base = base[0] if isinstance(base, list) and base else base
    # Its place among the runs is by its age, not by when it came here.
    created = (published or datetime.now(UTC)).isoformat(timespec="seconds")
    return {
        "format": FORMAT,
        "created": created,
        "updated": created,
        "kind": "sft" if "sft" in tags and "dpo" not in tags else "dpo",
        "state": "finished",
        "config": {"model": base} if isinstance(base, str) and base else {},
    } | _model(policy)


def _model(policy: Path) -> dict[str, Any]:
    """What its own files say of the model."""
    try:
        source = resolve(str(policy))
    except PolicyError:
        return {"family": None}
    known = {} if source.architecture is None else {"policy": {"architecture": source.architecture}}
    return {"family": source.family} | known


def _card(path: Path) -> dict[str, Any]:
    """The metadata block of a card; empty if there is none that can be read."""
    try:
        parts = path.read_text(encoding="utf-8").split("---\n", 2)
        content = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
