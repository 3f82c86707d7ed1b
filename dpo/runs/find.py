"""Which runs there are."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from dpo.errors import RunError
from dpo.runs.files import Identity, identity, one_line, whole_characters
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
_NUMBER = re.compile(" #")
_log = logging.getLogger(__name__)


KnownRuns = dict[str, tuple[Identity, Run]]


def find_runs(roots: Sequence[str | Path], known: KnownRuns | None = None) -> list[Run]:
    """Runs in the roots (a root may itself be a run), newest first.

    A folder that is no run is looked into, down to three levels.  A run whose record cannot be read
    is listed as damaged with its `problem`, and hides no other one.

    Args:
        known: what an earlier call found; a record that is still the same is not read again.
    """
    found: dict[str, Run] = {}
    before = {} if known is None else dict(known)
    still: KnownRuns = {}
    for root in map(Path, roots):
        if root.is_dir():
            for directory, real in _directories(root):
                if real not in found:
                    found[real] = _open_anew(directory, before, still)
    if known is not None:
        known.clear()
        known.update(still)
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
    own = Counter(run.name for run in runs)
    made: list[str] = []
    given: Counter[str] = Counter()  # how often each name was given, with a number or without
    for run in runs:
        name = run.name
        if own[name] > 1:
            name = f"{name} ({run.path.parent.name}/{run.path.name})"
        count = given[name]
        name = f"{name} #{count + 1}" if count else name
        given.update([name, *(name[: mark.start()] for mark in _NUMBER.finditer(name))])
        made.append(name)
    return made


def _directories(root: Path) -> Iterator[tuple[str, str]]:
    """What may be runs, each with where it really lies."""
    # A folder named `runs` below a root of runs is not the log folder of a Trainer: only files of its own count.
    itself = os.path.lexists(root / RUN) or newest_state(root) is not None or any(root.glob(EVENTS))
    here = os.fspath(root)
    if itself:
        yield here, os.path.realpath(here)
    pending, seen = [(here, 0)], 0
    while pending and seen < _MOST_FOLDERS:
        folder, depth = pending.pop()
        for child, real in _children(folder):
            seen += 1
            if os.path.basename(child).startswith("checkpoint-"):
                continue
            if os.path.lexists(f"{child}/{RUN}") or (not itself and _is_run(Path(child))):
                yield child, real
            elif not itself and depth + 1 < _DEPTH:
                pending.append((child, depth + 1))


def _children(folder: str) -> list[tuple[str, str]]:
    """The folders within and where they really lie, without hidden ones and links that lead back to where they lie."""
    made, real = [], os.path.realpath(folder)
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry) for entry in entries if not entry.name.startswith("."))
    except OSError:
        return []
    for name, entry in found:
        path = os.path.join(folder, name)
        if not entry.is_symlink():
            if entry.is_dir():
                made.append((path, os.path.join(real, name)))
        elif os.path.isdir(path) and not _leads_back(path):  # of a link to itself `entry.is_dir()` would raise
            made.append((path, os.path.realpath(path)))
    return made


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


def _open_anew(path: str, before: KnownRuns, still: KnownRuns) -> Run:
    """The run in a directory, from its record as it was `before` where that is still the same."""
    now = identity(f"{path}/{RUN}")
    old = before.get(path)
    if now is None or old is None or old[0] != now:
        run = _open(Path(path))
    else:
        run = Run(old[1].path, dict(old[1].info), old[1].problem)
    if now is not None and not run.damaged:  # what is damaged may be only locked or half written
        still[path] = now, Run(run.path, run.info, run.problem)
    return run


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
