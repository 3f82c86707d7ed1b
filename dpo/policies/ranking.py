"""When a pair counts as ranked right: one rule for the trainer, `dpo score` and the Lens (no torch here)."""

from __future__ import annotations

TIE_NATS = 1e-4
"""Log-ratios of two answers that differ by less are equal: single precision rounds a sum of some
hundred log-probabilities by as much, and the sign of what is left says nothing."""


def ranked_right(margin: float, beta: float) -> float:
    """1 where a reward margin ranks the pair as people did, 0 where it does not, 0.5 for a tie.

    The mean over pairs is the reward accuracy: a policy equal to its reference has 0.5, as a coin has.

    >>> ranked_right(0.2, beta=0.1), ranked_right(-0.2, beta=0.1), ranked_right(0.0, beta=0.1)
    (1.0, 0.0, 0.5)
    """
    if abs(margin) < beta * TIE_NATS:
        return 0.5
    return float(margin > 0)
