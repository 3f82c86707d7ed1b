"""What we rely on in TRL, against plain PyTorch: when a release moves something, this says what."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny import tiny
from torch.nn import functional as F
from trainers import BETA, FAMILIES, PAIRS, make_trainer

from dpo.losses import LOSSES, Options, margin_losses
from dpo.policies.families import disable_dropout
from dpo.policies.loading import Policy
from dpo.training.data import Limits, tokenize_pairs


def sequence_logps(model: Any, family: str, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """log p(answer | prompt), the slow and plain way: one sequence, full logits."""
    target = torch.tensor(answer)
    if family == "gpt2":
        logits = type(model).forward(model, torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    else:
        logits = type(model).forward(model, input_ids=torch.tensor([prompt]), labels=target[None]).logits[0]
    return logits.log_softmax(-1).gather(1, target[:, None]).sum()


def plain_dpo(policy: Any, reference: Any, family: str, rows: Dataset) -> torch.Tensor:
    """Equation 7 of Rafailov et al. 2023, mean over pairs."""
    losses = []
    for row in rows:
        chosen, rejected = (
            sequence_logps(policy, family, row["prompt_ids"], row[side])
            - sequence_logps(reference, family, row["prompt_ids"], row[side]).detach()
            for side in ("chosen_ids", "rejected_ids")
        )
        losses.append(-F.logsigmoid(BETA * (chosen - rejected)))
    return torch.stack(losses).mean()


def perturbed(family: str) -> tuple[Policy, Any]:
    """A policy that differs from its reference, so that no term of the loss is zero."""
    policy = tiny(family)
    disable_dropout(policy.model)
    reference = copy.deepcopy(policy.network)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return policy, reference


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_equal_plain_pytorch(family: str, tmp_path: Path) -> None:
    policy, reference = perturbed(family)
    # In double precision, so that what is compared is the mathematics and not the order of sums.
    policy.network.double()
    reference.double()
    twin = copy.deepcopy(policy.network)
    trainer, rows = make_trainer(policy, tmp_path)
    trainer.ref_model.load_state_dict(reference.state_dict())
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(trainer.data_collator(list(rows))))
    loss.backward()
    expected = plain_dpo(twin, reference, family, rows)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    grads = dict(trainer.model.named_parameters())
    for name, parameter in twin.named_parameters():
        scale = parameter.grad.abs().max().clamp(min=1e-6)
        assert ((grads[name].grad - parameter.grad).abs().max() / scale) < 1e-5, name


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_step_zero_is_ln_two_with_dropout_in_the_config(family: str, lora: bool, tmp_path: Path) -> None:
    policy = tiny(family)  # its config asks for dropout of 0.1, which must not act
    trainer, rows = make_trainer(policy, tmp_path, lora=lora)
    measured = trainer.step_zero(list(rows))
    assert measured["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert measured["expected"] == pytest.approx(math.log(2), abs=1e-6)
    assert measured["max_logp_gap"] == pytest.approx(0, abs=1e-4)
    assert measured["rewards/margins"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_step_zero_sees_a_wrong_reference(family: str, tmp_path: Path) -> None:
    policy, _ = perturbed(family)
    trainer, rows = make_trainer(policy, tmp_path)
    with torch.no_grad():
        for parameter in trainer.ref_model.parameters():
            parameter.mul_(1.05)
    measured = trainer.step_zero(list(rows))
    assert abs(measured["loss"] - measured["expected"]) > 1e-3
    assert measured["max_logp_gap"] > 0.1


# With policy and reference equal every log-ratio is 0, so each loss has a value known by hand.
AT_ZERO = {
    "sigmoid": math.log(2),
    "hinge": 1.0,
    "ipo": (1 / (2 * BETA)) ** 2,
    "nca_pair": 2 * math.log(2),
    "bco_pair": 2 * math.log(2),
    "sppo_hard": 2 * (0.5 / BETA) ** 2,
    "apo_zero": 1.0,
    "apo_down": 1.0,
    "sigmoid_norm": math.log(2),
    "aot": math.log(2),
}


@pytest.mark.parametrize("loss", margin_losses())
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_at_step_zero(family: str, loss: str, tmp_path: Path) -> None:
    start = LOSSES[loss].start(Options(beta=BETA))
    assert start == pytest.approx(AT_ZERO.get(loss, start), rel=1e-9)
    smoothing = LOSSES[loss].paper_smoothing
    trainer, rows = make_trainer(tiny(family), tmp_path, loss_type=[loss], label_smoothing=smoothing)
    measured = trainer.step_zero(list(rows))
    assert measured["loss"] == pytest.approx(start, rel=1e-5)
    assert measured["expected"] == pytest.approx(start, rel=1e-5)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_lowers_the_loss_and_leaves_the_reference_alone(family: str, lora: bool, tmp_path: Path) -> None:
    policy = tiny(family)
    before = {name: value.clone() for name, value in policy.network.state_dict().items()}
    trainer, _ = make_trainer(policy, tmp_path, lora=lora, max_steps=4, logging_steps=1, warmup=0.0)
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5) and losses[-1] < 0.6
    keys = set().union(*trainer.state.log_history)
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen"):
        assert name in keys and f"eval_{name}" in keys
    if lora:
        with trainer.model.disable_adapter():
            base = {k: v for k, v in trainer.model.get_base_model().state_dict().items() if "lora_" not in k}
        assert all(torch.equal(before[k.replace(".base_layer", "")], v) for k, v in base.items())
    else:
        frozen = trainer.accelerator.unwrap_model(trainer.ref_model).state_dict()
        assert all(torch.equal(before[name], value) for name, value in frozen.items())
        assert not all(torch.equal(before[name], value) for name, value in policy.network.state_dict().items())


def test_answers_over_the_limit_keep_their_eos_and_are_counted() -> None:
    for family in FAMILIES:
        policy = tiny(family)
        rows, counts = tokenize_pairs(policy, PAIRS, Limits(8, 12))
        assert counts["truncated_completions"] == 4 and counts["truncated_prompts"] == 4
        for row in rows:
            assert len(row["prompt_ids"]) == 8
            for side in ("chosen_ids", "rejected_ids"):
                assert len(row[side]) == 12 and row[side][-1] == policy.eos_token_id
                assert row[side].count(policy.eos_token_id) == 1
