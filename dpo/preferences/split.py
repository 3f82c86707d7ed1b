"""The held-out split: by a hash of the prompt, never by row.

Human-Like DPO repeats prompts; a split by row would put one prompt on both sides.
"""

from __future__ import annotations

import hashlib

SALT = "dpo-held-out-1"


def is_held_out(prompt: str, fraction: float, salt: str = SALT) -> bool:
    """Whether a prompt belongs to the held-out side; the same answer on every machine, for ever."""
    digest = hashlib.sha256(f"{salt}\0{prompt}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64
