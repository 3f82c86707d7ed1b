"""Every preference loss: its formula, its paper, the settings that act on it, where it starts.

The one table of losses.  The settings (`dpo.training.config`), the doctor (`dpo.runs.doctor`), the playground of the
dashboard and docs/losses.md follow from it.  TRL computes the loss of a training, from inside `DPOTrainer`
(`dpo.training.trainer`); the formulas here are what `tests/training/test_losses.py` holds it against, on both families.

The formulas work on NumPy arrays `(..., pairs)`, and this module imports no torch: whoever reads a run needs none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpo.arrays import Floats
from dpo.errors import ConfigError


@dataclass(frozen=True)
class Pairs:
    """What a loss is computed from.

    Attributes:
        policy_chosen, policy_rejected: log-probabilities of the answers under the policy `(..., pairs)`: summed over
            their tokens, in nats.
        reference_chosen, reference_rejected: the same under the frozen reference.
        chosen_tokens, rejected_tokens: lengths of the answers `(..., pairs)`, EOS included.
    """

    policy_chosen: Floats
    policy_rejected: Floats
    reference_chosen: Floats
    reference_rejected: Floats
    chosen_tokens: Floats
    rejected_tokens: Floats

    @property
    def chosen_ratio(self) -> Floats:
        """log pi(y_w|x) - log pi_ref(y_w|x), `(..., pairs)`; times beta it is the chosen answer's reward."""
        return self.policy_chosen - self.reference_chosen

    @property
    def rejected_ratio(self) -> Floats:
        """log pi(y_l|x) - log pi_ref(y_l|x), `(..., pairs)`."""
        return self.policy_rejected - self.reference_rejected


@dataclass(frozen=True)
class Options:
    """The settings that stand in a formula; names and defaults are those of `TrainConfig`."""

    beta: float = 0.1
    label_smoothing: float = 0.0
    f_divergence_type: str = "reverse_kl"
    f_alpha_divergence_coef: float = 0.5
    discopop_tau: float = 0.05


def _log_sigmoid(x: Floats) -> Floats:
    """log(1 / (1 + exp(-x))), without overflow."""
    return -np.logaddexp(0.0, -x)


def _sigmoid(x: Floats) -> Floats:
    value: Floats = np.exp(_log_sigmoid(x))
    return value


def _score(ratio: Floats, options: Options) -> Floats:
    """f'(t) of t = pi / pi_ref, less its value at 1: the log-ratio for the reverse KL divergence.

    Wang et al. 2023 (f-DPO, arXiv 2309.16240), table 1.
    """
    slope = options.f_alpha_divergence_coef - 1
    if options.f_divergence_type == "forward_kl":
        return 1 - np.exp(-ratio)
    if options.f_divergence_type == "js_divergence":
        return math.log(2) + _log_sigmoid(ratio)
    if options.f_divergence_type == "alpha_divergence" and abs(slope) > 1e-6:
        return np.expm1(slope * ratio) / slope
    return ratio


def margin_of(pairs: Pairs, options: Options) -> Floats:
    """beta (score of the chosen answer - score of the rejected one), `(..., pairs)`."""
    return options.beta * (_score(pairs.chosen_ratio, options) - _score(pairs.rejected_ratio, options))


def _margin_per_token(pairs: Pairs, options: Options) -> Floats:
    """The margin of scores that are divided by the answers' lengths, `(..., pairs)`."""
    chosen = _score(pairs.chosen_ratio, options) / pairs.chosen_tokens
    return options.beta * (chosen - _score(pairs.rejected_ratio, options) / pairs.rejected_tokens)


def _rewards(pairs: Pairs, options: Options) -> tuple[Floats, Floats]:
    """beta times the log-ratios, of the chosen and of the rejected answers, each `(..., pairs)`."""
    return options.beta * pairs.chosen_ratio, options.beta * pairs.rejected_ratio


def sigmoid(pairs: Pairs, options: Options) -> Floats:
    """-log sigmoid(margin): Direct Preference Optimization."""
    return -_log_sigmoid(margin_of(pairs, options))


def hinge(pairs: Pairs, options: Options) -> Floats:
    """max(0, 1 - margin)."""
    return np.maximum(0.0, 1 - margin_of(pairs, options))


def ipo(pairs: Pairs, options: Options) -> Floats:
    """(margin per token / beta - 1 / (2 beta))^2.

    The division by the lengths is TRL's, which asked the authors.
    """
    return (_margin_per_token(pairs, options) / options.beta - 1 / (2 * options.beta)) ** 2


def exo_pair(pairs: Pairs, options: Options) -> Floats:
    """KL(softmax of the two rewards || the smoothed label): infinite without smoothing."""
    margin, smoothing = margin_of(pairs, options), options.label_smoothing
    right, wrong = _log_sigmoid(margin), _log_sigmoid(-margin)
    return np.exp(right) * (right - math.log1p(-smoothing)) + np.exp(wrong) * (wrong - math.log(smoothing))


def nca_pair(pairs: Pairs, options: Options) -> Floats:
    """-log sigmoid(r_w) - (log sigmoid(-r_w) + log sigmoid(-r_l)) / 2."""
    chosen, rejected = _rewards(pairs, options)
    return -_log_sigmoid(chosen) - 0.5 * _log_sigmoid(-chosen) - 0.5 * _log_sigmoid(-rejected)


def robust(pairs: Pairs, options: Options) -> Floats:
    """(-(1 - e) log sigmoid(margin) + e log sigmoid(-margin)) / (1 - 2 e) for a share e of flipped labels."""
    margin, flipped = margin_of(pairs, options), options.label_smoothing
    return (-(1 - flipped) * _log_sigmoid(margin) + flipped * _log_sigmoid(-margin)) / (1 - 2 * flipped)


def bco_pair(pairs: Pairs, options: Options) -> Floats:
    """-log sigmoid(r_w) - log sigmoid(-r_l)."""
    chosen, rejected = _rewards(pairs, options)
    return -_log_sigmoid(chosen) - _log_sigmoid(-rejected)


def sppo_hard(pairs: Pairs, options: Options) -> Floats:
    """(log-ratio of y_w - 1 / (2 beta))^2 + (log-ratio of y_l + 1 / (2 beta))^2."""
    target = 0.5 / options.beta
    return (pairs.chosen_ratio - target) ** 2 + (pairs.rejected_ratio + target) ** 2


def _between_quantiles(upper: Floats, lower: Floats, options: Options) -> Floats:
    """The smoothed sigmoid loss between two sides `(..., pairs)`, each sorted by itself."""
    margin = options.beta * (np.sort(upper, axis=-1) - np.sort(lower, axis=-1))
    smoothing = options.label_smoothing
    return -(1 - smoothing) * _log_sigmoid(margin) - smoothing * _log_sigmoid(-margin)


def aot(pairs: Pairs, options: Options) -> Floats:
    """The sigmoid loss between the sorted margins of the policy and the sorted margins of the reference."""
    policy = pairs.policy_chosen - pairs.policy_rejected
    return _between_quantiles(policy, pairs.reference_chosen - pairs.reference_rejected, options)


def aot_unpaired(pairs: Pairs, options: Options) -> Floats:
    """The sigmoid loss between the sorted log-ratios of the chosen and those of the rejected answers."""
    return _between_quantiles(pairs.chosen_ratio, pairs.rejected_ratio, options)


def apo_zero(pairs: Pairs, options: Options) -> Floats:
    """(1 - sigmoid(r_w)) + sigmoid(r_l)."""
    chosen, rejected = _rewards(pairs, options)
    return 1 - _sigmoid(chosen) + _sigmoid(rejected)


def apo_down(pairs: Pairs, options: Options) -> Floats:
    """sigmoid(r_w) + (1 - sigmoid(r_w - r_l))."""
    chosen, rejected = _rewards(pairs, options)
    return _sigmoid(chosen) + 1 - _sigmoid(chosen - rejected)


def discopop(pairs: Pairs, options: Options) -> Floats:
    """-log sigmoid(margin) and exp(-margin), mixed by sigmoid(margin / tau)."""
    margin = margin_of(pairs, options)
    share = _sigmoid(margin / options.discopop_tau)
    return -_log_sigmoid(margin) * (1 - share) + np.exp(-margin) * share


def sft(pairs: Pairs, options: Options) -> Floats:
    """Mean negative log-probability of the chosen answers' tokens, of all pairs together: the same for each pair."""
    total = pairs.chosen_tokens.sum(-1, keepdims=True)
    return np.broadcast_to(-pairs.policy_chosen.sum(-1, keepdims=True) / total, pairs.policy_chosen.shape)


def sigmoid_norm(pairs: Pairs, options: Options) -> Floats:
    """-log sigmoid(margin per token)."""
    return -_log_sigmoid(_margin_per_token(pairs, options))


# Settings of `dpo train` by what they act on.
_ANY = frozenset({"beta", "use_weighting", "ld_alpha", "sync_ref_model"})
_SCORED = _ANY | {"f_divergence_type"}  # the formula looks at f-divergence scores rather than at log-ratios


@dataclass(frozen=True)
class Loss:
    """One loss.

    Attributes:
        formula: from `Pairs` `(..., pairs)` to the loss of each pair `(..., pairs)`, in nats; what is trained on is
            its mean.  Its name is the loss's name in TRL and in `--loss-type`.
        paper: who, when, arXiv number, and the equation where it has a number that TRL names.
        about: what it asks of a pair, in one line.
        settings: those of `TrainConfig` that act on it; any other that is given is refused.
        paper_smoothing: the label smoothing that its paper uses, where the loss is infinite without any; else 0.
        compares_pairs: it sorts the pairs of a batch, which must have two or more.
        has_margin: it looks at rewards, and so at the reference.
    """

    formula: Callable[[Pairs, Options], Floats]
    paper: str
    about: str
    settings: frozenset[str] = _ANY
    paper_smoothing: float = 0.0
    compares_pairs: bool = False
    has_margin: bool = True

    @property
    def name(self) -> str:
        """As `--loss-type` takes it."""
        return self.formula.__name__

    def start(self, options: Options) -> float | None:
        """The loss where policy and reference agree; None for one that does not look at the reference."""
        return float(curve(self, np.zeros(1), options)[0]) if self.has_margin else None


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss(sigmoid, "Rafailov et al. 2023 (DPO), arXiv 2305.18290, equation 7",
             "never satisfied: a larger margin always costs a little less", _SCORED),
        Loss(hinge, "Zhao et al. 2023 (SLiC-HF), arXiv 2305.10425",
             "satisfied once the margin is 1", _SCORED),
        Loss(ipo, "Azar et al. 2023 (IPO), arXiv 2310.12036, equation 17",
             "pulls the margin per token to 1 / (2 beta), and back from beyond", _SCORED),
        Loss(exo_pair, "Ji et al. 2024 (EXO), arXiv 2402.00856, equation 16",
             "reverse KL to the labels, smoothed", _SCORED | {"label_smoothing"}, paper_smoothing=1e-3),
        Loss(nca_pair, "Chen et al. 2024 (NCA), arXiv 2402.05369",
             "holds the chosen answer's likelihood up"),
        Loss(robust, "Chowdhury et al. 2024 (robust DPO), arXiv 2403.00409",
             "unbiased where a share of the labels is wrong", _SCORED | {"label_smoothing"}),
        Loss(bco_pair, "Jung et al. 2024 (BCO), arXiv 2404.04656",
             "each answer against the reference by itself"),
        Loss(sppo_hard, "Wu et al. 2024 (SPPO), arXiv 2405.00675, equation 4.7",
             "a target for each reward: plus and minus one half"),
        Loss(aot, "Melnyk et al. 2024 (AOT), arXiv 2406.05882",
             "sorts the batch's margins first; of one pair it is the sigmoid",
             _ANY - {"use_weighting"} | {"label_smoothing"}, compares_pairs=True),
        Loss(aot_unpaired, "Melnyk et al. 2024 (AOT), arXiv 2406.05882",
             "sorts chosen and rejected apart; of one pair it is the sigmoid",
             _ANY - {"use_weighting"} | {"label_smoothing"}, compares_pairs=True),
        Loss(apo_zero, "D'Oosterlinck et al. 2024 (APO), arXiv 2408.06266, equation 7",
             "chosen up and rejected down, each until it is sure"),
        Loss(apo_down, "D'Oosterlinck et al. 2024 (APO), arXiv 2408.06266, equation 8",
             "both down, rejected further"),
        Loss(discopop, "Lu et al. 2024 (DiscoPOP), arXiv 2406.08414, equation 5",
             "sigmoid and exponential mixed, found by search", _SCORED | {"discopop_tau"}),
        Loss(sft, "the likelihood itself, as a term beside another loss",
             "holds the text together; does not look at the margin", frozenset({"use_weighting"}), has_margin=False),
        Loss(sigmoid_norm, "after Meng et al. 2024 (SimPO), arXiv 2405.14734",
             "the sigmoid of the margin per token", _SCORED),
    )
}  # fmt: skip


def acting(setting: str) -> list[str]:
    """The losses on which a setting acts, by name."""
    return [name for name, loss in LOSSES.items() if setting in loss.settings]


def preference_loss(names: Sequence[str], weights: Sequence[float] | None, pairs: Pairs, options: Options) -> float:
    """The loss of a batch of pairs `(pairs,)`: the weighted sum of the named losses' means, in nats."""
    parts = [float(LOSSES[name].formula(pairs, options).mean()) for name in names]
    return sum(weight * part for weight, part in zip(weights or [1.0] * len(parts), parts, strict=True))


def curve(loss: Loss, margins: Floats, options: Options, tokens: float = 100.0) -> Floats:
    """The loss of single pairs with these margins, `(margins,)` of both, for drawing.

    The margin is beta times the difference of the log-ratios, as it is logged.  Where a loss looks at the two apart,
    each answer has half of it: chosen +m/2, rejected -m/2.  Both answers have `tokens` tokens.  Where a loss is
    infinite without label smoothing, and none is given, its paper's is taken.

    Raises:
        ConfigError: the loss does not look at margins.
    """
    if not loss.has_margin:
        raise ConfigError(f"{loss.name!r} is no loss of the margin: choose from {', '.join(margin_losses())}")
    half = np.asarray(margins, dtype=np.float64)[:, None] / 2 / options.beta  # one pair a row: none is sorted
    zero, length = np.zeros_like(half), np.full_like(half, tokens)
    options = replace(options, label_smoothing=options.label_smoothing or loss.paper_smoothing)
    with np.errstate(over="ignore"):
        return loss.formula(Pairs(half, -half, zero, zero, length, length), options)[:, 0]


def margin_losses() -> list[str]:
    """The losses that look at the margin, by name: the first three are the best known."""
    return [name for name, loss in LOSSES.items() if loss.has_margin]


def starts_at_ln2(names: Sequence[str]) -> bool:
    """Whether a training with these losses starts at ln 2: one sigmoid does, a sum with another term does not."""
    start = LOSSES[names[0]].start(Options()) if len(names) == 1 and names[0] in LOSSES else None
    return start is not None and math.isclose(start, math.log(2))


def page() -> str:
    """The table as Markdown: docs/losses.md."""
    flags = {name: f"`--{name.replace('_', '-')}`" for loss in LOSSES.values() for name in loss.settings}
    lines = [
        "# Losses",
        "",
        "Made by `python -m dpo.losses > docs/losses.md` from [`dpo/losses.py`](../dpo/losses.py), the formulas.",
        "Trained on is the mean over the pairs of a batch; of several losses the sum, weighted by `--loss-weights`.",
        "r_w and r_l are the rewards of the chosen and the rejected answer: beta times log policy - log reference.",
        "The margin is their difference. *Starts at* is the loss where policy and reference agree, at beta 0.1.",
        "",
        "| `--loss-type` | formula | says | starts at | further settings | source |",
        "|---|---|---|---|---|---|",
    ]
    for name, loss in LOSSES.items():
        start = loss.start(Options())
        shown = "its mean token loss" if start is None else "ln 2" if starts_at_ln2([name]) else f"{start:.4g}"
        formula = re.split(r"[.:]( |\n|$)", loss.formula.__doc__ or "")[0].replace("|", "\\|")
        further = ", ".join(flags[setting] for setting in sorted(loss.settings - _ANY))
        lines.append(f"| `{name}` | {formula} | {loss.about} | {shown} | {further} | {loss.paper} |")
    lines += ["", "Settings of nearly every loss:", ""]
    for setting in sorted(_ANY):
        others = [f"`{name}`" for name in LOSSES if name not in acting(setting)]
        lines.append(f"* {flags[setting]} acts on every loss but {', '.join(others)}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
