"""Who asks, and what a request may name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flask import request

from dpo.generation.spec import ArmSpec, permitted

VIEWER = "dpo_viewer"  # the cookie


@dataclass(frozen=True)
class Reach:
    """What a request may name: runs in these directories, and these remote servers."""

    roots: tuple[Path, ...] = ()
    remotes: tuple[str, ...] = ()

    def check(self, arm: ArmSpec) -> ArmSpec:
        """The arm itself, if it may be asked for.

        Raises:
            ConfigError: it is elsewhere.
        """
        for name in filter(None, (arm.policy, arm.reference)):
            permitted(name, list(self.roots), self.remotes)
        return arm


def viewer() -> str:
    """Who asks, for taking turns: a browser by its cookie, a program by its address."""
    return request.cookies.get(VIEWER) or request.remote_addr or ""
