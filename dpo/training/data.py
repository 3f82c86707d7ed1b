"""Preference pairs to token ids, batches, and the order in which they are seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler

from dpo.errors import ConfigError, DataError
from dpo.policies.families import Batch, Family, Ids
from dpo.policies.loading import Policy
from dpo.training.config import CommonConfig


@dataclass(frozen=True)
class Limits:
    """Most tokens of a prompt and of a completion (EOS included)."""

    prompt: int
    completion: int
    drop_overlong: bool = False

    @classmethod
    def for_policy(cls, policy: Policy, config: CommonConfig) -> Limits:
        """The configured limits, checked against the policy's context.

        Raises:
            ConfigError: they do not fit into it.
        """
        prompt, completion = config.max_prompt_length, config.max_completion_length
        context = policy.family.context(policy.network.config)
        if context is not None:
            needed = prompt + completion if policy.family.key == "gpt2" else max(prompt, completion)
            if needed > context:
                raise ConfigError(
                    f"--max-prompt-length {prompt} and --max-completion-length {completion} need {needed} tokens, "
                    f"{policy.name} has a context of {context}: lower one of them"
                )
        return cls(prompt, completion, config.overlong == "drop")


def tokenize_pairs(policy: Policy, pairs: Dataset, limits: Limits) -> tuple[Dataset, dict[str, int]]:
    """Columns `prompt_ids`, `chosen_ids`, `rejected_ids`, `length`; and what was cut or dropped.

    A prompt over the limit keeps its end (the last thing said); an answer over the limit keeps its
    beginning and its EOS, or the pair is dropped.

    Raises:
        DataError: nothing is left.
    """
    counts = {"truncated_prompts": 0, "truncated_completions": 0, "dropped_overlong": 0}
    rows: dict[str, list[Any]] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": [], "length": []}
    for start in range(0, len(pairs), 1024):
        chunk = pairs[start : start + 1024]
        prompts, chosen, rejected = encode(policy, chunk["prompt"], chunk["chosen"], chunk["rejected"])
        for question, good, bad in zip(prompts, chosen, rejected, strict=True):
            overlong = max(len(good), len(bad)) > limits.completion
            if overlong and limits.drop_overlong:
                counts["dropped_overlong"] += 1
                continue
            counts["truncated_completions"] += overlong
            counts["truncated_prompts"] += len(question) > limits.prompt
            question, good, bad = question[-limits.prompt :], _cut(good, limits), _cut(bad, limits)
            rows["prompt_ids"].append(question)
            rows["chosen_ids"].append(good)
            rows["rejected_ids"].append(bad)
            rows["length"].append(len(question) + max(len(good), len(bad)))
    if len(pairs) and not rows["length"]:
        raise _nothing_left(len(pairs), limits)
    return Dataset.from_dict(rows), {name: count for name, count in counts.items() if count}


def encode(policy: Policy, prompts: list[str], *answers: list[str]) -> tuple[list[Ids], ...]:
    """Token ids of prompts and of each list of answers, as the policy's family wants them."""
    family, tokenizer = policy.family, policy.tokenizer
    encoded = [family.encode_completions(tokenizer, column) for column in answers]
    return (family.encode_prompts(tokenizer, prompts), *encoded)


def tokenize_answers(
    policy: Policy, pairs: Dataset, sides: Sequence[str], limits: Limits
) -> tuple[Dataset, dict[str, int]]:
    """Columns `prompt_ids`, `completion_ids`, `length`: the named sides of each pair as rows of their own.

    Limits act as in `tokenize_pairs`, but on single answers.

    Raises:
        DataError: nothing is left.
    """
    counts = {"truncated_prompts": 0, "truncated_completions": 0, "dropped_overlong": 0}
    rows: dict[str, list[Any]] = {"prompt_ids": [], "completion_ids": [], "length": []}
    for side in sides:
        prompts, answers = encode(policy, pairs["prompt"][:], pairs[side][:])
        for question, answer in zip(prompts, answers, strict=True):
            if len(answer) > limits.completion and limits.drop_overlong:
                counts["dropped_overlong"] += 1
                continue
            counts["truncated_completions"] += len(answer) > limits.completion
            counts["truncated_prompts"] += len(question) > limits.prompt
            question, answer = question[-limits.prompt :], _cut(answer, limits)
            rows["prompt_ids"].append(question)
            rows["completion_ids"].append(answer)
            rows["length"].append(len(question) + len(answer))
    if len(pairs) and not rows["length"]:
        raise _nothing_left(len(pairs), limits)
    return Dataset.from_dict(rows), {name: count for name, count in counts.items() if count}


@dataclass(frozen=True)
class PairCollator:
    """Rows `[chosen; rejected]`, each prompt once, in the layout of `Family.collate`."""

    family: Family
    pad: int
    start: int | None

    def __call__(self, examples: list[dict[str, Any]]) -> Batch:
        """Batch of `2 * len(examples)` rows."""
        prompts = [example["prompt_ids"] for example in examples]
        completions = [example[side] for side in ("chosen_ids", "rejected_ids") for example in examples]
        return self.family.collate(prompts, completions, self.pad, self.start)


@dataclass(frozen=True)
class AnswerCollator:
    """One row for each answer, in the layout of `Family.collate`."""

    family: Family
    pad: int
    start: int | None

    def __call__(self, examples: list[dict[str, Any]]) -> Batch:
        """Batch of `len(examples)` rows."""
        prompts = [example["prompt_ids"] for example in examples]
        return self.family.collate(prompts, [example["completion_ids"] for example in examples], self.pad, self.start)


class LengthGroupedSampler(Sampler[int]):
    """A seeded order in which rows of one batch have similar lengths (1.4 to 2.1 times less padding).

    Shuffles all rows, sorts chunks of 32 batches by length, and shuffles the batches.  The order
    depends on the seed and the epoch alone, so a resumed run sees what it would have seen.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = list(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; the data loader calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order: list[int] = torch.randperm(len(self.lengths), generator=generator).tolist()
        chunk = 32 * self.batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), chunk):
            ordered = sorted(order[start : start + chunk], key=lambda row: -self.lengths[row])
            batches += [ordered[i : i + self.batch_size] for i in range(0, len(ordered), self.batch_size)]
        # The one short batch stays last: a batch sampler cuts the flat order into equal pieces.
        full = [batch for batch in batches if len(batch) == self.batch_size]
        short = [batch for batch in batches if len(batch) < self.batch_size]
        for index in torch.randperm(len(full), generator=generator).tolist():
            yield from full[index]
        for batch in short:
            yield from batch


def _nothing_left(pairs: int, limits: Limits) -> DataError:
    return DataError(
        f"All {pairs} pairs have an answer over {limits.completion} tokens: raise --max-completion-length "
        "or use --overlong truncate"
    )


def _cut(ids: Ids, limits: Limits) -> Ids:
    return ids if len(ids) <= limits.completion else [*ids[: limits.completion - 1], ids[-1]]
