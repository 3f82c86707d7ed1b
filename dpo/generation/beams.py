"""Beam search, by transformers: an answer is known only when the search ends, so it can't stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from dpo.generation.settings import Sampling
from dpo.policies.caches import cached, empty_cache
from dpo.policies.characters import WholeCharacters
from dpo.policies.families import Ids
from dpo.policies.loading import Policy


class _Cancelled(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self.cancelled, self.met = cancelled, False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self.met = self.met or self.cancelled()
        return torch.full((input_ids.size(0),), self.met, dtype=torch.bool, device=input_ids.device)


def whole_characters(policy: Policy, start: int) -> LogitsProcessorList:
    """For `generate`: tokens of which no character can come are not drawn; `start` is where answers begin."""
    characters = policy.characters
    return LogitsProcessorList([] if characters is None else [WholeCharacters(characters, start)])


def search(policy: Policy, ids: Ids, sampling: Sampling, cancelled: Callable[[], bool]) -> tuple[Ids, bool]:
    """The best answer of `sampling.beams` beams to a prompt's tokens, EOS included if it has one; was it cancelled?"""
    config = GenerationConfig(
        num_beams=sampling.beams, do_sample=False, early_stopping=True,
        max_new_tokens=min(sampling.max_new_tokens, policy.max_new_tokens(ids)),
        repetition_penalty=float(sampling.repetition_penalty), no_repeat_ngram_size=sampling.no_repeat_ngram,
        eos_token_id=policy.eos_token_id, pad_token_id=policy.pad_token_id,
        decoder_start_token_id=policy.decoder_start,
    )  # fmt: skip
    seq2seq = policy.family.has_encoder
    rows = torch.tensor([ids], device=policy.device)
    stop = _Cancelled(cancelled)
    with torch.inference_mode():
        found = policy.model.generate(  # type: ignore[operator]
            input_ids=rows, attention_mask=torch.ones_like(rows), generation_config=config,
            stopping_criteria=StoppingCriteriaList([stop]),
            logits_processor=whole_characters(policy, 1 if seq2seq else len(ids)), **cached(empty_cache(seq2seq)),
        )[0].tolist()  # fmt: skip
    answer: Ids = found[1:] if seq2seq else found[len(ids) :]
    if policy.eos_token_id in answer:
        answer = answer[: answer.index(policy.eos_token_id) + 1]
    while not seq2seq and answer[-1:] == [policy.pad_token_id] and policy.pad_token_id != policy.eos_token_id:
        answer.pop()
    return answer, stop.met
