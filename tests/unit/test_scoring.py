"""Log-probabilities against values worked out by hand and against plain PyTorch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from architectures import save_model
from tiny import TEXTS, tiny, tiny_gpt2

from dpo.errors import PromptError
from dpo.policies.loading import load_policy
from dpo.policies.logps import token_logps
from dpo.policies.scoring import score


def test_by_hand() -> None:
    # Logits (0, ln 3): probabilities 1/4 and 3/4.
    hidden = torch.tensor([[1.0], [1.0]])
    weight = torch.tensor([[0.0], [math.log(3)]])
    scored = token_logps(hidden, weight, torch.tensor([0, 1]), details=True, alignment=True)
    assert scored.log_probs.tolist() == pytest.approx([math.log(0.25), math.log(0.75)])
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert scored.entropy is not None and scored.entropy.tolist() == pytest.approx([entropy] * 2)
    assert scored.is_top1 is not None and scored.is_top1.tolist() == [False, True]
    assert scored.mean_logits is not None and scored.mean_logits.tolist() == pytest.approx([math.log(3) / 2] * 2)
    assert scored.log_sum_sq_probs is not None
    assert scored.log_sum_sq_probs.tolist() == pytest.approx([math.log(0.0625 + 0.5625)] * 2)


@pytest.mark.parametrize("frozen_head", [False, True])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("bias", [False, True])
def test_value_and_gradients_equal_plain_pytorch(
    frozen_head: bool, keep: bool, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not keep:
        monkeypatch.setattr("dpo.policies.logps._KEEP_BYTES", 0)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(300, 16, generator=generator, dtype=torch.float64)
    weight = torch.randn(50, 16, generator=generator, dtype=torch.float64)
    shift = torch.randn(1, 50, generator=generator, dtype=torch.float64) if bias else None
    targets = torch.randint(0, 50, (300,), generator=generator)
    upstream = torch.randn(300, generator=generator, dtype=torch.float64)
    grads = []
    for exact in (True, False):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_(not frozen_head)
        if exact:
            logits = h @ w.t() + (shift if shift is not None else 0)
            values = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        else:
            values = token_logps(h, w, targets, shift).log_probs
        (values * upstream).sum().backward()
        grads.append((values.detach().double(), h.grad, w.grad))
    for expected, got in zip(*grads, strict=True):
        assert (expected is None) == (got is None)
        if expected is not None and got is not None:
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_score_equals_the_models_own_logits(family: str) -> None:
    policy = tiny(family)
    prompts, answers = TEXTS[:3], TEXTS[3:6]
    got = score(policy, prompts, answers, batch_size=2)
    for prompt, answer, values in zip(prompts, answers, got, strict=True):
        question = policy.encode_prompt(prompt)
        target = policy.family.encode_completions(policy.tokenizer, [answer])[0]
        if family == "gpt2":
            logits = policy.network(torch.tensor([question + target])).logits[0, len(question) - 1 : -1]
        else:
            logits = policy.network(input_ids=torch.tensor([question]), labels=torch.tensor([target])).logits[0]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(target)[:, None])[:, 0]
        assert target[-1] == policy.eos_token_id and target.count(policy.eos_token_id) == 1
        assert values == pytest.approx(expected.tolist(), abs=2e-5)


def test_prompts_that_do_not_fit_are_refused() -> None:
    policy = tiny_gpt2(context=32)
    with pytest.raises(PromptError, match="The prompt is blank"):
        policy.encode_prompt(" \n ")
    with pytest.raises(PromptError, match=r"has \d+ tokens and tiny-gpt2 takes at most 31.*shorten the prompt"):
        policy.encode_prompt("long " * 50, reserve=1)
    with pytest.raises(ValueError, match="give one prompt each"):
        score(policy, ["a"], [])


@pytest.mark.parametrize("family", ["t5", "gpt2", "bart"])
def test_a_pair_that_cannot_be_read_leaves_the_others(family: str, tmp_path: Path) -> None:
    """The message names what is too long, the answer as often as not; T5 has no end of its own."""
    policy = load_policy(str(save_model("bart", tmp_path))) if family == "bart" else tiny(family)
    prompts = [TEXTS[0], TEXTS[1], " "]
    answers = [TEXTS[2], "tea " * 90, TEXTS[3]]
    long = len(policy.family.encode_completions(policy.tokenizer, [answers[1]])[0])
    assert long > 128
    with pytest.warns(UserWarning) as told:
        scored = score(policy, prompts, answers)
    [message] = [str(warning.message) for warning in told if "are not scored" in str(warning.message)]
    assert scored[0] == pytest.approx(score(policy, prompts[:1], answers[:1])[0], abs=1e-5) and scored[2] == []
    if family == "t5":
        assert len(scored[1]) == long and message.startswith("1 of 3 are not scored (at 2). The prompt is blank")
        return
    assert scored[1] == [] and message.startswith("2 of 3 are not scored (at 1, 2). The answer has ")
    with pytest.raises(PromptError, match=rf"^The answer has {long} tokens.*: shorten the answer$"):
        score(policy, prompts[1:2], answers[1:2])
