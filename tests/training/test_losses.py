"""Every loss against its paper's formula, written out here with numbers, for both families.

The reference's log-probabilities are chosen so that the log-ratios log(pi/pi_ref) are known: CHOSEN
and REJECTED below.  What is left of each loss is then a few lines of plain arithmetic.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ids import id_rows
from tiny import tiny
from torch.nn import functional as F
from trainers import FAMILIES

from dpo.losses import LOSSES, Options, Pairs, preference_loss
from dpo.training.config import TrainConfig
from dpo.training.settings import make
from dpo.training.trainer import PreferenceTrainer
from dpo.training.trainer_arguments import trl_arguments

BETA = 0.5
# log-ratios of two pairs
CHOSEN, REJECTED = (0.8, -0.3), (-0.6, 0.4)
# tokens of the answers, EOS included (id_rows below); TRL counts them by the completion mask
CHOSEN_LENGTHS, REJECTED_LENGTHS = (3, 5), (4, 2)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def mean(loss: Callable[[float, float], float]) -> float:
    return sum(loss(c, r) for c, r in zip(CHOSEN, REJECTED, strict=True)) / 2


def per_token() -> list[tuple[float, float]]:
    chosen = [c / n for c, n in zip(CHOSEN, CHOSEN_LENGTHS, strict=True)]
    rejected = [r / n for r, n in zip(REJECTED, REJECTED_LENGTHS, strict=True)]
    return list(zip(chosen, rejected, strict=True))


def exo(c: float, r: float, e: float = 0.1) -> float:
    """EXO-pref, Ji et al. 2024, eq. 16: KL(softmax of the rewards || the smoothed label)."""
    p = sigmoid(BETA * (c - r))
    return p * math.log(p / (1 - e)) + (1 - p) * math.log((1 - p) / e)


def robust(c: float, r: float, e: float = 0.1) -> float:
    """Chowdhury et al. 2024, eq. 9: unbiased under a share e of flipped labels."""
    m = BETA * (c - r)
    return (-(1 - e) * log_sigmoid(m) + e * log_sigmoid(-m)) / (1 - 2 * e)


def discopop(c: float, r: float, tau: float = 0.05) -> float:
    """Lu et al. 2024, eq. 5: a blend of the logistic and the exponential loss."""
    m = BETA * (c - r)
    share = sigmoid(m / tau)
    return -log_sigmoid(m) * (1 - share) + math.exp(-m) * share


def sorted_sides(chosen: list[float], rejected: list[float], e: float = 0.0) -> float:
    """AOT, Melnyk et al. 2024: the logistic loss between quantiles."""
    deltas = [BETA * (c - r) for c, r in zip(sorted(chosen), sorted(rejected), strict=True)]
    return sum(-(1 - e) * log_sigmoid(d) - e * log_sigmoid(-d) for d in deltas) / len(deltas)


# loss -> (settings, value); what needs the policy's own log-probabilities is tested apart
BY_HAND: dict[str, tuple[dict[str, Any], float]] = {
    "sigmoid": ({}, mean(lambda c, r: -log_sigmoid(BETA * (c - r)))),
    "hinge": ({}, mean(lambda c, r: max(0.0, 1 - BETA * (c - r)))),
    "ipo": ({}, sum((c - r - 1 / (2 * BETA)) ** 2 for c, r in per_token()) / 2),
    "exo_pair": ({"label_smoothing": 0.1}, mean(exo)),
    "nca_pair": (
        {},
        mean(lambda c, r: -log_sigmoid(BETA * c) - 0.5 * log_sigmoid(-BETA * c) - 0.5 * log_sigmoid(-BETA * r)),
    ),
    "robust": ({"label_smoothing": 0.1}, mean(robust)),
    "bco_pair": ({}, mean(lambda c, r: -log_sigmoid(BETA * c) - log_sigmoid(-BETA * r))),
    "sppo_hard": ({}, mean(lambda c, r: (c - 0.5 / BETA) ** 2 + (r + 0.5 / BETA) ** 2)),
    "aot_unpaired": ({}, sorted_sides(list(CHOSEN), list(REJECTED))),
    "apo_zero": ({}, mean(lambda c, r: 1 - sigmoid(BETA * c) + sigmoid(BETA * r))),
    "apo_down": ({}, mean(lambda c, r: sigmoid(BETA * c) + 1 - sigmoid(BETA * (c - r)))),
    "discopop": ({}, mean(discopop)),
    "sigmoid_norm": ({}, sum(-log_sigmoid(BETA * (c - r)) for c, r in per_token()) / 2),
}
VARIANTS: dict[str, tuple[dict[str, Any], float]] = {
    # f-DPO, Wang et al. 2023, table 1: f'(t) of t = pi/pi_ref in place of log t
    "forward_kl": (
        {"f_divergence_type": "forward_kl"}, mean(lambda c, r: -log_sigmoid(BETA * (math.exp(-r) - math.exp(-c)))),
    ),
    "js_divergence": (
        {"f_divergence_type": "js_divergence"},
        mean(lambda c, r: -log_sigmoid(BETA * (log_sigmoid(c) - log_sigmoid(r)))),
    ),
    "alpha_divergence": (
        {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.25},
        mean(lambda c, r: -log_sigmoid(BETA * (math.exp(-0.75 * c) - math.exp(-0.75 * r)) / -0.75)),
    ),
    "smoothed aot_unpaired": (
        {"loss_type": ["aot_unpaired"], "label_smoothing": 0.2}, sorted_sides(list(CHOSEN), list(REJECTED), 0.2),
    ),
    "two losses": (
        {"loss_type": ["sigmoid", "hinge"], "loss_weights": [0.25, 2.0]},
        mean(lambda c, r: -0.25 * log_sigmoid(BETA * (c - r)) + 2 * max(0.0, 1 - BETA * (c - r))),
    ),
    "discopop, other tau": (
        {"loss_type": ["discopop"], "discopop_tau": 0.5}, mean(lambda c, r: discopop(c, r, 0.5)),
    ),
}  # fmt: skip


def trainer_of(family: str, path: Path, **settings: Any) -> tuple[PreferenceTrainer, Any]:
    policy = tiny(family)
    if settings.get("f_divergence_type") != "alpha_divergence":  # which TRL computes in single precision at most
        policy.network.double()
    config = make(TrainConfig, {"beta": BETA, "batch_size": 2, "device": "cpu", "learning_rate": 1e-3} | settings)
    rows = id_rows(CHOSEN_LENGTHS, REJECTED_LENGTHS)
    args = trl_arguments(config, str(path), "fp32", False, False)
    trainer = PreferenceTrainer(policy, copy.deepcopy(policy.network), args, rows, None)
    return trainer, trainer._prepare_inputs(trainer.data_collator(list(rows)))


def loss_with_known_ratios(family: str, path: Path, **settings: Any) -> tuple[float, torch.Tensor, Any, Any]:
    """The trainer's loss, the policy's per-token log-probabilities `(4, length)`, their mask, the inputs."""
    trainer, inputs = trainer_of(family, path, **settings)
    with torch.no_grad():
        own = trainer._summed(trainer._scored(inputs), inputs)
        ratios = torch.tensor([CHOSEN, REJECTED], dtype=own.dtype).t()
        reference = own - ratios.repeat(1, 2)
        loss = trainer._loss_against(reference, inputs)
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        given = {k: v for k, v in inputs.items() if k not in ("completion_mask", "rows", "pair_keys")}
        tokens = trainer.model(**given, labels=labels, fused_lm_head=True)
    return float(loss), tokens.log_probs, tokens, inputs


def from_the_table(logps: torch.Tensor, **settings: Any) -> float:
    """The loss of `dpo.losses`, with log-probabilities `(4, length)` of the policy and the known log-ratios."""
    (chosen, rejected), ratios = logps.double().sum(1).numpy().reshape(2, 2), np.array([CHOSEN, REJECTED])
    lengths = np.array([CHOSEN_LENGTHS, REJECTED_LENGTHS], dtype=float)
    pairs = Pairs(chosen, rejected, chosen - ratios[0], rejected - ratios[1], *lengths)
    known = {spec.name for spec in dataclasses.fields(Options)}
    options = Options(**{"beta": BETA} | {name: value for name, value in settings.items() if name in known})
    return preference_loss(settings.get("loss_type", ["sigmoid"]), settings.get("loss_weights"), pairs, options)


def test_every_loss_is_tested() -> None:
    assert {*BY_HAND, "aot", "sft"} == set(LOSSES)


@pytest.mark.parametrize("loss", BY_HAND)
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_has_the_value_of_its_paper(family: str, loss: str, tmp_path: Path) -> None:
    settings, expected = BY_HAND[loss]
    measured, logps, *_ = loss_with_known_ratios(family, tmp_path, loss_type=[loss], **settings)
    assert measured == pytest.approx(expected, rel=1e-6)
    assert from_the_table(logps, loss_type=[loss], **settings) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_options_have_the_value_of_their_paper(family: str, variant: str, tmp_path: Path) -> None:
    settings, expected = VARIANTS[variant]
    measured, logps, *_ = loss_with_known_ratios(family, tmp_path, **settings)
    assert measured == pytest.approx(expected, rel=1e-4 if "f_alpha_divergence_coef" in settings else 1e-6)
    assert from_the_table(logps, **settings) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_aot_sorts_the_margins_of_policy_and_reference(family: str, tmp_path: Path) -> None:
    measured, logps, *_ = loss_with_known_ratios(family, tmp_path, loss_type=["aot"])
    chosen, rejected = logps.sum(1).chunk(2)
    own = (chosen - rejected).tolist()
    reference = [m - (c - r) for m, c, r in zip(own, CHOSEN, REJECTED, strict=True)]
    assert measured == pytest.approx(sorted_sides(own, reference), rel=1e-6)
    assert from_the_table(logps, loss_type=["aot"]) == pytest.approx(measured, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_sft_is_the_mean_token_loss_of_the_chosen_answers(family: str, tmp_path: Path) -> None:
    measured, logps, *_ = loss_with_known_ratios(family, tmp_path, loss_type=["sft"])
    assert measured == pytest.approx(-float(logps[:2].sum()) / sum(CHOSEN_LENGTHS), rel=1e-6)
    assert from_the_table(logps, loss_type=["sft"]) == pytest.approx(measured, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_wpo_weighs_a_pair_by_its_probability(family: str, tmp_path: Path) -> None:
    """Zhou et al. 2024, eq. 2 with the aligned weights: exp(mean(log p - log sum p^2)) of both answers."""
    measured, logps, tokens, inputs = loss_with_known_ratios(family, tmp_path, use_weighting=True)
    mask = inputs["completion_mask"][:, 1:]
    weights = torch.exp(((logps - tokens.log_sum_sq_probs) * mask).sum(1) / mask.sum(1)).tolist()
    expected = sum(
        -log_sigmoid(BETA * (CHOSEN[i] - REJECTED[i])) * weights[i] * weights[i + 2] for i in range(2)
    ) / 2  # fmt: skip
    assert measured == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_length_desensitised_tails_count_less(family: str, tmp_path: Path) -> None:
    """Liu et al. 2024 (LD-DPO), eq. 9: log-probabilities beyond the shared length count alpha."""
    trainer, inputs = trainer_of(family, tmp_path, ld_alpha=0.3)
    with torch.no_grad():
        own = trainer._summed(trainer._scored(inputs), inputs)
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        given = {k: v for k, v in inputs.items() if k not in ("completion_mask", "rows", "pair_keys")}
        scored = trainer.model(**given, labels=labels, fused_lm_head=True)
        zero = torch.zeros_like(own)
        loss = float(trainer._loss_against(zero, inputs))
    weighted = []
    lengths, others = CHOSEN_LENGTHS + REJECTED_LENGTHS, REJECTED_LENGTHS + CHOSEN_LENGTHS
    for row, (mine, other) in enumerate(zip(lengths, others, strict=True)):
        tokens = scored.log_probs[row][scored.label_mask[row]].tolist()
        assert len(tokens) == mine
        shared = min(mine, other)
        weighted.append(sum(tokens[:shared]) + 0.3 * sum(tokens[shared:]))
    assert own[:, :2].t().flatten().tolist() == pytest.approx(weighted, rel=1e-6)
    margins = torch.tensor([weighted[0] - weighted[2], weighted[1] - weighted[3]])
    assert loss == pytest.approx(float(-F.logsigmoid(BETA * margins).mean()), rel=1e-5)
