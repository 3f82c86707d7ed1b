"""From a name to where a policy's files are, without loading anything heavy.

A name is, in this order: a bundled policy (`demo/t5`), a short name (`t5`, `gpt2`), a run or
checkpoint or model directory, the name of a run under `runs/`, or a Hugging Face hub id.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dpo.errors import ConfigError, PolicyError
from dpo.families import FAMILIES, FamilyKey, architecture_of, facts_of, family_key
from dpo.runs.files import checkpoint_step, read_object, reason

Kind = Literal["bundled", "run", "checkpoint", "directory", "hub"]

MOST_ADAPTERS = 8  # on top of each other
# Relative positions have no end.
T5_LIKE = ("t5", "mt5", "umt5", "longt5")
BUNDLED_RUNS = Path(__file__).resolve().parent.parent / "demo" / "runs"
# Models trained on data that Llama 3 wrote carry its name (the data's licence asks for it).
BUNDLED: Mapping[str, str] = {
    name: f"Llama-3-{facts.word}-{stage}"
    for facts in FAMILIES
    for name, stage in ((facts.base, "sft"), (facts.tuned, "dpo"))
}
SHORT_NAMES: Mapping[str, str] = {facts.word: facts.hub_id for facts in FAMILIES}
DEFAULT_RUNS = Path("runs")
WEIGHTS = ("fp32", "bf16")
_HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


@dataclass(frozen=True)
class Source:
    """Where a policy comes from.

    `location` is a directory, or a hub id when `kind` is "hub".  `family` is None when only the
    hub could tell, `architecture` (the class's name) also where the files do not say it.  `adapter` says whether
    the directory holds a PEFT adapter instead of weights.
    """

    name: str
    kind: Kind
    location: str
    family: FamilyKey | None
    adapter: bool = False
    architecture: str | None = None


def resolve(name: str) -> Source:
    """Find the policy called `name`.

    Raises:
        PolicyError: nothing is found under that name; the message lists what would be.
    """
    return _resolve(name, MOST_ADAPTERS)


def located(name: str) -> Source:
    """Where the policy called `name` is, with none of its files read: its `family` is None.

    Raises:
        PolicyError: nothing is found under that name.
    """
    return _resolve(name, None)


def _resolve(name: str, adapters: int | None) -> Source:
    """The same; of `adapters` on top of each other the base is looked for, with None nothing is read."""
    name = str(name).strip()
    if not name:
        raise PolicyError(f"The policy's name is empty: give one of {_known()}, a directory or a hub id")
    if name in BUNDLED:
        directory = BUNDLED_RUNS / BUNDLED[name] / "policy"
        if not directory.is_dir():
            raise PolicyError(f"The bundled policy {name} is missing from {directory}: reinstall the package")
        return _directory(name, directory, "bundled", adapters)
    if name in SHORT_NAMES:
        facts = facts_of(name)
        return Source(name, "hub", SHORT_NAMES[name], None if facts is None else facts.key)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # no name of a file: too long, a NUL, ~nobody
        for directory in (Path(name).expanduser(), DEFAULT_RUNS / name):
            if directory.is_dir():
                return _local(name, directory, adapters)
    looks_local = name.startswith((".", "/", "~", "demo/")) or name.count("/") > 1 or "\\" in name
    if looks_local or not _HUB_ID.fullmatch(name):
        raise PolicyError(
            f"No policy {name!r}: give one of {_known()}, a run or model directory that exists, or a hub id"
        )
    return Source(name, "hub", name, None)


def check_weights(dtype: str) -> str:
    """The name itself, if weights may be of this type (`dpo.policies.loading.weights_dtype` asks the device).

    Raises:
        ConfigError: it names no such type.
    """
    if dtype not in WEIGHTS:
        raise ConfigError(f"--dtype {dtype}: use {' or '.join(WEIGHTS)}")
    return dtype


def portable_name(name: str) -> str:
    """What to write into an adapter as its base: a bundled name, a hub id, or an absolute directory."""
    source = resolve(name)
    if source.kind == "bundled":
        return source.name
    return source.location if source.kind == "hub" else str(Path(source.location).absolute())


def base_of(adapter_directory: Path) -> str:
    """Name of the policy an adapter was trained on, as its `adapter_config.json` says."""
    base = _read_json(adapter_directory / "adapter_config.json").get("base_model_name_or_path")
    return base if isinstance(base, str) else ""


def weights_files(source: Source) -> list[Path]:
    """The files whose change means another policy, an adapter's base included; none for the hub's cache."""
    files: list[Path] = []
    for _ in range(MOST_ADAPTERS):
        if source.kind == "hub":
            break
        files += sorted(Path(source.location).glob("*.safetensors"))
        base = base_of(Path(source.location)) if source.adapter else ""
        if not base:
            break
        source = resolve(base)
    return files


def weights_state(name: str) -> tuple[tuple[str, int, int], ...]:
    """Path, time of change (ns) and size of each file of the policy's weights: what is in memory is as old as this.

    Raises:
        PolicyError: no such policy, or its files are being replaced just now.
    """
    try:
        found = [(path, path.stat()) for path in weights_files(resolve(name))]
    except OSError as error:
        raise PolicyError(f"{name} is being written just now ({error.strerror}): try again in a moment") from error
    return tuple((str(path), status.st_mtime_ns, status.st_size) for path, status in found)


def context_of(config: Mapping[str, Any]) -> int | None:
    """Most positions that a model of this `config.json` has; None where there is no such limit.

    >>> context_of({"model_type": "gpt2", "n_positions": 1024}), context_of({"model_type": "t5", "n_positions": 512})
    (1024, None)
    """
    if config.get("model_type") in T5_LIKE:
        return None
    limit = config.get("max_position_embeddings") or config.get("n_positions")
    return limit if isinstance(limit, int) and limit > 0 else None


def context(name: str) -> int | None:
    """The same for the policy called `name`; None also if only the hub could tell.

    Raises:
        PolicyError: no such policy, or one that cannot be read.
    """
    asked = name
    for _ in range(MOST_ADAPTERS):
        source = resolve(name)
        if source.kind == "hub":
            return None
        directory = Path(source.location)
        if not source.adapter:
            return context_of(_read_json(directory / "config.json"))
        name = base_of(directory)
    raise PolicyError(f"{asked} is an adapter of an adapter of an adapter without end: name its base")


def newest_checkpoint(run: Path) -> Path | None:
    """The `checkpoint-N` directory with the largest N that holds a model, or None."""
    numbered = [
        (step, path)
        for path in run.glob("checkpoint-*")
        if (step := checkpoint_step(path)) is not None and _holds_model(path)
    ]
    return max(numbered)[1] if numbered else None


def _known() -> str:
    return ", ".join([*SHORT_NAMES, *BUNDLED])


def _local(name: str, directory: Path, adapters: int | None) -> Source:
    if _holds_model(directory):
        kind: Kind = "checkpoint" if directory.name.startswith("checkpoint-") else "directory"
        return _directory(name, directory, kind, adapters)
    if _holds_model(directory / "policy"):
        return _directory(name, directory / "policy", "run", adapters)
    checkpoint = newest_checkpoint(directory)
    if checkpoint is not None:
        return _directory(name, checkpoint, "run", adapters)
    raise PolicyError(
        f"{directory.absolute()} holds no policy (no config.json or adapter_config.json, no policy/, "
        "no checkpoint-N): train one there first, or name another directory"
    )


def _holds_model(directory: Path) -> bool:
    return (directory / "config.json").is_file() or (directory / "adapter_config.json").is_file()


def _directory(name: str, directory: Path, kind: Kind, adapters: int | None) -> Source:
    adapter = (directory / "adapter_config.json").is_file()
    if adapters is None:
        return Source(name, kind, str(directory), None, adapter)
    if not adapter:
        config = _read_json(directory / "config.json")
        return Source(name, kind, str(directory), family_key(config), False, architecture_of(config))
    base, beneath = base_of(directory), None
    with contextlib.suppress(PolicyError):  # shown when the adapter is loaded, where the user can act on it
        beneath = _resolve(base, adapters - 1) if base and adapters else None
    if beneath is None:
        return Source(name, kind, str(directory), None, True)
    return Source(name, kind, str(directory), beneath.family, True, beneath.architecture)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path} cannot be read ({reason(error)}): save the policy again") from error
