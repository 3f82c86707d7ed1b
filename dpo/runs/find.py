"""Which runs there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpo.errors import RunError
from dpo.runs.reader import Run, open_run
from dpo.runs.record import RUN

BUNDLED_RUNS = Path(__file__).resolve().parent.parent / "demo" / "runs"


def find_runs(roots: Sequence[str | Path]) -> list[Run]:
    """Runs in the roots (a root may itself be a run), newest first.

    A run whose `run.json` is damaged is listed with its `problem` instead of being hidden.
    """
    found: dict[Path, Run] = {}
    for root in map(Path, roots):
        if not root.is_dir():
            continue
        for directory in [root, *sorted(path for path in root.iterdir() if path.is_dir())]:
            key = directory.resolve()
            if key in found or directory.name.startswith("."):
                continue
            try:
                found[key] = open_run(directory)
            except RunError as error:
                if (directory / RUN).is_file():
                    found[key] = Run(directory, {"state": "failed"}, str(error))
    return sorted(found.values(), key=lambda run: str(run.info.get("created") or ""), reverse=True)
