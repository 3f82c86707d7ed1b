"""The squeezing probe beside plain PyTorch, in both families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny, tiny_weights

from dpo.training.squeezing import Squeezing, in_band

PAIRS = [
    {"prompt": "Do you like pizza?", "chosen": "I love pizza! 🍕", "rejected": "I do not have personal preferences."},
    {
        "prompt": "Any fun plans?",
        "chosen": "Off to the lake!",
        "rejected": "I am unable to make plans. Consult a calendar.",
    },
]


def logits(family: str, network: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    if family == "t5":
        return network(input_ids=torch.tensor([prompt]), labels=torch.tensor([answer])).logits[0]
    return network(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_measures_are_those_of_the_logits(family: str) -> None:
    policy, other = tiny(family), tiny(family, seed=1)
    longest = 6
    state = torch.random.get_rng_state()
    probe = Squeezing(policy, PAIRS, other, longest, seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    for chosen, shuffled in zip(probe.answers["chosen"], probe.answers["shuffled"], strict=True):
        assert len(chosen) <= longest and sorted(chosen) == sorted(shuffled) and chosen[-1] == shuffled[-1]
    found = probe()
    mass, entropy, positions, inside = 0.0, 0.0, 0, 0
    for name, answers in probe.answers.items():
        total = 0.0
        for prompt, answer in zip(probe.prompts, answers, strict=True):
            scores = logits(family, policy.network, prompt, answer).detach().double().log_softmax(-1)
            total += float(scores.gather(1, torch.tensor(answer)[:, None]).sum())
            if name in ("chosen", "rejected"):
                mass += float(scores.exp().max(1).values.sum())
                entropy += float(-(scores.exp() * scores).sum())
                positions += len(answer)
        assert found[f"squeeze/{name}"] == pytest.approx(total / sum(map(len, answers)), rel=1e-4)
    assert found["squeeze/argmax_mass"] == pytest.approx(mass / positions, rel=1e-4)
    assert found["squeeze/entropy"] == pytest.approx(entropy / positions, rel=1e-4)
    # The band by autograd: gradients of both log-probabilities with respect to the output layer.
    head = policy.network.get_output_embeddings()
    untied = torch.nn.Parameter(head.weight.detach().clone())
    head.weight = untied
    for prompt, *answers in zip(probe.prompts, probe.answers["chosen"], probe.answers["rejected"], strict=True):
        gradients = []
        for answer in answers:
            scores = logits(family, policy.network, prompt, answer).log_softmax(-1)
            logp = scores.gather(1, torch.tensor(answer)[:, None]).sum()
            gradients.append(torch.autograd.grad(logp, untied)[0].flatten().double())
        s_w, s_l = gradients
        rho = float(torch.nn.functional.cosine_similarity(s_w, s_l, 0))
        low, high = rho * float(s_l.norm() / s_w.norm()), float(s_l.norm() / s_w.norm()) / rho
        inside += low <= 1 <= high if rho > 0 else 1
    assert found["squeeze/in_band"] == inside / len(PAIRS)


def test_greedy_answers_are_those_of_the_reference() -> None:
    policy, reference = tiny_weights("gpt2"), tiny("gpt2", seed=2)
    probe = Squeezing(policy, PAIRS, reference, 16, seed=0)
    for prompt, answer in zip(probe.prompts, probe.answers["greedy"], strict=True):
        scores = logits("gpt2", reference.network, prompt, answer)
        assert scores.argmax(-1).tolist() == answer and len(answer) <= 64


def test_the_band_is_left_where_answers_are_alike_and_one_is_steeper() -> None:
    states, residuals = torch.eye(2), torch.eye(2)
    assert in_band((residuals, states), (-residuals, states))
    assert in_band((residuals, states), (residuals, states))  # the edge
    assert not in_band((residuals, states), (3 * residuals, states))


def test_a_training_records_it(tuned_home: Path) -> None:
    rows = [json.loads(line) for line in (tuned_home / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    probed = [row for row in rows if "eval_squeeze/argmax_mass" in row]
    assert probed and 0 < probed[0]["eval_squeeze/argmax_mass"] < 1 and probed[0]["eval_squeeze/chosen"] < 0
    assert {f"eval_squeeze/{name}" for name in ("rejected", "greedy", "shuffled", "entropy", "in_band")} <= probed[
        0
    ].keys()
