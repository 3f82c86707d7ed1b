"""Deleted runs, until the trash is emptied: a run goes there and comes back as a whole, by one rename.

In each directory of runs it is `.trash`: an entry is a folder with the run's own folder in it (`run`) and where that
stood (`origin.json`), which is written first.  So whenever a process or the power goes away in between, a run is in
its place or in the trash, and never in neither.  An entry that is emptied is renamed before a file of it is removed:
what is half gone is never offered.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo.errors import RunError, StorageError, quoted
from dpo.files import flush_folder, write_json
from dpo.runs.files import one_line, read_object
from dpo.runs.manage import deletable
from dpo.runs.reader import Run, open_run

FOLDER = ".trash"  # the dot keeps it out of the list of runs
KEPT_DAYS = 30
_RUN, _ORIGIN, _GOING = "run", "origin.json", ".going-"
_DAY = 86_400.0


@dataclass(frozen=True)
class Deleted:
    """A run in the trash.

    `ident` names it among all; `when` is when it was deleted (seconds since 1970), `size` its bytes.
    """

    ident: str
    name: str
    place: Path
    origin: Path
    when: float
    size: int


def discard(run: Run, roots: Sequence[Path]) -> str:
    """Move a run to the trash of its directory of runs; returns the entry's `ident`.

    Raises:
        RunError: see `deletable`.
        StorageError: it cannot be moved; it is where it was.
    """
    deletable(run, roots)
    real = run.path.resolve()
    root = next(root.resolve() for root in roots if root.resolve() in real.parents)
    ident = f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}"
    place = root / FOLDER / ident
    try:
        place.mkdir(parents=True)
        write_json(place / _ORIGIN, {"origin": str(real), "name": run.name, "when": time.time()})
        os.rename(real, place / _RUN)
        flush_folder(place)
        flush_folder(real.parent)
    except OSError as error:
        if not (place / _RUN).exists():
            shutil.rmtree(place, ignore_errors=True)
        raise StorageError(f"{run.path} cannot be deleted ({error.strerror}): check its permissions") from error
    return ident


def deleted(roots: Sequence[Path]) -> list[Deleted]:
    """What is in the trash of the directories of runs, the last deleted first."""
    found = [entry for place in _places(roots) if (entry := _read(place)) is not None]
    return sorted(found, key=lambda entry: entry.when, reverse=True)


def restore(ident: str, roots: Sequence[Path]) -> Run:
    """Bring a run back to where it was.

    Raises:
        RunError: there is no such entry, or its place is taken.
        StorageError: it cannot be moved; it stays in the trash.
    """
    entry = next((entry for entry in deleted(roots) if entry.ident == ident), None)
    if entry is None:
        raise RunError(f"{quoted(ident)} is not in the trash: it was brought back, or the trash was emptied")
    if os.path.lexists(entry.origin):
        raise RunError(f"{entry.origin} exists again: rename that folder, then bring {entry.name} back")
    try:
        entry.origin.parent.mkdir(parents=True, exist_ok=True)
        os.rename(entry.place / _RUN, entry.origin)
        flush_folder(entry.origin.parent)
        _remove(entry.place)
    except OSError as error:
        raise StorageError(f"{entry.origin} cannot be written ({error.strerror}): check its permissions") from error
    return open_run(entry.origin)


def empty(roots: Sequence[Path], older: float = 0.0) -> int:
    """Remove what has been in the trash for more than `older` days, for good; returns how many runs that were.

    Raises:
        StorageError: something cannot be removed.
    """
    now = time.time()
    gone = [entry for entry in deleted(roots) if older <= 0 or now - entry.when >= older * _DAY]
    left = [place for place in _places(roots) if place.name.startswith(_GOING)]
    try:
        for place in [*(entry.place for entry in gone), *left]:
            _remove(place)
    except OSError as error:
        raise StorageError(f"The trash cannot be emptied ({error.strerror}): check the permissions") from error
    return len(gone)


def _places(roots: Sequence[Path]) -> Iterator[Path]:
    seen = set()
    for root in roots:
        folder = root.resolve() / FOLDER
        if folder not in seen and folder.is_dir() and not folder.is_symlink():
            seen.add(folder)
            yield from (path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink())


def _read(place: Path) -> Deleted | None:
    """An entry of the trash of `place.parent.parent`; None for what is none, or is going."""
    inside = place / _RUN
    if place.name.startswith(_GOING) or not inside.is_dir() or inside.is_symlink():
        return None
    root = place.parent.parent
    try:
        said = read_object(place / _ORIGIN)
    except (OSError, ValueError):
        said = {}
    origin, when = said.get("origin"), said.get("when")
    target = Path(origin) if isinstance(origin, str) and "\0" not in origin else root / place.name
    # What somebody wrote there may not bring a run to anywhere else.
    if ".." in target.parts or root not in target.parents or FOLDER in target.parts:
        target = root / place.name
    size = sum(file.stat().st_size for file in inside.rglob("*") if file.is_file() and not file.is_symlink())
    if not isinstance(when, int | float):
        when = place.stat().st_mtime
    name = one_line(str(said.get("name") or target.name))
    return Deleted(place.name, name, place, target, float(when), size)


def _remove(place: Path) -> None:
    going = place if place.name.startswith(_GOING) else place.with_name(_GOING + place.name)
    if going != place:
        os.rename(place, going)
    shutil.rmtree(going)
