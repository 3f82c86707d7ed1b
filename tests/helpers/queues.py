"""A queue of trainings: jobs put into it as the page does, and waiting for what its worker brings about."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dpo.training.jobs import Jobs


def until(holds: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Wait for a condition that another process brings about."""
    ends = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.05)
    return found


def put(queue: Jobs, ident: str, argv: list[str], run: Path) -> Path:
    """A job as `submit` writes it, for any command of ours."""
    folder = queue.directory / ident
    folder.mkdir(parents=True)
    asked = {"arguments": argv, "line": "dpo", "run": str(run), "created": 1.0, "resumes": False, "cwd": os.getcwd()}
    (folder / "job.json").write_text(json.dumps(asked), encoding="utf-8")
    return folder


def worker_lock_held(queue: Jobs) -> bool:
    try:
        with FileLock(queue.directory / ".worker.lock", timeout=0):
            return False
    except Timeout:
        return True
