"""Which runs there are."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpo.errors import RunError
from dpo.runs.files import one_line, whole_characters
from dpo.runs.foreign import EVENTS, event_files, newest_state
from dpo.runs.reader import Run, open_run
from dpo.runs.record import RUN

BUNDLED_RUNS = Path(__file__).resolve().parent.parent / "demo" / "runs"
_DEPTH = 3  # logs/<project>/<run>/ is as deep as people nest them
_MOST_FOLDERS = 20_000  # looked into below a root; more is no directory of runs
# What a run of another tool has in its directory, or the folders of TensorBoard's own.
_MAY_BE_A_RUN = re.compile(
    r"tfevents|^checkpoint-|^trainer_state\.json$|^(train|eval|validation|runs|logs|tensorboard|tb_logs)$"
)
_log = logging.getLogger(__name__)


def find_runs(roots: Sequence[str | Path]) -> list[Run]:
    """Runs in the roots (a root may itself be a run), newest first.

    A folder that is no run is looked into, down to three levels.  A run whose record cannot be read
    is listed as damaged with its `problem`, and hides no other one.
    """
    found: dict[str, Run] = {}
    for root in map(Path, roots):
        if root.is_dir():
            for directory in _directories(root):
                key = os.path.realpath(directory)
                if key not in found:
                    found[key] = _open(directory)
    return sorted(found.values(), key=lambda run: str(run.info.get("created") or ""), reverse=True)


def find_run(name: str, roots: Sequence[str | Path]) -> Run:
    """The run called `name` (or its folder) in the roots, or the one in or below the directory `name`.

    Raises:
        RunError: there is none, there are several, or its record is damaged.
    """
    if Path(name).is_dir():
        below = runs_of(Path(name))
        if len(below) > 1:
            known = ", ".join(str(run.path) for run in below[:6])
            raise RunError(f"{name} holds {len(below)} runs: name one of them, {known}")
        return below[0]
    runs = find_runs(roots)
    for run in runs:
        if name in (run.name, run.path.name):
            if run.damaged:
                raise RunError(run.problem or f"{run.path} cannot be read: restore it or remove it")
            return run
    known = ", ".join(run.name for run in runs[:6]) or "none yet"
    raise RunError(f"No run {name!r} in {', '.join(map(str, roots))}: there are {known}")


def runs_of(directory: Path) -> list[Run]:
    """The run that a directory is; else those below it, as a Trainer keeps them in `runs/DATE_HOST/`, oldest first.

    Raises:
        RunError: there is none, or its record cannot be read.
    """
    try:
        return [open_run(directory)]
    except RunError:
        below = [run for run in find_runs([directory]) if run.path != directory]
        if not below or (directory / RUN).exists():
            raise
    return sorted(below, key=lambda run: str(run.path))


def names(runs: Sequence[Run]) -> list[str]:
    """A name for each run; runs of one name get their folder's name added, then a number."""
    made: list[str] = []
    for run in runs:
        name = run.name
        if sum(other.name == name for other in runs) > 1:
            name = f"{name} ({run.path.parent.name}/{run.path.name})"
        count = sum(other == name or other.startswith(f"{name} #") for other in made)
        made.append(f"{name} #{count + 1}" if count else name)
    return made


def _directories(root: Path) -> Iterator[Path]:
    # A folder named `runs` below a root of runs is not the log folder of a Trainer: only files of its own count.
    itself = os.path.lexists(root / RUN) or newest_state(root) is not None or any(root.glob(EVENTS))
    if itself:
        yield root
    pending, seen = [(root, 0)], 0
    while pending and seen < _MOST_FOLDERS:
        folder, depth = pending.pop()
        for child in _children(folder):
            seen += 1
            if child.name.startswith("checkpoint-"):
                continue
            if os.path.lexists(child / RUN) or (not itself and _is_run(child)):
                yield child
            elif not itself and depth + 1 < _DEPTH:
                pending.append((child, depth + 1))


def _children(folder: Path) -> list[Path]:
    """The folders within, without hidden ones and without links that lead back to where they lie."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in found]
    # Of a link to itself `entry.is_dir()` would raise.
    return [Path(path) for path in paths if os.path.isdir(path) and not (os.path.islink(path) and _leads_back(path))]


def _leads_back(link: str) -> bool:
    here, target = os.path.realpath(os.path.dirname(link)), os.path.realpath(link)
    return os.path.commonpath([here, target]) == target


def _is_run(directory: Path) -> bool:
    try:
        # Most folders hold nothing of the kind: one look at the names instead of a dozen at the disk.
        if not any(map(_MAY_BE_A_RUN.search, os.listdir(directory))):
            return False
        return newest_state(directory) is not None or bool(event_files(directory))
    except OSError:  # it went away, or may not be read
        return False


def _open(directory: Path) -> Run:
    shown = whole_characters(str(directory))
    if shown != str(directory):  # no page, no file of JSON and no address can name it
        problem = f"{one_line(shown)} has a name that is not UTF-8: rename the folder"
        return Run(Path(shown), {"state": "damaged", "name": one_line(Path(shown).name)}, problem)
    try:
        return open_run(directory)
    except RunError as error:
        problem = str(error)
    except Exception as error:  # one bad directory must not hide the others: the last net, whatever the hole is
        _log.exception("%s cannot be read", directory)
        problem = f"{one_line(shown)} cannot be read ({type(error).__name__}): the server's log says more"
    return Run(directory, {"state": "damaged"}, problem)
