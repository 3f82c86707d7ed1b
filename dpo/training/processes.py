"""Which of the processes of `torchrun` or `accelerate launch` this one is (no torch needed)."""

from __future__ import annotations

import os


def process_index() -> int:
    """This process's place among those of `accelerate launch` or `torchrun`; 0 when there is one."""
    return int(os.environ.get("RANK", "0"))


def process_count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))
