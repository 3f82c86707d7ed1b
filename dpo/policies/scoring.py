"""The one scoring function: per-token log-probabilities of completions.

The trainer (through `ScoringHead`), `dpo score`, evaluation and the lens all come through here, so
their numbers are the same numbers.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from dpo.errors import PolicyError, PromptError
from dpo.policies.families import Family, Ids, Prompt, output_head
from dpo.policies.loading import Policy
from dpo.policies.logps import token_logps


@dataclass
class ScoredOutput(ModelOutput):  # type: ignore[misc]
    """What a scored forward pass returns; every field is `(rows, length - 1)` and 0 off the completion.

    Names are TRL's (`FusedCausalLMOutput`), because its trainer reads them.
    """

    log_probs: Tensor | None = None
    entropy: Tensor | None = None
    mean_logits: Tensor | None = None
    is_top1: Tensor | None = None
    log_sum_sq_probs: Tensor | None = None
    label_mask: Tensor | None = None


def score_batch(
    model: PreTrainedModel,
    family: Family,
    batch: dict[str, Any],
    labels: Tensor,
    details: bool = False,
    alignment: bool = False,
) -> ScoredOutput:
    """Score the positions of `labels` that are not -100.

    Args:
        model: the transformers model (adapters injected), not a wrapper.
        batch: what `Family.collate` returns, on the model's device.
        labels: `(rows, length)`, aligned with `input_ids`; position t is predicted from t - 1.
        details: also entropy, mean logit and top-1.
        alignment: also the squared-probability term of WPO.
    """
    states = family.completion_states(model, batch)
    targets = labels[:, 1:]
    mask = targets != -100
    weight, bias = output_head(model)
    # Not `states[mask]`: its gradient is a scatter that adds one row at a time.
    rows = mask.flatten().nonzero()[:, 0]
    scored = token_logps(
        states.flatten(0, 1).index_select(0, rows), weight, targets.flatten()[rows], bias, details, alignment
    )

    def spread(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.new_zeros(mask.shape).masked_scatter(mask, values)

    return ScoredOutput(
        log_probs=spread(scored.log_probs),
        entropy=spread(scored.entropy),
        mean_logits=spread(scored.mean_logits),
        is_top1=spread(scored.is_top1),
        log_sum_sq_probs=spread(scored.log_sum_sq_probs),
        label_mask=mask,
    )


@torch.no_grad()
def check_scoring(policy: Policy) -> None:
    """Make sure that `score_batch` gives this model's own log-probabilities, on a few tokens.

    Some architectures do more to their logits than multiply by the output embeddings (Gemma 2 caps
    them); trained through this head they would learn from wrong numbers without a word.

    Raises:
        PolicyError: the model has no output embeddings, or its own forward pass disagrees.
    """
    model, name = policy.network, policy.name
    if model.get_output_embeddings() is None:
        raise PolicyError(f"{name} ({type(model).__name__}) has no language-model head: use a generating model")
    size = model.get_input_embeddings().weight.size(0)
    prompt, answers = [[(5 * i + 2) % size for i in range(4)]], [[(3 * i + 1) % size for i in range(6)]]
    if policy.family.has_encoder:  # two answers share the encoder and the cross-attention's keys and values
        answers.append([(11 * i + 5) % size for i in range(6)])
    batch = policy.family.collate(prompt, answers, policy.pad_token_id, policy.decoder_start)
    batch = {key: value.to(policy.device) for key, value in batch.items()}
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    training = model.training
    model.eval()
    scored = score_batch(model, policy.family, batch, labels).log_probs
    targets = torch.tensor(answers, device=labels.device)
    if policy.family.has_encoder:
        questions = batch["prompt_input_ids"].repeat(len(answers), 1)
        logits = type(model).forward(model, input_ids=questions, labels=targets).logits
    else:
        logits = type(model).forward(model, input_ids=batch["input_ids"]).logits[:, len(prompt[0]) - 1 : -1]
    model.train(training)
    own = logits.float().log_softmax(-1).gather(2, targets[:, :, None])[:, :, 0]
    assert scored is not None
    if (scored[:, -len(answers[0]) :].float() - own).abs().max() > 0.02 * own.abs().max():
        raise PolicyError(
            f"{name} ({type(model).__name__}) makes its logits in a way the scoring does not know: "
            "use another architecture (T5, BART, GPT-2, Llama, Qwen, Pythia and their like work)"
        )


def install_scoring_head(model: PreTrainedModel, family: Family, details: bool, alignment: bool = False) -> None:
    """Let `model(**batch, labels=..., fused_lm_head=True)` return a `ScoredOutput`.

    This is the seam TRL (1.15 and later) trains through: it calls the patched forward and reads the
    fields by name.  Without `fused_lm_head` the forward is the class's own, so generation is unchanged.
    """
    own_forward = type(model).forward

    @functools.wraps(own_forward)  # `generate` validates its arguments against the signature
    def forward(self: PreTrainedModel, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return own_forward(self, *args, **kwargs)
        return score_batch(self, family, kwargs, kwargs.pop("labels"), details, alignment)

    model.forward = MethodType(forward, model)  # type: ignore[method-assign]


@torch.no_grad()
def score(
    policy: Policy, prompts: Sequence[Prompt], completions: Sequence[str], *, batch_size: int = 16
) -> list[list[float]]:
    """Log-probabilities (nats) of each completion's tokens, EOS last, given its prompt.

    A pair that the policy cannot read (too long together, or a blank prompt) has the empty list: every
    completion that was scored has at least its EOS. A warning names them, and the others are scored.

    Inside `policy.reference()` the numbers are the reference's.

    >>> policy = load_policy("demo/gpt2")
    >>> [tokens] = score(policy, ["Do you like tea?"], ["I do!"])
    >>> all(value <= 0 for value in tokens)
    True

    Raises:
        PromptError: none of the pairs can be read; says why of the first.
        ValueError: the two sequences differ in length.
    """
    if len(prompts) != len(completions):
        raise ValueError(f"{len(prompts)} prompts and {len(completions)} completions: give one prompt each")
    answers = policy.family.encode_completions(policy.tokenizer, completions)
    questions, problems = _readable(policy, prompts, answers)
    order = sorted(questions, key=lambda i: len(questions[i]) + len(answers[i]))
    result: list[list[float]] = [[] for _ in answers]
    if problems:
        first = next(iter(problems.values()))
        if not questions:
            raise PromptError(first)
        places = ", ".join(map(str, list(problems)[:5])) + (", ..." if len(problems) > 5 else "")
        warnings.warn(
            f"{len(problems)} of {len(answers)} are not scored (at {places}). {first}", UserWarning, stacklevel=3
        )
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = policy.family.collate(
            [questions[i] for i in rows], [answers[i] for i in rows], policy.pad_token_id, policy.decoder_start
        )
        batch = {key: value.to(policy.device) for key, value in batch.items()}
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        scored = score_batch(policy.network, policy.family, batch, labels)
        assert scored.log_probs is not None and scored.label_mask is not None
        for row, index in enumerate(rows):
            result[index] = scored.log_probs[row][scored.label_mask[row]].tolist()
    return result


def _readable(
    policy: Policy, prompts: Sequence[Prompt], answers: Sequence[Ids]
) -> tuple[dict[int, Ids], dict[int, str]]:
    """Tokens of the prompts by their places, and what is wrong with the pairs that the policy cannot read."""
    questions: dict[int, Ids] = {}
    problems: dict[int, str] = {}
    context = policy.family.context(policy.network.config)
    for place, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        try:
            question = policy.encode_prompt(prompt)
        except PromptError as error:
            problems[place] = str(error)
            continue
        if context is None or len(answer) <= policy.max_new_tokens(question):
            questions[place] = question
        elif policy.family.has_encoder:
            problems[place] = (
                f"The answer has {len(answer)} tokens and {policy.name} reads at most {context}: shorten the answer"
            )
        else:
            problems[place] = (
                f"The answer has {len(answer)} tokens and its prompt {len(question)}, {policy.name} reads at most "
                f"{context} together: shorten the answer"
            )
    return questions, problems
