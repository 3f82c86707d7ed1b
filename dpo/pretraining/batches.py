"""Documents to batches without waste: packed rows for GPT-2, rows grouped by length for T5.

Half of the documents, drawn anew each time they are seen, are learned whole, the other half turn by
turn (what was asked, what was answered):

* GPT-2 reads a stream: documents one after the other, each closed by EOS, cut into rows of equal length.
* T5 reads the turns up to some turn in the encoder and learns the rest, or the next turn, in the
  decoder.  A text of one turn is cut between two words.

Batches come in pools.  A pool is made from the next documents of a shuffled pass and cut into a fixed
number of batches of about equal size, so any batch can be made again from its number alone, which is
what a resume needs.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from dpo.policies.families import Family, Ids
from dpo.policies.loading import Policy
from dpo.policies.text import encode_texts
from dpo.pretraining.documents import Document

POOL = 32  # batches of a pool
Row = tuple[str, str]  # what is read, what is learned; nothing is read where a text is learned whole
_SAMPLE = 400  # documents measured to learn how many tokens one has
_PADDING = 1.06  # of T5's rows: about what grouping by length leaves


@dataclass(frozen=True)
class Lengths:
    """Tokens of a batch, of a row, and of the encoder's part of a row (T5)."""

    batch: int
    row: int
    prompt: int


class PretrainingBatches(Dataset[dict[str, Tensor]]):
    """`steps` batches of about `lengths.batch` tokens; item `i` is the batch of update `i`.

    A batch has the keys that `Family.collate` makes, `tokens`: how many are not padding, and `rows`: its number.
    """

    def __init__(self, policy: Policy, documents: Sequence[Document], lengths: Lengths, steps: int, seed: int) -> None:
        self.policy, self.documents, self.lengths, self.steps, self.seed = policy, documents, lengths, steps, seed
        per_document = self._tokens_per_document()
        self.per_pool = max(1, round(POOL * lengths.batch / per_document))
        self._pool: tuple[int, list[dict[str, Tensor]]] | None = None

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, place = divmod(index, POOL)
        if self._pool is None or self._pool[0] != number:
            self._pool = number, self._make_pool(number)
        return self._pool[1][place] | {"rows": torch.tensor([index])}

    @property
    def documents_per_step(self) -> float:
        """Documents of one update, in the mean."""
        return self.per_pool / POOL

    @property
    def passes(self) -> float:
        """How often each document is seen over all steps."""
        return self.steps * self.documents_per_step / len(self.documents)

    def _make_pool(self, number: int) -> list[dict[str, Tensor]]:
        generator = random.Random(f"{self.seed}-{number}")
        rows = [row for document in self._drawn(number) for row in rows_of(document, self.policy.family, generator)]
        return self._grouped(rows, generator) if self.policy.family.has_encoder else self._packed(rows, generator)

    def _drawn(self, number: int) -> list[Document]:
        """The documents of a pool: the next ones of an endless sequence of shuffled passes."""
        count, total = self.per_pool, len(self.documents)
        first = number * count
        chosen: list[Document] = []
        while count > 0:
            turn, place = divmod(first, total)
            order = list(range(total))
            random.Random(f"{self.seed}-pass-{turn}").shuffle(order)
            taken = order[place : place + count]
            chosen += [self.documents[i] for i in taken]
            first, count = first + len(taken), count - len(taken)
        return chosen

    def _packed(self, rows: list[Row], generator: random.Random) -> list[dict[str, Tensor]]:
        stream: Ids = []
        for ids in encode_rows(self.policy.tokenizer, [target for _, target in rows]):
            stream += ids
        length = self.lengths.row
        cut = [stream[start : start + length] for start in range(0, len(stream) - length + 1, length)]
        generator.shuffle(cut)
        # Where the text is shorter than a pool its rows are seen again.
        cut = cut or [(stream * length)[:length]]
        return [self._packed_batch(cut[i::POOL] or cut[:1]) for i in range(POOL)]

    def _packed_batch(self, rows: list[Ids]) -> dict[str, Tensor]:
        ids = torch.tensor(rows)
        every = torch.ones_like(ids)
        seen = torch.tensor(ids.numel())
        return {"input_ids": ids, "attention_mask": every, "completion_mask": every, "tokens": seen}

    def _grouped(self, rows: list[Row], generator: random.Random) -> list[dict[str, Tensor]]:
        tokenizer, lengths = self.policy.tokenizer, self.lengths
        prompts = [ids[-lengths.prompt :] for ids in encode_rows(tokenizer, [read for read, _ in rows])]
        answers = [ids[: lengths.row] for ids in encode_rows(tokenizer, [target for _, target in rows])]
        order = sorted(range(len(rows)), key=lambda i: (-(-len(answers[i]) // 16), len(prompts[i])))
        cuts = _equal_parts([len(prompts[i]) + len(answers[i]) for i in order], POOL)
        batches = []
        for first, last in cuts:
            chosen = order[first:last] or order[-1:]
            batch = self.policy.family.collate(
                [prompts[i] for i in chosen], [answers[i] for i in chosen], self.policy.pad_token_id,
                self.policy.decoder_start,
            )  # fmt: skip
            batch["tokens"] = torch.tensor(sum(len(prompts[i]) + len(answers[i]) for i in chosen))
            batches.append(batch)
        generator.shuffle(batches)
        return batches

    def _tokens_per_document(self) -> float:
        generator = random.Random(self.seed)
        sample = generator.sample(list(self.documents), min(_SAMPLE, len(self.documents)))
        rows = [row for document in sample for row in rows_of(document, self.policy.family, generator)]
        targets = encode_rows(self.policy.tokenizer, [target for _, target in rows])
        if not self.policy.family.has_encoder:
            return sum(map(len, targets)) / len(sample)
        total = sum(min(self.lengths.row, len(ids)) for ids in targets)
        prompts = encode_rows(self.policy.tokenizer, [read for read, _ in rows])
        total += sum(min(self.lengths.prompt, len(ids)) for ids in prompts)
        return _PADDING * total / len(sample)


def rows_of(document: Document, family: Family, generator: random.Random) -> list[Row]:
    """What is read and what is learned of one document this time (see above)."""
    causal = not family.has_encoder
    if len(document) == 1:
        return [("", document[0])] if causal else [split_text(document[0], generator.random())]
    if generator.random() < 0.5:
        first = generator.randrange(2)
        pairs = [(document[i], document[i + 1]) for i in range(first, len(document) - 1, 2)]
        if pairs:
            return [("", "\n".join(pair)) for pair in pairs] if causal else pairs
    if causal:
        return [("", "\n".join(document))]
    place = generator.randrange(1, len(document))
    return [("\n".join(document[:place]), "\n".join(document[place:]))]


def split_text(text: str, share: float) -> Row:
    """A text cut in two at the blank nearest to `share` of its length; texts without one are learned whole."""
    place = text.find(" ", int(share * len(text)))
    return (text[:place], text[place + 1 :]) if place > 0 else ("", text)


def encode_rows(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Ids]:
    """Token ids of each text, closed by EOS."""
    end: Any = tokenizer.eos_token_id
    return [[*ids, end] for ids in encode_texts(tokenizer, texts)]


def _equal_parts(sizes: Sequence[int], parts: int) -> list[tuple[int, int]]:
    """Places `(first, last)` that cut `sizes` into `parts` runs of about equal sums."""
    total, cuts, seen, part = sum(sizes), [0], 0, 1
    for place, size in enumerate(sizes):
        seen += size
        while part < parts and seen >= total * part / parts:
            cuts.append(place + 1)
            part += 1
    cuts += [len(sizes)] * (parts + 1 - len(cuts))
    return list(itertools.pairwise(cuts))
