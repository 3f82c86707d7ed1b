"""Tokenised pairs made of ids alone, so that no tokenizer's training stands between a test and its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from datasets import Dataset


def id_rows(chosen: Sequence[int], rejected: Sequence[int], prompt: int = 9, seed: int = 0, size: int = 250) -> Dataset:
    """One pair for each length in `chosen` and `rejected` (EOS included); prompts of `prompt` tokens."""
    generator = torch.Generator().manual_seed(seed)

    def ids(length: int) -> list[int]:
        return torch.randint(5, size, (length,), generator=generator).tolist()

    rows = [
        {
            "prompt_ids": ids(prompt),
            "chosen_ids": [*ids(good - 1), 1],
            "rejected_ids": [*ids(bad - 1), 1],
            "length": prompt + max(good, bad),
            "row": index,
        }
        for index, (good, bad) in enumerate(zip(chosen, rejected, strict=True))
    ]
    return Dataset.from_list(rows)
