"""The Lens shows the policy as it is on disk, and changes no weights that others use."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import TEXTS, save_tiny, tiny

from dpo.errors import PolicyError
from dpo.evaluation.lens import Lens, open_lens
from dpo.evaluation.worker import LensWorker, Task
from dpo.generation.store import PolicyStore
from dpo.policies.loading import Policy, save_policy
from dpo.policies.names import weights_state

FAMILIES = ["t5", "gpt2"]


@pytest.fixture
def worker() -> Iterator[LensWorker]:
    made = LensWorker(device="cpu")
    yield made
    made.close()


def opened(worker: LensWorker, name: Path, reference: Path, beta: float) -> Lens:
    """What the worker gives to a task."""
    found: list[Lens] = []
    task = worker.submit(lambda worker, task: found.append(worker.lens(task, str(name), str(reference), beta)))
    assert [event["event"] for event in worker.follow(task)][-1] == "finished" and found
    return found[0]


def moved(policy: Policy, seed: int) -> Policy:
    """The policy with other weights and the same tokens."""
    network = copy.deepcopy(policy.network)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return Policy(policy.name, network, copy.deepcopy(policy.tokenizer), policy.family)


def reward(lens: Lens) -> float:
    return lens.look(TEXTS[0], [TEXTS[1]])[0].reward


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["policy", "reference"])
def test_a_policy_written_again_is_read_again(family: str, side: str, tmp_path: Path, worker: LensWorker) -> None:
    base = tiny(family)
    paths = {"policy": tmp_path / "policy", "reference": tmp_path / "reference"}
    for seed, path in enumerate(paths.values()):
        save_policy(moved(base, seed), path)
    before = opened(worker, paths["policy"], paths["reference"], 0.1)
    again = opened(worker, paths["policy"], paths["reference"], 0.4)
    # Beta is a setting of the look: the same weights, read once.
    assert again.policy is before.policy and again.reference is before.reference
    assert reward(again) == pytest.approx(4 * reward(before), rel=1e-6)
    save_policy(moved(base, 3), paths[side])
    after = opened(worker, paths["policy"], paths["reference"], 0.1)
    true = open_lens(str(paths["policy"]), reference=str(paths["reference"]), beta=0.1, device="cpu")
    assert reward(after) == pytest.approx(reward(true), abs=1e-6)
    assert abs(reward(after) - reward(before)) > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reference_that_others_use_keeps_its_weights(family: str, tmp_path: Path, worker: LensWorker) -> None:
    """The reference has rows beyond its tokens, and the policy has tokens there."""
    reference = tiny(family)
    policy = moved(reference, 1)
    reference.network.resize_token_embeddings(len(reference.tokenizer) + 8, mean_resizing=False)
    save_policy(reference, tmp_path / "reference")
    policy.tokenizer.add_tokens(["☃", "☂"])
    policy.network.resize_token_embeddings(len(policy.tokenizer) + 6, mean_resizing=False)
    save_policy(policy, tmp_path / "policy")
    store = PolicyStore("cpu")
    held = store.get(str(tmp_path / "reference"), lambda *_: None).network
    before = [parameter.detach().clone() for parameter in held.parameters()]
    lens = opened(worker, tmp_path / "policy", tmp_path / "reference", 0.1)
    assert all(torch.equal(old, now) for old, now in zip(before, held.parameters(), strict=True))
    assert lens.reference is not None
    rows = lens.reference.network.get_input_embeddings().weight
    tokens = len(reference.tokenizer)
    assert torch.allclose(rows[tokens], rows[:tokens].mean(0), atol=1e-6)
    # All that is equal is still one tensor.
    shared = {parameter.data_ptr() for parameter in held.parameters()}
    assert sum(parameter.data_ptr() not in shared for parameter in lens.reference.network.parameters()) <= 2


def test_the_state_of_weights(tmp_path: Path) -> None:
    save_tiny("gpt2", tmp_path / "policy")
    [(path, changed, size)] = weights_state(str(tmp_path / "policy"))
    file = Path(path)
    assert (changed, size) == (file.stat().st_mtime_ns, file.stat().st_size)
    assert len(weights_state("demo/gpt2-dpo")) > len(weights_state("demo/gpt2")) == 1  # the adapter and its base
    assert weights_state("gpt2") == ()
    with pytest.raises(PolicyError):
        weights_state(str(tmp_path / "none"))


def test_a_task_hears_of_each_reading(tmp_path: Path, worker: LensWorker) -> None:
    save_tiny("gpt2", tmp_path / "policy")

    def look(worker: LensWorker, task: Task) -> None:
        for beta in (0.1, 0.2):
            worker.lens(task, str(tmp_path / "policy"), str(tmp_path / "policy"), beta)

    events = [event["event"] for event in worker.follow(worker.submit(look))]
    assert events.count("loading") == 1
