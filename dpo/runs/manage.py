"""Changing what is there: notes, names, and deleting runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpo.errors import RunError, StorageError
from dpo.files import write_json
from dpo.runs.find import BUNDLED_RUNS, find_runs
from dpo.runs.import_export import removable
from dpo.runs.reader import LONGEST_TAG, MOST_TAGS, Run
from dpo.runs.record import NOTE, RUN, RunRecord, read_json

_LONGEST_NAME = 80
_LONGEST_NOTE = 4000


def listed(path: str, roots: Sequence[Path]) -> Run:
    """The run of that path, if it is one of those found in the roots.

    Raises:
        RunError: it is gone, or it is elsewhere.
    """
    for run in find_runs(roots):
        if str(run.path) == path:
            return run
    raise RunError(f"{path} is no run in {', '.join(map(str, roots))}: it may have been deleted")


def note_of(run: Run) -> str:
    """What someone noted about the run; empty if nobody did."""
    return run.note()[0]


def annotate(
    run: Run, note: str | None = None, *, tags: Sequence[str] | None = None, pinned: bool | None = None
) -> None:
    """Keep a note, tags and whether it stands first beside the run; None leaves what is there.

    Raises:
        RunError: the run comes with dpo, or the note is too long, or there are too many tags.
        StorageError: it cannot be written.
    """
    _own(run)
    marks = run.marks()
    if note is not None:
        if len(note) > _LONGEST_NOTE:
            raise RunError(f"A note has {_LONGEST_NOTE} letters at most, this one has {len(note)}: shorten it")
        marks["note"] = note.strip()
    if tags is not None:
        marks["tags"] = list(dict.fromkeys(" ".join(tag.split()) for tag in tags if tag.strip()))
        if len(marks["tags"]) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in marks["tags"]):
            raise RunError(f"A run has {MOST_TAGS} tags of {LONGEST_TAG} letters at most: leave some out")
    if pinned is not None:
        marks["pinned"] = pinned
    path, kept = run.path / NOTE, {name: value for name, value in marks.items() if value}
    try:
        if not kept:
            path.unlink(missing_ok=True)
            return
        write_json(path, kept)
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}): check its permissions") from error


def rename(run: Run, name: str) -> None:
    """Give a run another name; its directory stays where it is, so that commands go on working.

    Raises:
        RunError: it is running, comes with dpo, was made by another tool, or the name is no name.
    """
    _own(run)
    name = " ".join(name.split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise RunError(f"A run's name has 1 to {_LONGEST_NAME} letters: give another one")
    if not (run.path / RUN).is_file():
        raise RunError(f"{run.name} is another tool's: bring it in with dpo runs import --name {name!r}")
    if run.state == "running":
        raise RunError(f"{run.name} is running and writes its own record: rename it when it has ended")
    RunRecord(run.path, read_json(run.path / RUN)).update(name=name)


def deletable(run: Run, roots: Sequence[Path]) -> int:
    """Bytes that deleting the run would free.

    Raises:
        RunError: it comes with dpo, runs, was not made by dpo, is a link or lies outside the roots.
    """
    _own(run)
    if run.path.is_symlink():
        raise RunError(f"{run.path} is a link: delete what it points to yourself")
    real = run.path.resolve()
    if not any(root.resolve() in real.parents for root in roots):
        raise RunError(f"{run.path} is not inside {', '.join(map(str, roots))}: delete it yourself if you mean to")
    inside = [other for other in find_runs([real]) if other.path.resolve() != real]
    if inside:
        raise RunError(f"{run.path} holds other runs ({inside[0].name}): delete those first")
    return removable(run.path)


def comes_with_dpo(run: Run) -> bool:
    """Whether a run is one of those that are installed with dpo, which nothing changes."""
    return BUNDLED_RUNS.resolve() in run.path.resolve().parents


def _own(run: Run) -> None:
    if comes_with_dpo(run):
        raise RunError(f"{run.name} comes with dpo and is not changed: use a run of your own")
