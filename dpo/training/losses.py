"""TRL's preference losses as functions of one pair's margin, for drawing (numpy only, no torch).

The margin is m = beta * (chosen log-ratio - rejected log-ratio), as it is logged.  Where a loss looks
at the two rewards apart, the margin is taken as made by both alike: chosen +m/2, rejected -m/2.
Where it divides by the answers' lengths, both are taken to have `tokens` tokens.  The formulas are
those of TRL 1.16 (`DPOTrainer._compute_loss`); the papers stand beside each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpo.errors import ConfigError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """What the formulas depend on beside the margin.

    `tokens` is the length of an answer; `label_smoothing` is used where the loss has it.
    """

    beta: float = 0.1
    tokens: float = 100.0
    label_smoothing: float = 0.0
    discopop_tau: float = 0.05


@dataclass(frozen=True)
class Loss:
    """A loss: its name in TRL, its formula, what it is about in one line, and its paper."""

    name: str
    about: str
    paper: str
    value: Callable[[Floats, Shape], Floats]


def curve(name: str, margins: Floats, shape: Shape) -> Floats:
    """Loss at each margin.

    Raises:
        ConfigError: no such loss, or one that does not look at margins (`sft`).
    """
    if name not in LOSSES:
        raise ConfigError(f"{name!r} is no loss of the margin: choose from {', '.join(LOSSES)}")
    with np.errstate(over="ignore"):
        return LOSSES[name].value(np.asarray(margins, dtype=np.float64), shape)


def _softplus(x: Floats) -> Floats:
    """-log sigmoid(-x), without overflow."""
    return np.logaddexp(0.0, x)


def _sigmoid(x: Floats) -> Floats:
    made: Floats = np.exp(-_softplus(-x))
    return made


def _exo(m: Floats, shape: Shape) -> Floats:
    # The paper's value where none is given: at 0 the loss is infinite.
    smoothing = shape.label_smoothing or 1e-3
    q = _sigmoid(m)
    return q * (-_softplus(-m) - np.log1p(-smoothing)) + (1 - q) * (-_softplus(m) - np.log(smoothing))


def _robust(m: Floats, shape: Shape) -> Floats:
    e = shape.label_smoothing
    return ((1 - e) * _softplus(-m) - e * _softplus(m)) / (1 - 2 * e)


def _smoothed(m: Floats, shape: Shape) -> Floats:
    return (1 - shape.label_smoothing) * _softplus(-m) + shape.label_smoothing * _softplus(m)


def _sppo(m: Floats, shape: Shape) -> Floats:
    return ((m / 2 - 0.5) / shape.beta) ** 2 + ((-m / 2 + 0.5) / shape.beta) ** 2


def _discopop(m: Floats, shape: Shape) -> Floats:
    mix = _sigmoid(m / shape.discopop_tau)
    return _softplus(-m) * (1 - mix) + np.exp(-m) * mix


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("sigmoid", "never satisfied: a larger margin always costs a little less", "Rafailov et al. 2023",
             lambda m, s: _softplus(-m)),
        Loss("hinge", "satisfied once the margin is 1", "Zhao et al. 2023 (SLiC)", lambda m, s: np.maximum(0.0, 1 - m)),
        Loss("ipo", "pulls the margin per token to 1 / (2 beta), and back from beyond", "Azar et al. 2023",
             lambda m, s: (m / s.beta / s.tokens - 1 / (2 * s.beta)) ** 2),
        Loss("exo_pair", "reverse KL to the labels, smoothed", "Ji et al. 2024", _exo),
        Loss("nca_pair", "holds the chosen answer's likelihood up", "Chen et al. 2024",
             lambda m, s: _softplus(-m / 2) + 0.5 * _softplus(m / 2) + 0.5 * _softplus(-m / 2)),
        Loss("robust", "unbiased where a share of the labels is wrong", "Chowdhury et al. 2024", _robust),
        Loss("bco_pair", "each answer against the reference by itself", "Jung et al. 2024",
             lambda m, s: 2 * _softplus(-m / 2)),
        Loss("sppo_hard", "a target for each reward: plus and minus one half", "Wu et al. 2024", _sppo),
        Loss("aot", "sorts the batch's margins first; of one pair it is the sigmoid", "Melnyk et al. 2024", _smoothed),
        Loss("aot_unpaired", "sorts chosen and rejected apart; of one pair it is the sigmoid", "Melnyk et al. 2024",
             _smoothed),
        Loss("apo_zero", "chosen up and rejected down, each until it is sure", "D'Oosterlinck et al. 2024",
             lambda m, s: 1 - _sigmoid(m / 2) + _sigmoid(-m / 2)),
        Loss("apo_down", "both down, rejected further", "D'Oosterlinck et al. 2024",
             lambda m, s: _sigmoid(m / 2) + 1 - _sigmoid(m)),
        Loss("discopop", "sigmoid and exponential mixed, found by search", "Lu et al. 2024", _discopop),
        Loss("sigmoid_norm", "the sigmoid of the margin per token", "Meng et al. 2024 (SimPO)",
             lambda m, s: _softplus(-m / s.tokens)),
    )
}  # fmt: skip
