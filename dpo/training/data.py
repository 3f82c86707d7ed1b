"""Preference pairs to token ids, batches, and the order in which they are seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Features, List, Value, concatenate_datasets
from datasets.arrow_writer import ArrowWriter
from torch.utils.data import Sampler
from tqdm import tqdm

from dpo.counting import counted
from dpo.errors import DataError
from dpo.policies.families import Batch, Family, Ids, Prompt, prompt_of
from dpo.policies.loading import Policy
from dpo.training.config import CommonConfig
from dpo.training.reference import pair_key

_CHUNK = 1024
_IN_MEMORY = 50_000  # pairs: about 200 MB of token ids


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
        config.check_context(policy.name, policy.family.facts, policy.family.context(policy.network.config))
        return cls(config.max_prompt_length, config.max_completion_length, config.overlong == "drop")


def tokenize_pairs(
    policy: Policy, pairs: Dataset, limits: Limits, scratch: Path | None = None
) -> tuple[Dataset, dict[str, int]]:
    """Columns `prompt_ids`, `chosen_ids`, `rejected_ids`, `length`, `row`; and what was cut or dropped.

    A prompt over the limit keeps its end (the last thing said); an answer over the limit keeps its
    beginning and its EOS, or the pair is dropped.  `row` is the pair's place in `pairs`.

    Args:
        scratch: a directory for large sets, which are then read from disk as they are needed.

    Raises:
        DataError: nothing is left.
    """
    return _tokenize(policy, pairs, {"chosen_ids": "chosen", "rejected_ids": "rejected"}, limits, scratch)


def encode(policy: Policy, prompts: list[Prompt], *answers: list[str]) -> tuple[list[Ids], ...]:
    """Token ids of prompts and of each list of answers, as the policy's family wants them."""
    family, tokenizer = policy.family, policy.tokenizer
    encoded = [family.encode_completions(tokenizer, column) for column in answers]
    return (family.encode_prompts(tokenizer, prompts), *encoded)


def tokenize_answers(
    policy: Policy, pairs: Dataset, sides: Sequence[str], limits: Limits, scratch: Path | None = None
) -> tuple[Dataset, dict[str, int]]:
    """Columns `prompt_ids`, `completion_ids`, `length`, `row`: the named sides of each pair as rows of their own.

    Limits act as in `tokenize_pairs`, but on single answers.

    Raises:
        DataError: nothing is left.
    """
    parts = [_tokenize(policy, pairs, {"completion_ids": side}, limits, scratch) for side in sides]
    counts: Counter[str] = Counter()
    for _, count in parts:
        counts.update(count)
    return concatenate_datasets([part for part, _ in parts]), dict(counts)


def _tokenize(
    policy: Policy, pairs: Dataset, answers: dict[str, str], limits: Limits, scratch: Path | None
) -> tuple[Dataset, dict[str, int]]:
    counts = Counter({"truncated_prompts": 0, "truncated_completions": 0, "dropped_overlong": 0})

    def chunks() -> Iterator[dict[str, list[Any]]]:
        for start in tqdm(
            range(0, len(pairs), _CHUNK), desc="tokenising", unit="k pairs", disable=len(pairs) < 8 * _CHUNK
        ):
            chunk = pairs[start : start + _CHUNK]
            turns = chunk.get("messages") or [None] * len(chunk["prompt"])
            prompts = [
                prompt_of(policy.tokenizer, {"prompt": text, "messages": messages})
                for text, messages in zip(chunk["prompt"], turns, strict=True)
            ]
            rows: dict[str, list[Any]] = {name: [] for name in ("prompt_ids", *answers, "length", "row")}
            encoded = encode(policy, prompts, *(chunk[side] for side in answers.values()))
            for offset, (question, *replies) in enumerate(zip(*encoded, strict=True)):
                overlong = max(map(len, replies)) > limits.completion
                if overlong and limits.drop_overlong:
                    counts["dropped_overlong"] += 1
                    continue
                counts["truncated_completions"] += overlong
                counts["truncated_prompts"] += len(question) > limits.prompt
                question = question[-limits.prompt :]
                replies = [_cut(reply, limits) for reply in replies]
                rows["prompt_ids"].append(question)
                for name, reply in zip(answers, replies, strict=True):
                    rows[name].append(reply)
                rows["length"].append(len(question) + max(map(len, replies)))
                rows["row"].append(start + offset)
            yield rows

    ids = List(Value("int32"))
    features = Features(
        {"prompt_ids": ids, **dict.fromkeys(answers, ids), "length": Value("int32"), "row": Value("int64")}
    )
    tokenized = _stored(chunks(), features, len(pairs), scratch)
    if len(pairs) and not len(tokenized):
        raise _nothing_left(len(pairs), limits)
    return tokenized, {name: count for name, count in counts.items() if count}


def _stored(chunks: Iterator[dict[str, list[Any]]], features: Features, rows: int, scratch: Path | None) -> Dataset:
    """The chunks as one dataset: in memory if it is small, else in a file that is read as needed."""
    if scratch is None or rows <= _IN_MEMORY:
        columns: dict[str, list[Any]] = {name: [] for name in features}
        for chunk in chunks:
            for name, values in chunk.items():
                columns[name] += values
        return Dataset.from_dict(columns, features=features)
    path = scratch / f"{len(list(scratch.iterdir()))}.arrow"
    with ArrowWriter(path=str(path), features=features) as writer:
        for chunk in chunks:
            writer.write_batch(chunk)
        writer.finalize()
    return Dataset.from_file(str(path))


@dataclass(frozen=True)
class PairCollator:
    """Rows `[chosen; rejected]`, each prompt once, in the layout of `Family.collate`.

    Beside the model's inputs: `rows` `(pairs,)`, places in the data, and `pair_keys` `(pairs,)`, hashes
    by which the reference's log-probabilities are found again.
    """

    family: Family
    pad: int
    start: int | None

    def __call__(self, examples: list[dict[str, Any]]) -> Batch:
        """Batch of `2 * len(examples)` rows."""
        prompts = [example["prompt_ids"] for example in examples]
        sides = ("chosen_ids", "rejected_ids")
        completions = [example[side] for side in sides for example in examples]
        keys = [pair_key(example["prompt_ids"], *(example[side] for side in sides)) for example in examples]
        about = {"rows": torch.tensor([example["row"] for example in examples]), "pair_keys": torch.tensor(keys)}
        return self.family.collate(prompts, completions, self.pad, self.start) | about


@dataclass(frozen=True)
class AnswerCollator:
    """One row for each answer, in the layout of `Family.collate`, and `rows`, places in the data."""

    family: Family
    pad: int
    start: int | None

    def __call__(self, examples: list[dict[str, Any]]) -> Batch:
        """Batch of `len(examples)` rows."""
        prompts = [example["prompt_ids"] for example in examples]
        completions = [example["completion_ids"] for example in examples]
        about = {"rows": torch.tensor([example["row"] for example in examples])}
        return self.family.collate(prompts, completions, self.pad, self.start) | about


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


def count_rows(held_out: Dataset | dict[str, Dataset] | None) -> int:
    """Rows that are evaluated: what the limits dropped is not among them."""
    if isinstance(held_out, dict):
        return sum(map(len, held_out.values()))
    return len(held_out) if held_out is not None else 0


def _nothing_left(pairs: int, limits: Limits) -> DataError:
    return DataError(
        f"Each answer of {counted(pairs, 'pair')} is over {limits.completion} tokens: raise --max-completion-length "
        "or use --overlong truncate"
    )


def _cut(ids: Ids, limits: Limits) -> Ids:
    return ids if len(ids) <= limits.completion else [*ids[: limits.completion - 1], ids[-1]]
