"""Answers to the prompts of a plan, each generated once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace

from dpo.errors import PromptError
from dpo.evaluation.comparison.drift import waiting_kl
from dpo.evaluation.comparison.measured import with_energy
from dpo.evaluation.comparison.measures import measure
from dpo.evaluation.comparison.plan import Plan
from dpo.evaluation.comparison.rows import Row, RowStore
from dpo.generation.pieces import Generation
from dpo.generation.sampler import generate, suit_threads
from dpo.policies.divergence import ANSWER_TOKENS
from dpo.policies.families import prompt_of
from dpo.policies.loading import Policy, load_policy
from dpo.sensors import PowerMeter

Draw = tuple[float, int]
"""A temperature and the number of a sample."""
_FEW_TOKENS = 8


def generate_missing(plan: Plan, store: RowStore, progress: Callable[[int, int], None]) -> int:
    """Generate the answers that are not in the store, batch by batch; how many.

    Args:
        progress: called with (done, total) before each policy is loaded and after each batch.

    Raises:
        PolicyError: a policy cannot be loaded.
        StorageError: the rows cannot be written.
    """
    waiting = plan.waiting(store)
    total, done = sum(map(len, waiting.values())), 0
    for name, rows in waiting.items():
        if not rows:
            continue
        progress(done, total)
        policy = load_policy(name, device=plan.config.device)
        suit_threads(policy)
        with PowerMeter(policy.device.type) as meter:
            for draw in dict.fromkeys(draw for draw, _ in rows):
                prompts = [prompt for other, prompt in rows if other == draw]
                for start in range(0, len(prompts), plan.config.batch_size):
                    batch = prompts[start : start + plan.config.batch_size]
                    before = meter.wh()
                    made = _answer_rows(plan, policy, draw, batch)
                    store.add(*with_energy(made, before, meter.wh()))
                    done += len(batch)
                    progress(done, total)
        del policy
        gc.collect()
    return total


def seconds_to_generate(plan: Plan, store: RowStore) -> float:
    """How long the missing answers take at most, those of the KL too: if each is as long as allowed.

    Measured on a few tokens of one batch, of the policy with most to do; reading the prompts is in it, so that
    it errs on the long side.  Writes nothing.

    Raises:
        PolicyError: the policy cannot be loaded.
    """
    waiting = plan.waiting(store)
    name = max(waiting, key=lambda one: len(waiting[one]))
    if not waiting[name]:
        return 0.0
    policy = load_policy(name, device=plan.config.device)
    suit_threads(policy)
    prompts = [prompt for _, prompt in waiting[name]][: plan.config.batch_size]
    texts = [prompt_of(policy.tokenizer, prompt) for prompt in prompts if _problem(policy, prompt) is None]
    if not texts:
        return 0.0
    sampling = replace(plan.config.sampling(1.0), max_new_tokens=min(_FEW_TOKENS, plan.config.max_new_tokens))
    answers = generate(policy, texts, sampling, batch_size=len(texts))
    a_token = answers[0].seconds / max(answer.tokens for answer in answers)
    size = plan.config.batch_size
    batches, drawn = (
        sum(-(-len(rows) // size) for rows in found.values()) for found in (waiting, waiting_kl(plan, store))
    )
    return a_token * (plan.config.max_new_tokens * batches + ANSWER_TOKENS * drawn)


def _answer_rows(plan: Plan, policy: Policy, draw: Draw, prompts: Sequence[Row]) -> list[Row]:
    temperature, sample = draw
    sampling = plan.config.sampling(temperature)
    sampling = replace(sampling, seed=sampling.seed + sample)
    problems = [_problem(policy, prompt) for prompt in prompts]
    asked = [prompt for prompt, problem in zip(prompts, problems, strict=True) if problem is None]
    texts = [prompt_of(policy.tokenizer, prompt) for prompt in asked]
    made = iter(generate(policy, texts, sampling, batch_size=len(texts)) if texts else [])
    return [
        {
            "kind": "answer", "key": plan.answer_key(prompt, policy.name, temperature, sample),
            "prompt": prompt["key"], "prompt_hash": prompt["hash"], "slices": prompt["slices"],
            "policy": policy.name, "policy_hash": plan.policies[policy.name], "temperature": temperature,
            "seed": sampling.seed, "sample": sample, "sampling": plan.sampling_row(),
        } | (_written(next(made), len(asked)) if problem is None else {"text": None, "error": problem})
        for prompt, problem in zip(prompts, problems, strict=True)
    ]  # fmt: skip


def _problem(policy: Policy, prompt: Row) -> str | None:
    """Why a policy cannot answer a prompt."""
    try:
        policy.encode_prompt(prompt_of(policy.tokenizer, prompt), reserve=1)
    except PromptError as error:
        return str(error)
    return None


def _written(answer: Generation, together: int) -> Row:
    """What was written; its seconds are its part of the batch's."""
    return {
        "text": answer.text, "tokens": answer.tokens, "ended": answer.end, "seconds": answer.seconds / together,
        "measures": measure(answer.text, answer.tokens, answer.end), "error": None,
    }  # fmt: skip
