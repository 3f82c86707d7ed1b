"""Trainings in forked children, killed at a chosen write.

A child of a process that has torch loaded costs milliseconds.  An audit hook counts what touches the disk (opening a
file to write, renaming, removing, making a folder), so that a kill comes at the same moment in every run of the tests.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

_EVENTS = ("shutil.rmtree", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate")


def fork(call: Callable[[], int], log: Path) -> int:
    """What `call` returns, called in a forked child whose output goes to `log`; minus the signal that killed it.

    99 stands for an exception that escaped, as for the trace-back it would be in a terminal.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 99
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        code = call()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def watch_writes(below: Path, each: Callable[[int, str], None]) -> None:
    """Call `each(number, what)` before everything that this process does to files below `below`; for good."""
    count = 0
    root = str(below)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            flags = arguments[2]
            if not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
        elif event not in _EVENTS:
            return
        path = arguments[0]
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        # TensorBoard's and the sensors' files are written by threads of their own, at moments of their own.
        if not name.startswith(root) or "tfevents" in name or name.endswith("hardware.jsonl"):
            return
        count += 1
        each(count, f"{event} {name.removeprefix(root)}")

    sys.addaudithook(hook)


def killed_at(number: int, sign: int, call: Callable[[], int], below: Path) -> Callable[[], int]:
    """`call`, sending itself `sign` at its `number`-th write below `below`."""

    def run() -> int:
        def each(count: int, what: str) -> None:
            if count == number:
                os.kill(os.getpid(), sign)

        watch_writes(below, each)
        return call()

    return run


def writes_of(call: Callable[[], int], below: Path, log: Path) -> list[str]:
    """Every write of `call` below `below`, in order."""

    def run() -> int:
        file = os.open(log.with_suffix(".writes"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        watch_writes(below, lambda count, what: os.write(file, f"{what}\n".encode()) and None)
        return call()

    code = fork(run, log)
    assert code == 0, log.read_text()
    return log.with_suffix(".writes").read_text().splitlines()


def rows(path: Path, without: Sequence[str] = ("time",)) -> list[dict[str, Any]]:
    """The rows of a `.jsonl` file, without what depends on the clock."""
    if not path.exists():
        return []
    return [
        {name: value for name, value in json.loads(line).items() if name not in without}
        for line in path.read_text().splitlines()
    ]


def differences(whole: Path, other: Path) -> list[str]:
    """In what a resumed run differs from one that was never interrupted; the clock aside."""
    found = [name for name in ("metrics.jsonl", "samples.jsonl") if rows(whole / name) != rows(other / name)]
    (weights,) = {path.name for path in (whole / "policy").glob("*model.safetensors")}
    with safe_open(whole / "policy" / weights, "pt") as one, safe_open(other / "policy" / weights, "pt") as two:
        if set(one.keys()) != set(two.keys()) or any(
            not (one.get_tensor(key) == two.get_tensor(key)).all()
            for key in one.keys()  # noqa: SIM118 (not a mapping)
        ):
            found.append("weights")
    infos = [json.loads((run / "run.json").read_text()) for run in (whole, other)]
    for name in ("state", "reason", "best", "step_zero"):
        if infos[0].get(name) != infos[1].get(name):
            found.append(f"{name}: {infos[1].get(name)}, not {infos[0].get(name)}")
    for name in ("step", "max_steps", "examples"):
        if infos[0]["progress"][name] != infos[1]["progress"][name]:
            found.append(f"progress {name}: {infos[1]['progress'][name]}, not {infos[0]['progress'][name]}")
    # A stop adds a checkpoint, so that another gives way.
    ours = [[path.name for path in run.iterdir() if "tfevents" not in path.name] for run in (whole, other)]
    kept = [{name for name in names if not name.startswith("checkpoint-")} for names in ours]
    if kept[0] != kept[1]:
        found.append(f"files: {sorted(kept[0] ^ kept[1])}")
    return found


SIGKILL, SIGINT, SIGTERM, SIGHUP = signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP
