"""What a policy says at each position of a text: the token that stands there, and what else could.

The Lens and the scores of `/v1/completions` both read it; log-probabilities are those of the one scoring
function (`dpo.policies.logps.token_logps`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from dpo.errors import PromptError
from dpo.policies.families import Batch, Ids, output_head
from dpo.policies.loading import Policy
from dpo.policies.logps import token_logps

MOST_TOKENS = 2048
"""Of a prompt or a text where the model itself has no limit: attention takes memory by their square."""
TOP = 5
_ROWS = 128  # positions whose logits are held at once


@dataclass(frozen=True)
class Positions:
    """What one model says at each position: `(positions,)`, the tops `(positions, 5)`.

    Log-probabilities are in nats, ranks start at 1.
    """

    log_probs: Tensor
    ranks: Tensor
    top_ids: Tensor
    top_logps: Tensor
    of_likeliest: Tensor
    """Rank of the likeliest token, of this model's own or of those that were given."""

    def rows(self, rows: slice) -> Positions:
        """Some of the positions."""
        return Positions(
            self.log_probs[rows], self.ranks[rows], self.top_ids[rows], self.top_logps[rows], self.of_likeliest[rows]
        )


def positions_of(
    policy: Policy, batch: Batch, labels: Tensor, likeliest: Tensor | None = None, vocabulary: int | None = None
) -> Positions:
    """The positions of `labels` (`(rows, length)`) that are not -100, row after row.

    Args:
        batch: what `Family.collate` returned, on the policy's device.
        likeliest: `(positions,)`, tokens whose rank is wanted, in place of the model's own likeliest.
        vocabulary: how many ids are tokens; rows of padding beyond them are none.
    """
    targets = labels[:, 1:]
    mask = targets != -100
    states = policy.family.completion_states(policy.network, batch)[mask]
    targets = targets[mask]
    weight, bias = output_head(policy.network)
    log_probs = token_logps(states, weight, targets, bias).log_probs
    parts = []
    for start in range(0, len(targets), _ROWS):
        block = slice(start, start + _ROWS)
        wanted = None if likeliest is None else likeliest[block]
        size = len(policy.tokenizer) if vocabulary is None else vocabulary
        parts.append(_details(states[block], weight, bias, targets[block], wanted, size))
    ranks, top_ids, top_logps, of_likeliest = (torch.cat(column) for column in zip(*parts, strict=True))
    return Positions(log_probs, ranks, top_ids, top_logps, of_likeliest)


def check_length(policy: Policy, question: Ids, answer: Ids) -> None:
    """Refuse what does not fit into the policy's context.

    Raises:
        PromptError: in one line, with the numbers.
    """
    context = policy.family.context(policy.network.config)
    needed = policy.family.facts.positions(len(question), len(answer))
    if context is None and needed > MOST_TOKENS:
        raise PromptError(f"A text has {needed} tokens: {MOST_TOKENS} at most are read, shorten it")
    if context is not None and needed > context:
        raise PromptError(f"Prompt and text have {needed} tokens and {policy.name} reads {context}: shorten the text")


def token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """A token by itself: its text where it has one, else its name in the vocabulary."""
    name = str(tokenizer.convert_ids_to_tokens(token))
    text = tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    text = text if isinstance(text, str) else name
    # SentencePiece drops the blank before a first word; the vocabulary's name still has it.
    if name.startswith("▁") and not text.startswith(" "):
        text = " " + text
    return name if "\ufffd" in text or not text else text


def _details(
    states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, likeliest: Tensor | None, vocabulary: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ranks of the targets, the likeliest tokens with their log-probabilities, ranks of `likeliest`."""
    logits = (states.to(weight.dtype) @ weight.t()).float()
    if bias is not None:
        logits += bias.reshape(-1)
    total = logits.logsumexp(-1, keepdim=True)
    real = logits[:, :vocabulary]  # rows of padding beyond the tokenizer's length are no tokens
    top = real.topk(min(TOP, vocabulary), -1)

    def rank(ids: Tensor) -> Tensor:
        return (real > logits.gather(1, ids[:, None])).sum(1) + 1

    wanted = top.indices[:, 0] if likeliest is None else likeliest
    return rank(targets), top.indices, top.values - total, rank(wanted)
