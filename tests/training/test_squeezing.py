"""The squeezing probe beside plain PyTorch, in both families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny, tiny_weights

from dpo.runs import RunRecord, open_run
from dpo.runs.doctor import Diagnosis, diagnose
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


def diagnosed(directory: Path, mass: float, chosen: float, shuffled: float, band: float = 0.9) -> dict[str, Diagnosis]:
    """What the doctor says of a run whose probes move so far over its 120 steps."""
    rows = [
        {
            "step": step, "eval_squeeze/argmax_mass": 0.4 + mass * step / 120,
            "eval_squeeze/chosen": -2 + chosen * step / 120, "eval_squeeze/rejected": -2 - step / 120,
            "eval_squeeze/shuffled": -8 + shuffled * step / 120, "eval_squeeze/greedy": -1.0,
            "eval_squeeze/in_band": band,
        }
        for step in range(0, 121, 20)
    ]  # fmt: skip
    config = {"beta": 0.1, "learning_rate": 1e-4}
    made = RunRecord.create(directory, {"kind": "dpo", "family": "gpt2", "state": "finished", "config": config})
    made.log_all(rows)
    return {found.code: found for found in diagnose(open_run(directory))}


def test_the_doctor_names_squeezing(tmp_path: Path) -> None:
    """The likeliest token gains, chosen and shuffled answers fall; a little is a note, and none of it alone is one."""
    found = diagnosed(tmp_path / "much", 0.3, -0.5, -2)["squeezing"]
    assert found.severity == "warning" and "70%" in found.sentence and "40%" in found.sentence
    assert [round(evidence.value, 2) for evidence in found.evidence] == [0.7, -2.5, -3.0, -1.0, -10.0]
    assert diagnosed(tmp_path / "little", 0.06, -0.15, -1)["squeezing"].severity == "note"
    for name, *moved in (("flat", 0.0, -1, -1), ("up", 0.3, 0.5, -1), ("all", 0.3, -1, 1)):
        assert "squeezing" not in diagnosed(tmp_path / name, *moved)
    outside = diagnosed(tmp_path / "outside", 0.0, -0.05, 0, band=0.25)["outside the band"]
    assert outside.severity == "note" and "75%" in outside.sentence and outside.change is not None
    assert "outside the band" not in diagnosed(tmp_path / "rising", 0.0, 0.1, 0, band=0.25)
