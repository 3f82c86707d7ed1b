"""What answers are made of: pieces of a stream, and whole answers.  This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

End = Literal["eos", "length", "cancelled", "stop"]
"""By its end-of-sequence token, at the limit, on a viewer's wish, or at a stop text."""


@dataclass(frozen=True)
class Piece:
    """What a stream yields: new text (possibly none yet), tokens so far, and in the last one the end.

    `place` (of the policy among those that were asked) and `sample` say whose it is.  `log_ratio` is
    log pi(token) - log pi_ref(token) in nats of the token just written, where it was asked for: times beta it is
    the token's share of the DPO reward.  `token` is its id, None in the last piece.
    """

    text: str
    tokens: int
    end: End | None = None
    place: int = 0
    sample: int = 0
    log_ratio: float | None = None
    token: int | None = None


@dataclass(frozen=True)
class Generation:
    """A whole answer; `tokens` counts EOS too, `seconds` is the time of its batch."""

    text: str
    tokens: int
    end: End
    seconds: float
