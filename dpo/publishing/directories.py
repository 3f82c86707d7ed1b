"""Directories that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpo.errors import StorageError


@contextmanager
def whole(final: Path) -> Iterator[Path]:
    """A new directory to write into; it becomes `final` when the block ends well and vanishes if not.

    Raises:
        StorageError: `final` holds something already, or cannot be written.
    """
    if final.exists() and not (final.is_dir() and not any(final.iterdir())):
        raise StorageError(f"{final} exists already: name a new or empty directory")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{final.name}.", dir=final.parent) as temporary:
            inner = Path(temporary) / final.name
            inner.mkdir()
            yield inner
            usual_modes(inner)
            os.replace(inner, final)  # an empty directory gives way
    except OSError as error:
        raise StorageError(
            f"{final} cannot be written ({error.strerror or error}): make room, or name another directory"
        ) from error


def usual_modes(directory: Path) -> None:
    """Give a directory's files the permissions that the umask gives to new ones: safetensors writes 0600.

    Raises:
        OSError: the directory cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        probe = Path(temporary) / "probe"
        probe.touch()
        mode = probe.stat().st_mode
    for path in directory.iterdir():
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)
