"""From logits to the next token: transformers' filters, and the draw.

What the filters leave is what `generate` of transformers leaves, in its order.  Where few tokens
survive, top-k, top-p and min-p are computed from the likeliest ones alone instead of sorting the
whole vocabulary; the result is the same and the tests hold both against each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from dpo.generation.settings import Sampling

# As many of the likeliest tokens are looked at first; what top-p 0.9 leaves is nearly always fewer.
_LIKELY = 192


def penalties(sampling: Sampling) -> LogitsProcessorList:
    """transformers' processors that look at the tokens so far."""
    processors = LogitsProcessorList()
    if sampling.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty)))
    if sampling.no_repeat_ngram > 0:
        processors.append(NoRepeatNGramLogitsProcessor(int(sampling.no_repeat_ngram)))
    return processors


def filters(sampling: Sampling) -> LogitsProcessorList:
    """transformers' processors that shape the distribution, in the order in which `generate` applies them."""
    processors = LogitsProcessorList()
    if sampling.temperature not in (0.0, 1.0):
        processors.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k > 0:
        processors.append(TopKLogitsWarper(int(sampling.top_k)))
    if sampling.top_p < 1.0:
        processors.append(TopPLogitsWarper(float(sampling.top_p)))
    if sampling.min_p > 0:
        processors.append(MinPLogitsWarper(float(sampling.min_p)))
    return processors


class Chooser:
    """Chooses tokens under one set of settings; made once for an answer."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._penalties = penalties(sampling)
        self._filters = filters(sampling)
        self._truncates = sampling.top_k > 0 or sampling.top_p < 1 or sampling.min_p > 0

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn at random."""
        return self.sampling.temperature == 0

    @property
    def wants_history(self) -> bool:
        """Whether the tokens so far matter."""
        return len(self._penalties) > 0

    def choose(self, logits: Tensor, noise: Tensor | None, history: Sequence[list[int]] | None) -> Tensor:
        """The next token of each row, `(rows,)`.

        Args:
            logits: `(rows, vocabulary)`, float.
            noise: Gumbel variates of the same shape; not needed when greedy.
            history: the tokens so far of each row as `generate` counts them; needed for penalties.
        """
        if self.wants_history:
            assert history is not None
            # Row by row: padding would count as part of the text.
            rows = [
                self._penalties(torch.tensor([ids], device=logits.device), row[None].clone())
                for ids, row in zip(history, logits, strict=True)
            ]
            logits = torch.cat(rows)
        if self.greedy:
            return logits.argmax(-1)
        assert noise is not None
        likely = self.likely(logits)
        if likely is None:
            scores = self._filters(torch.empty(0, dtype=torch.long), logits)
            return (scores + noise).argmax(-1)
        scores, tokens = likely
        best = (scores + noise.gather(1, tokens)).argmax(-1, keepdim=True)
        return tokens.gather(1, best)[:, 0]

    def likely(self, logits: Tensor) -> tuple[Tensor, Tensor] | None:
        """Scores and ids of the tokens that may survive the filters, or None where all must be looked at.

        Dropped ones among them have the score -inf, as with transformers' processors.
        """
        if not self._truncates or self.sampling.top_k > _LIKELY:
            return None
        if self.sampling.temperature != 1.0:
            logits = logits / float(self.sampling.temperature)
        count = min(self.sampling.top_k or _LIKELY, logits.size(-1))
        scores, tokens = logits.topk(count, dim=-1)
        among_all = count < logits.size(-1) and not self.sampling.top_k
        if self.sampling.top_p < 1.0:
            total = (logits if among_all else scores).logsumexp(-1, keepdim=True)
            likelier = (scores - total).exp().cumsum(-1)
            if among_all and bool((likelier[:, -1] < self.sampling.top_p).any()):
                return None
            # A token goes when those before it hold top_p already; the first one always stays.
            gone = likelier[:, :-1] >= self.sampling.top_p
            scores[:, 1:].masked_fill_(gone, -torch.inf)
        elif among_all:
            # min-p alone: it is enough to see as far down as it keeps.
            floor = scores[:, :1] + torch.tensor(self.sampling.min_p).log().to(scores.device)
            if bool((scores[:, -1:] >= floor).any()):
                return None
        if self.sampling.min_p > 0:
            floor = scores[:, :1] + torch.tensor(self.sampling.min_p).log().to(scores.device)
            scores.masked_fill_(scores < floor, -torch.inf)
        return scores, tokens
