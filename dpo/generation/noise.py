"""Common random numbers: the random numbers of a draw depend on seed, prompt, position and token only.

A token is drawn by the Gumbel-max trick, as the highest of `log p + g`.  Two policies that see the
same `g` differ in their answers only because their weights differ, and a row's text does not depend
on what is generated beside it, on the pane, or on when it was started.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


class Noise:
    """Gumbel noise of one answer.

    Args:
        seed, prompt: what everybody who draws for this answer shares.
        salt: the policy's name where policies should not share their random numbers.

    The numbers are made on the CPU, so that they are the same on every device, and anew from the
    position, so that vocabularies of different lengths agree in the tokens that both have.
    """

    def __init__(self, seed: int, prompt: str, salt: str = "") -> None:
        self._digest = hashlib.sha256(f"{seed}\0{prompt}\0{salt}".encode("utf-8", "surrogatepass"))
        self._generator = torch.Generator()

    def at(self, position: int, tokens: int) -> Tensor:
        """`(tokens,)` standard Gumbel variates for the answer's token number `position` (from 0)."""
        digest = self._digest.copy()
        digest.update(position.to_bytes(4, "big"))
        self._generator.manual_seed(int.from_bytes(digest.digest()[:8], "big") >> 1)
        # -log of an exponential variate is a Gumbel variate.
        return torch.empty(tokens).exponential_(generator=self._generator).log_().neg_()
