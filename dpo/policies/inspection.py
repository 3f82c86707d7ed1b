"""What is looked at in a policy's directory before anything in it is loaded.

A directory may be somebody else's.  Loading one with a million layers takes minutes, a tokenizer can be written that
ends the process, and a pipe in the place of weights holds a thread for ever: each is found here by reading a little.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpo.errors import PolicyError
from dpo.runs.files import open_file, parse, read_object, reason

MOST_HEADER = 100 * 2**20
"""Bytes of a safetensors header, as the library has it."""
_MOST_TOKENIZER = 256 * 2**20
_MOST_ADDED = 100_000  # tokens beside the vocabulary; each costs as much as a regular expression
_MOST_GROWTH = 64  # times that a normaliser may lengthen a text
_MOST_TEMPLATE = 256 * 1024  # characters
_DEEPEST_LOOPS = (
    2  # within each other, in a chat template that counts (`range`): conversations are short, numbers are not
)
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "encoder_layers",
           "decoder_layers")  # fmt: skip
_OTHERS = (".bin", ".gguf", ".pt", ".h5", ".msgpack")
_INDEX = "model.safetensors.index.json"
Shapes = Mapping[str, tuple[int, ...]]


def inspect(directory: Path, adapter: bool) -> None:
    """Nothing, for a directory that holds what it seems to hold, in sizes that fit together.

    Args:
        adapter: whether it is a PEFT adapter.

    Raises:
        PolicyError: it brings code, or weights that are no safetensors; parts do not fit or would take all memory.
    """
    try:
        _plain(directory)
        if adapter:
            _adapter(directory)
        else:
            _config(directory)
        _tokenizer(directory)
    except (OSError, ValueError) as error:
        raise PolicyError(f"{directory} cannot be loaded: {reason(error)}") from error


def shapes_of(file: Path) -> Shapes:
    """The shapes of all tensors in a safetensors file, from its header.

    Raises:
        OSError: it is missing or no plain file.
        ValueError: it is no safetensors file, or is cut off.
    """
    with open_file(file, 2**63 - 1) as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(MOST_HEADER, size - 8):
            raise ValueError(f"{file.name} is no safetensors file, or is cut off")
        header = parse(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError(f"{file.name} is no safetensors file")
    found = {name: entry.get("shape") for name, entry in header.items() if name != "__metadata__"}
    if not all(isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape) for shape in found.values()):
        raise ValueError(f"{file.name} has a tensor without a shape")
    return {name: tuple(shape) for name, shape in found.items()}


def _plain(directory: Path) -> None:
    for entry in os.scandir(directory):
        mode = entry.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ValueError(f"{entry.name} is neither a file nor a directory")
        if entry.name.endswith(".py"):
            raise ValueError(f"it brings code of its own ({entry.name}), which is never run here: remove it")


def _config(directory: Path) -> None:
    config, tensors = read_object(directory / "config.json"), len(_weights(directory))
    for name in _LAYERS:
        layers = config.get(name)
        if layers is None:
            continue
        if type(layers) is not int or not 1 <= layers <= tensors:
            raise ValueError(f"config.json has {name} {str(layers)[:40]}, and the weights {tensors:,} tensors")


def _weights(directory: Path) -> Shapes:
    if (directory / "model.safetensors").exists() or not (directory / _INDEX).exists():
        if not (directory / "model.safetensors").exists():
            others = sorted(path.name for path in directory.glob("*.*") if path.suffix in _OTHERS)
            raise ValueError(
                "it has no model.safetensors" + (f"; {others[0]} is not read here: convert it" if others else "")
            )
        return shapes_of(directory / "model.safetensors")
    named = read_object(directory / _INDEX, MOST_HEADER).get("weight_map")
    files = set(named.values()) if isinstance(named, dict) and all(isinstance(n, str) for n in named.values()) else {""}
    for name in files:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"{_INDEX} names {name[:60]!r}: weights are read from safetensors files beside it only")
    return {tensor: shape for name in sorted(files) for tensor, shape in shapes_of(directory / name).items()}


def _adapter(directory: Path) -> None:
    config = read_object(directory / "adapter_config.json")
    if not (directory / "adapter_model.safetensors").exists():
        raise ValueError("it has no adapter_model.safetensors: weights are read from safetensors only")
    shapes = shapes_of(directory / "adapter_model.safetensors")
    if not shapes:
        raise ValueError("its adapter_model.safetensors holds no weights")
    largest = max(max(shape, default=0) for shape in shapes.values())
    pattern = config.get("rank_pattern")
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    for rank in ranks:
        if rank is not None and (type(rank) is not int or not 1 <= rank <= largest):
            raise ValueError(f"adapter_config.json has rank {str(rank)[:40]}, and no tensor is that large")


def _tokenizer(directory: Path) -> None:
    path = directory / "tokenizer.json"
    if path.exists():
        tokenizer = read_object(path, _MOST_TOKENIZER)
        added = tokenizer.get("added_tokens")
        if isinstance(added, list) and len(added) > _MOST_ADDED:
            raise ValueError(f"tokenizer.json adds {len(added):,} tokens, of which at most {_MOST_ADDED:,} are read")
        growth = _growth(tokenizer.get("normalizer"))
        if growth > _MOST_GROWTH:
            raise ValueError(f"the normalizer of tokenizer.json makes a text {growth:,} times as long")
    for template in _templates(directory):
        depth = _loops(template) if "range(" in template else 0
        if len(template) > _MOST_TEMPLATE or depth > _DEEPEST_LOOPS:
            raise ValueError(f"its chat template has {len(template):,} characters and {depth} loops within each other")


def _growth(normalizer: Any) -> int:
    """How many times as long a text can become."""
    if not isinstance(normalizer, dict):
        return 1
    times = 1
    for part in normalizer.get("normalizers") or ():
        times = min(times * _growth(part), 10**9)
    content = normalizer.get("content", normalizer.get("prepend"))
    return times * max(len(content), 1) if isinstance(content, str) else times


def _templates(directory: Path) -> Iterator[str]:
    for path in (*directory.glob("*.jinja"), *directory.glob("additional_chat_templates/*.jinja")):
        with open_file(path, 2**22) as file:
            yield file.read().decode("utf-8", "replace")
    if (directory / "tokenizer_config.json").exists():
        found = read_object(directory / "tokenizer_config.json", MOST_HEADER).get("chat_template")
        for part in found if isinstance(found, list) else [found]:
            yield part if isinstance(part, str) else json.dumps(part)


def _loops(template: str) -> int:
    """How many loops stand within each other at most."""
    depth = deepest = 0
    for statement in template.split("{%")[1:]:
        words = statement.split("%}")[0].strip("-+ \n").split()
        if words[:1] == ["for"]:
            depth += 1
            deepest = max(deepest, depth)
        elif words[:1] == ["endfor"]:
            depth -= 1
    return deepest
