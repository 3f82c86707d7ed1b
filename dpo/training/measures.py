"""What is logged of pairs and answers: means over all of them, however they came in batches.

TRL logs the plain mean of its batches' means, which is not the mean over the pairs where the last
batch is shorter: 20 of 25 pairs in batches of 16 and 9 can come out as 0.77.  Here every pair counts
once (every token once, for the measures of tokens), over batches, accumulation and processes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo.policies.ranking import ranked_right
from dpo.policies.scoring import ScoredOutput


class Remembered:
    """Calls a model and keeps what it returned last."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.output: ScoredOutput | None = None

    def __call__(self, **inputs: Any) -> ScoredOutput:
        output: ScoredOutput = self.model(**inputs)
        self.output = output
        return output


def pair_table(output: ScoredOutput | None, logps: Tensor, reference: Tensor, beta: float) -> Tensor:
    """`(pairs, 6, 2)`: reward, log-probability (nats), tokens, and the sums over tokens of entropy, mean logit
    and top-1 hits, each of the chosen and of the rejected answer.

    Args:
        output: the scored batch `[chosen; rejected]`, with details.
        logps, reference: summed log-probabilities `(pairs, 2)` of both sides.
    """
    assert output is not None and output.label_mask is not None and output.entropy is not None
    assert output.mean_logits is not None and output.is_top1 is not None
    mask = output.label_mask
    counted = [mask, *((values * mask) for values in (output.entropy, output.mean_logits, output.is_top1))]
    sums = [torch.stack(values.sum(1).chunk(2), 1) for values in counted]
    columns = [beta * (logps - reference), logps, *sums]
    return torch.stack([column.to(logps.dtype) for column in columns], 1)


class PairMeasures:
    """The measures of the pairs that came since the last `clear`, under TRL's names.

    Args:
        beta: the one that rewards were made with.
        once: count each row of the data once, however often it comes: with several processes the
            sampler fills the last batch up with rows from the start.
    """

    def __init__(self, beta: float, once: bool) -> None:
        self.beta, self.once = beta, once
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.pairs, self._right = 0, 0.0
        self._sums = np.zeros((6, 2))
        self._seen: set[int] = set()

    def add(self, rows: Tensor, table: Tensor) -> None:
        """Count pairs: their places in the data `(pairs,)` and what `pair_table` says of them."""
        for row, values in zip(rows.tolist(), table.cpu().double().numpy(), strict=True):
            if self.once:
                if row in self._seen:
                    continue
                self._seen.add(row)
            self.pairs += 1
            self._sums += values
            self._right += ranked_right(values[0, 0] - values[0, 1], self.beta)

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to hold to go on counting (`once` is for evaluations, which are never cut in two)."""
        return {"pairs": self.pairs, "right": self._right, "sums": self._sums.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.pairs, self._right, self._sums = state["pairs"], state["right"], np.array(state["sums"])

    def means(self) -> dict[str, float]:
        """The mean of every measure; nothing of no pairs."""
        if not self.pairs:
            return {}
        (good, bad), logps, tokens, entropies, logits, top1 = self._sums.tolist()
        tokens = [max(count, 1.0) for count in tokens]
        return {
            "rewards/chosen": good / self.pairs,
            "rewards/rejected": bad / self.pairs,
            "rewards/margins": (good - bad) / self.pairs,
            "rewards/accuracies": self._right / self.pairs,
            "logps/chosen": logps[0] / self.pairs,
            "logps/rejected": logps[1] / self.pairs,
            "logits/chosen": logits[0] / tokens[0],
            "logits/rejected": logits[1] / tokens[1],
            "entropy": sum(entropies) / sum(tokens),
            "mean_token_accuracy": top1[0] / tokens[0],
        }


class AnswerLoss:
    """Mean negative log-probability (nats) over the tokens of all answers, each row of the data once."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._seen: dict[int, tuple[float, float]] = {}

    def add(self, rows: Tensor, table: Tensor) -> None:
        """Count answers: their places in the data `(rows,)`, and `(rows, 2)`: log-probability and tokens."""
        for row, (logp, tokens) in zip(rows.tolist(), table.tolist(), strict=True):
            self._seen.setdefault(row, (logp, tokens))

    def mean(self) -> float:
        """The loss over all of them."""
        logps, tokens = zip(*self._seen.values(), strict=True)
        return -math.fsum(logps) / max(sum(tokens), 1.0)
