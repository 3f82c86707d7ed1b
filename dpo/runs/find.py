"""Which runs there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dpo.errors import RunError
from dpo.runs.foreign import EVENTS, event_files, newest_state
from dpo.runs.reader import Run, open_run
from dpo.runs.record import RUN

BUNDLED_RUNS = Path(__file__).resolve().parent.parent / "demo" / "runs"
_DEPTH = 3  # logs/<project>/<run>/ is as deep as people nest them


def find_runs(roots: Sequence[str | Path]) -> list[Run]:
    """Runs in the roots (a root may itself be a run), newest first.

    A folder that is no run is looked into, down to three levels.  A run whose `run.json` is damaged
    is listed with its `problem` instead of being hidden.
    """
    found: dict[Path, Run] = {}
    for root in map(Path, roots):
        if root.is_dir():
            for directory in _directories(root):
                key = directory.resolve()
                if key not in found:
                    found[key] = _open(directory)
    return sorted(found.values(), key=lambda run: str(run.info.get("created") or ""), reverse=True)


def find_run(name: str, roots: Sequence[str | Path]) -> Run:
    """The run called `name` (or its folder) in the roots, or the one in the directory `name`.

    Raises:
        RunError: there is none, or its record is damaged.
    """
    if Path(name).is_dir():
        return open_run(name)
    runs = find_runs(roots)
    for run in runs:
        if name in (run.name, run.path.name):
            if run.problem:
                raise RunError(run.problem)
            return run
    known = ", ".join(run.name for run in runs[:6]) or "none yet"
    raise RunError(f"No run {name!r} in {', '.join(map(str, roots))}: there are {known}")


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
    itself = (root / RUN).is_file() or newest_state(root) is not None or any(root.glob(EVENTS))
    if itself:
        yield root
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        try:
            children = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError:
            continue
        for child in children:
            if child.name.startswith("checkpoint-"):
                continue
            if (child / RUN).is_file() or (not itself and _is_run(child)):
                yield child
            elif not itself and depth + 1 < _DEPTH:
                pending.append((child, depth + 1))


def _is_run(directory: Path) -> bool:
    return newest_state(directory) is not None or bool(event_files(directory))


def _open(directory: Path) -> Run:
    try:
        return open_run(directory)
    except RunError as error:
        return Run(directory, {"state": "failed"}, str(error))
