"""Which process a worker of a sweep is, and whether it lives, where that can be asked."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import psutil

from dpo.processes import identity, living


def machine() -> dict[str, Any]:
    """Where a number means the same process: containers and cloned machines may share a host's name."""
    known: dict[str, Any] = {"host": socket.gethostname()}
    with contextlib.suppress(OSError):  # Linux only
        known["booted"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        known["namespace"] = os.stat("/proc/self/ns/pid").st_ino
    return known


def placed(pid: int) -> dict[str, Any]:
    """A process of this machine by place, number and start, since numbers come again."""
    try:
        known = identity(pid)
    except psutil.Error:  # it has ended already
        known = {"pid": pid, "born": 0.0, "boot": 0.0}
    return machine() | known


def is_here(worker: dict[str, Any]) -> bool:
    """Whether its process can be asked after from here; what an earlier version wrote has the host's name alone."""
    here = machine()
    return {name: worker.get(name, here[name]) for name in here} == here


def lives(known: dict[str, Any] | None) -> bool:
    """Whether that process of this machine still runs; False for None."""
    if not known:
        return False
    return living(known["pid"], known.get("born", known.get("started")), known.get("boot")) is not None
