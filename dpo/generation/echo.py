"""Scores of a text's own tokens, as `echo` with `logprobs` asks for them in OpenAI's completions.

A text is scored as it stands: nothing is put around it.  A decoder-only model gives each token its log-probability
after those before it; the first has none.  An encoder-decoder model reads one part and scores another: its
end-of-sequence token stands between the two (`Do you like tea?</s>I do!`), the last one that something follows.
What the encoder reads has no log-probability, and the token between has 0: it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dpo.errors import PromptError
from dpo.generation.detokenizer import Writer
from dpo.policies.families import Ids
from dpo.policies.loading import Policy
from dpo.policies.positions import check_length, positions_of, token_text
from dpo.policies.text import encode_texts

_ROWS = 16  # texts in a batch


@dataclass(frozen=True)
class TextScore:
    """The tokens of a text; `ends` says that the token which was asked for after it is the end-of-sequence token.

    `logps` are in nats and None where there is none; `top` are the likeliest tokens of each position.
    """

    text: str
    tokens: list[str]
    logps: list[float | None]
    top: list[dict[str, float] | None] | None
    offsets: list[int]
    ends: bool

    def choice(self) -> dict[str, Any]:
        """As a choice of OpenAI's completions, without its index."""
        logprobs = {"tokens": self.tokens, "token_logprobs": self.logps, "text_offset": self.offsets}
        finish = "stop" if self.ends else "length"
        return {"text": self.text, "logprobs": logprobs | {"top_logprobs": self.top}, "finish_reason": finish}


@torch.no_grad()
def score_texts(
    policy: Policy, texts: Sequence[str | Sequence[int]], likeliest: int, following: bool
) -> list[TextScore]:
    """Score each text, given as text or as token ids.

    In a text, the words of the end-of-sequence token stand for it; no other special token is read out of it.

    Args:
        likeliest: tokens of each position that are wanted beside the one that stands there, at most 5.
        following: also the likeliest token after each text.

    Raises:
        PromptError: a text is blank, too long, has ids that are no tokens, or does not say what an encoder reads.
    """
    rows = [_Row.of(policy, _ids(policy, text), following) for text in texts]
    made: dict[int, TextScore] = {}
    order = sorted(range(len(rows)), key=lambda place: len(rows[place].ids))
    for start in range(0, len(order), _ROWS):
        places = order[start : start + _ROWS]
        for place, score in zip(places, _scored(policy, [rows[place] for place in places], likeliest), strict=True):
            made[place] = score
    return [made[place] for place in range(len(rows))]


@dataclass(frozen=True)
class _Row:
    """A text's tokens: `given` of them are read, the others scored; `asked` is what is fed to be scored.

    Where the following token is wanted, or nothing else is there to score, `asked` has one token more at its end:
    what stands there does not matter, only what the model would have said.
    """

    ids: Ids
    given: int
    asked: Ids
    following: bool

    @classmethod
    def of(cls, policy: Policy, ids: Ids, following: bool) -> _Row:
        given = _after_separator(policy, ids) if policy.family.has_encoder else 1
        asked = ids[given:]
        if following or not asked:
            asked = [*asked, policy.eos_token_id]
        check_length(policy, ids[:given], asked)
        return cls(ids, given, asked, following)


def check_tokens(policy: Policy, ids: Sequence[int]) -> None:
    """Refuse ids that are no tokens.

    Raises:
        PromptError: with the first that is none.
    """
    size = len(policy.tokenizer)
    wrong = next((token for token in ids if not 0 <= token < size), None)
    if wrong is not None:
        raise PromptError(
            f"Token {wrong} is not in the vocabulary of {policy.name} (0 to {size - 1}): use its tokenizer"
        )


def _ids(policy: Policy, text: str | Sequence[int]) -> Ids:
    if not isinstance(text, str):
        check_tokens(policy, text)
        ids = list(text)
    else:
        parts = encode_texts(policy.tokenizer, text.split(str(policy.tokenizer.eos_token)))
        ids = parts[0]
        for part in parts[1:]:
            ids = [*ids, policy.eos_token_id, *part]
    if not ids:
        raise PromptError("A text is empty: there is nothing to score")
    return ids


def _after_separator(policy: Policy, ids: Ids) -> int:
    """How many tokens the encoder reads, the separating one among them."""
    end = policy.eos_token_id
    for place in range(len(ids) - 2, -1, -1):
        if ids[place] == end:
            return place + 1
    word = policy.tokenizer.eos_token
    raise PromptError(
        f"{policy.name} is an encoder-decoder model: put {word} between what it reads and the text that is scored, "
        f"as in 'Do you like tea?{word}I do!'"
    )


def _scored(policy: Policy, rows: Sequence[_Row], likeliest: int) -> list[TextScore]:
    family = policy.family.unshared
    batch = family.collate(
        [row.ids[: row.given] for row in rows], [row.asked for row in rows], policy.pad_token_id, policy.decoder_start
    )
    batch = {name: value.to(policy.device) for name, value in batch.items()}
    found = positions_of(policy, batch, batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100))
    made, start = [], 0
    for row in rows:
        part = found.rows(slice(start, start + len(row.asked)))
        start += len(row.asked)
        columns = (part.log_probs, part.ranks, part.top_ids, part.top_logps)
        made.append(_text_score(policy, row, likeliest, *(column.tolist() for column in columns)))
    return made


def _text_score(
    policy: Policy, row: _Row, likeliest: int, logps: Any, ranks: Any, top_ids: Any, top_logps: Any
) -> TextScore:
    """What was found at the `asked` positions of a row, beside what has no number of its own."""

    def shown(token: int) -> str:
        return token_text(policy.tokenizer, token)

    separated = policy.family.has_encoder  # the separator is given: certain
    ids = list(row.ids)
    values: list[float | None] = [None] * (row.given - separated) + [0.0] * separated
    tops: list[dict[str, float] | None] = [
        None if value is None else {shown(token): value} for token, value in zip(ids, values, strict=False)
    ]
    count = len(row.ids) - row.given
    for place in range(count + row.following):
        best, best_value = top_ids[place], top_logps[place]
        if place == count:  # what follows is the likeliest
            ids.append(best[0])
        token, value = ids[row.given + place], best_value[0] if place == count else logps[place]
        others = dict(zip(best[:likeliest], best_value[:likeliest], strict=True))
        others.pop(token, None)
        if place == count or ranks[place] == 1:
            # No other is above it, to the last digit: readers compare the two to see whether it is the likeliest.
            others = {other: min(number, value) for other, number in others.items()}
        values.append(value)
        tops.append({shown(token): value} | {shown(other): number for other, number in others.items()})
    text, offsets = _placed(policy, ids, len(row.ids))
    ends = row.following and ids[-1] == policy.eos_token_id
    return TextScore(text, [shown(token) for token in ids], values, tops if likeliest else None, offsets, ends)


def _placed(policy: Policy, ids: Ids, given: int) -> tuple[str, list[int]]:
    """The text of all tokens, and where each begins in it; of special tokens those that were `given` are written."""
    special = frozenset(policy.tokenizer.all_special_ids)
    writer, before, offsets = Writer(policy), "", []
    for place, token in enumerate(ids):
        offsets.append(len(before) + len(writer.text))
        if token not in special:
            writer.push(token)
        elif place < given:
            writer.finish()
            before, writer = before + writer.text + token_text(policy.tokenizer, token), Writer(policy)
    writer.finish()
    return before + writer.text, offsets
