"""How well a policy predicts text it never saw, in bits per byte: comparable between tokenizers and families."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dpo.policies.loading import Policy
from dpo.policies.scoring import score
from dpo.pretraining.batches import Row
from dpo.pretraining.documents import Document

_READ, _LEARNED = 400, 500  # characters of what is read and what is predicted


def continuations(documents: Sequence[Document], count: int) -> list[Row]:
    """The second halves of the first `count` documents after their first halves, the same every time."""
    rows = []
    for document in documents[:count]:
        if len(document) > 1:
            middle = len(document) // 2
            read, rest = "\n".join(document[:middle]), "\n".join(document[middle:])
        else:
            middle = document[0].find(" ", len(document[0]) // 2)
            read, rest = document[0][:middle], document[0][middle + 1 :]
        read, rest = read[-_READ:].lstrip(), rest[:_LEARNED]
        if read and rest.strip():
            rows.append((read, rest))
    return rows


def bits_per_byte(policy: Policy, rows: Sequence[Row], batch_size: int = 16) -> tuple[float, float]:
    """Bits per byte and nats per token of what follows in `rows`, given what is read.

    Bits per byte is `-sum log2 p(token) / bytes of the text in UTF-8`; the end of the text is not counted, since
    the texts are cut.
    """
    scored = score(policy, [read for read, _ in rows], [text for _, text in rows], batch_size=batch_size)
    nats = -sum(sum(values[:-1]) for values in scored)
    tokens = sum(len(values) - 1 for values in scored)
    return nats / math.log(2) / sum(len(text.encode()) for _, text in rows), nats / max(1, tokens)
