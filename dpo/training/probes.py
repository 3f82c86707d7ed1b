"""Probe prompts: the same few held-out prompts answered at step 0 and at every save."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from dpo.generation.sampler import generate
from dpo.generation.settings import PLAIN, Sampling
from dpo.policies.families import Prompt, prompt_of
from dpo.policies.loading import Policy
from dpo.runs import RunRecord
from dpo.training.precision import without_autocast

MOST_ANSWER_TOKENS = 128


class Probes:
    """Answers of policy and reference, written to the run's `samples.jsonl`.

    The reference's answers never change, so they are generated once, at step 0 or at the first
    probe after a resume (the same seed gives the same text).  `pairs` are those whose prompts are asked,
    as training asks them; the record has the prompt's text.
    """

    def __init__(self, policy: Policy, pairs: Sequence[dict[str, Any]], record: RunRecord, seed: int) -> None:
        self.policy, self.record = policy, record
        self.texts = [str(pair["prompt"]) for pair in pairs]
        self.prompts = [prompt_of(policy.tokenizer, pair) for pair in pairs]
        self.sampling = replace(PLAIN, max_new_tokens=MOST_ANSWER_TOKENS, seed=seed)
        self.reference: list[str] | None = None

    def answer_reference(self, reference: Policy) -> None:
        """Generate the reference's answers; `reference` is a policy that acts as it now."""
        if self.prompts:
            self.reference = answers_of(reference, self.prompts, self.sampling)

    def __call__(self, step: int) -> None:
        """Answer every probe with the policy as it is now."""
        if not self.prompts:
            return
        answers = answers_of(self.policy, self.prompts, self.sampling)
        rows: list[dict[str, Any]] = []
        for index, (prompt, answer) in enumerate(zip(self.texts, answers, strict=True)):
            row = {"step": step, "index": index, "prompt": prompt, "policy": answer}
            rows.append(row | ({"reference": self.reference[index]} if self.reference else {}))
        self.record.add_samples(rows)


def answers_of(policy: Policy, prompts: Sequence[Prompt], sampling: Sampling) -> list[str]:
    """An answer to each prompt by a policy that is being trained; its mode is left as it was."""
    training = policy.model.training
    policy.model.eval()
    try:
        with without_autocast(policy.model):
            return [generation.text for generation in generate(policy, prompts, sampling)]
    finally:
        policy.model.train(training)


def fitting(policy: Policy, pairs: Iterable[dict[str, Any]], count: int, longest: int) -> list[dict[str, Any]]:
    """The first `count` pairs with different prompts of at most `longest` tokens."""
    chosen: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        if len(chosen) == count:
            break
        text = str(pair["prompt"])
        if text in chosen or not text.strip():
            continue
        ids = policy.family.encode_prompts(policy.tokenizer, [prompt_of(policy.tokenizer, pair)])[0]
        if len(ids) <= longest:
            chosen[text] = pair
    return list(chosen.values())
