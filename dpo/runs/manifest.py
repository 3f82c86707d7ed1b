"""Which checkpoint is whole: a manifest with the size and hash of every file, written last (no torch here)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import xxhash

from dpo.files import write_json

MANIFEST = "manifest.json"
# What a loader would read if it lay there; anything else that somebody puts beside is not ours to judge.
_LOADABLE = {".safetensors", ".bin", ".pt", ".pth", ".pkl", ".json", ".jsonl", ".py"}
_CHUNK = 2**22


def seal(directory: Path, **facts: Any) -> None:
    """Write the manifest of all files below `directory`: sizes in bytes, XXH3-128 in hexadecimal; and `facts`.

    Raises:
        OSError: a file cannot be read, or the manifest not be written.
    """
    files = {name: {"size": path.stat().st_size, "xxh3_128": _hash(path)} for name, path in sorted(_files(directory))}
    content = {"format": 1, **facts, "files": files}
    write_json(directory / MANIFEST, content)


def fault(directory: Path, hashed: bool = True) -> str | None:
    """What the files below `directory` lack to be those of its manifest, in a few words; None if nothing.

    Args:
        hashed: compare contents as well, which reads all files; without it names and sizes only.
    """
    manifest = facts(directory)
    known = manifest.get("files")
    if not isinstance(known, dict):
        return f"its {MANIFEST} is damaged"
    found = dict(_files(directory))
    for name, wanted in known.items():
        path = found.pop(name, None)
        if path is None:
            return f"{name} is missing"
        try:
            if not isinstance(wanted, dict) or path.stat().st_size != wanted.get("size"):
                return f"{name} has another size"
            if hashed and _hash(path) != wanted.get("xxh3_128"):
                return f"{name} has changed"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    strangers = sorted(name for name, path in found.items() if path.suffix in _LOADABLE)
    return f"{strangers[0]} was not saved with it" if strangers else None


def facts(directory: Path) -> dict[str, Any]:
    """The manifest as it was written; empty if it is missing or damaged."""
    try:
        content = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder) / name
            inside = path.relative_to(directory).as_posix()
            if inside != MANIFEST:
                yield inside, path


def _hash(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
