"""A policy's distance to another one on its own answers, and its likelihood of texts, measured with the models."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Sequence

from dpo.errors import PromptError
from dpo.evaluation.comparison.drift import kl_key, waiting_kl, waiting_texts
from dpo.evaluation.comparison.plan import Plan
from dpo.evaluation.comparison.rows import Row, RowStore
from dpo.policies.divergence import ANSWER_TOKENS, estimates, sampled_answers
from dpo.policies.families import Ids, prompt_of
from dpo.policies.loading import Policy, load_policy
from dpo.policies.scoring import score

_AT_ONCE = 64  # texts between two writes


def measure_missing(plan: Plan, store: RowStore, progress: Callable[[int, int], None]) -> int:
    """Measure the KLs and likelihoods that are not in the store, batch by batch; how many.

    Raises:
        PolicyError: a policy cannot be loaded.
        StorageError: the rows cannot be written.
    """
    kls, texts = waiting_kl(plan, store), waiting_texts(plan, store)
    total = sum(map(len, kls.values())) + sum(map(len, texts.values()))
    done, size = 0, plan.config.batch_size
    for name in plan.policies:
        compared = {against: prompts for (policy, against), prompts in kls.items() if policy == name and prompts}
        if not compared and not texts[name]:
            continue
        progress(done, total)
        policy = load_policy(name, device=plan.config.device)
        for start in range(0, len(texts[name]), _AT_ONCE):
            batch = texts[name][start : start + _AT_ONCE]
            store.add(*_likelihoods(policy, batch, size))
            done += len(batch)
            progress(done, total)
        for against, prompts in compared.items():
            other = load_policy(against, device=plan.config.device)
            for start in range(0, len(prompts), size):
                store.add(*_kl_rows(plan, policy, other, prompts[start : start + size]))
                done += len(prompts[start : start + size])
                progress(done, total)
            del other
        del policy
        gc.collect()
    return total


def _likelihoods(policy: Policy, asked: Sequence[tuple[str, Row, str]], size: int) -> list[Row]:
    prompts = [prompt_of(policy.tokenizer, prompt) for _, prompt, _ in asked]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what cannot be read is said in its row
        try:
            found = score(policy, prompts, [text for _, _, text in asked], batch_size=size)
        except PromptError:
            found = [[] for _ in asked]
    return [
        {"kind": "likelihood", "key": key, "policy": policy.name}
        | ({"logp": sum(logps), "tokens": len(logps)} if logps else {"error": "does not fit into the context"})
        for (key, _, _), logps in zip(asked, found, strict=True)
    ]


def _kl_rows(plan: Plan, policy: Policy, other: Policy, prompts: Sequence[Row]) -> list[Row]:
    """The rows of a batch; the draws depend on the prompts in it alone."""
    ready: dict[str, Ids] = {}
    problems: dict[str, str] = {}
    shared = policy.tokenizer.get_vocab() == other.tokenizer.get_vocab()
    for prompt in prompts:
        try:
            ids = policy.encode_prompt(prompt_of(policy.tokenizer, prompt), reserve=1)
        except PromptError as error:
            problems[prompt["key"]] = str(error)
            continue
        if not shared:
            problems[prompt["key"]] = f"{policy.name} and {other.name} have different vocabularies"
        elif policy.max_new_tokens(ids) < ANSWER_TOKENS:
            problems[prompt["key"]] = f"beside it {ANSWER_TOKENS} tokens do not fit into {policy.name}'s context"
        else:
            ready[prompt["key"]] = ids
    found: dict[str, Row] = {}
    if ready:
        seed = (plan.config.seed + int(next(iter(ready))[:8], 16)) % 2**32
        asked = list(ready.values())
        answers = sampled_answers(policy, asked, ANSWER_TOKENS, seed)
        values = estimates(policy, asked, answers, contextlib.nullcontext(other)).tolist()
        for key, answer, (kl, k1, k3) in zip(ready, answers, values, strict=True):
            found[key] = {"kl": max(0.0, kl), "k1": k1, "k3": k3, "tokens": len(answer)}
    hashes = plan.policies[policy.name], plan.policies[other.name]
    return [
        {"kind": "kl", "key": kl_key(*hashes, prompt["hash"], plan.config.seed), "policy": policy.name,
         "against": other.name, "prompt": prompt["key"]}
        | (found[prompt["key"]] if prompt["key"] in found else {"error": problems[prompt["key"]]})
        for prompt in prompts
    ]  # fmt: skip
