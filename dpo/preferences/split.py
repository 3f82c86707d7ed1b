"""The held-out split: by a hash of the prompt, never by row.

Human-Like DPO repeats prompts; a split by row would put one prompt on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from dpo.arrays import Flags

SALT = "dpo-held-out-1"
HALF_SALT = "dpo-half-1"


def is_held_out(prompt: str, fraction: float, salt: str = SALT) -> bool:
    """Whether a prompt belongs to the held-out side; the same answer on every machine, for ever."""
    return position(prompt, salt) < fraction * 2**64


def position(prompt: str, salt: str = SALT) -> int:
    """Where a prompt lies between 0 and 2**64; those below `fraction` of the way are held out."""
    digest = hashlib.sha256(f"{salt}\0{prompt}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def half_of(prompt: str) -> int:
    """Which half of the training prompts a prompt belongs to, 1 or 2; whether it is held out is another question."""
    return 1 if position(prompt, HALF_SALT) < 2**63 else 2


def held_out_of(positions: Sequence[int], fraction: float) -> Flags:
    """Which prompts of a data set are held out, by their `position`: as `is_held_out` has it, but with
    few prompts at least one on each side, the first held out and the last for training.

    >>> held_out_of([2**62, 2**61, 2**63, 2**61], 0.05).tolist()
    [False, True, False, True]
    """
    at = np.array(positions, np.uint64)
    held_out = np.array([value < fraction * 2**64 for value in positions], bool)
    if fraction > 0 and len(at) and at.min() < at.max():
        if not held_out.any():
            held_out = at == at.min()
        elif held_out.all():
            held_out = at != at.max()
    return held_out
