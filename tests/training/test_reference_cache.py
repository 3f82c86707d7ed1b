"""The reference's log-probabilities: computed once, right, and never another reference's."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ids import id_rows
from tiny import tiny_weights

from dpo.training.config import TrainConfig
from dpo.training.reference import ReferenceCache, identity, pair_key
from dpo.training.settings import make
from dpo.training.trainer import PreferenceTrainer
from dpo.training.trainer_arguments import lora_config, trl_arguments

FAMILIES = ["t5", "gpt2"]
LENGTHS = ([4, 9, 6, 12], [7, 5, 11, 3])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DPO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reference"


class Counting(PreferenceTrainer):
    """Counts how often the reference is asked."""

    asked = 0

    def compute_ref_log_probs(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        return super().compute_ref_log_probs(*args, **kwargs)


def trained(family: str, path: Path, cache: bool, **settings: Any) -> tuple[Counting, list[float]]:
    policy = tiny_weights(family)
    values = {"batch_size": 2, "max_steps": 6, "epochs": 3, "learning_rate": 1e-3, "logging_steps": 1, "device": "cpu"}
    config = make(TrainConfig, values | settings)
    args = trl_arguments(config, str(path), "fp32", False, False)
    reference = None if config.lora else copy.deepcopy(policy.network)
    adapter = lora_config(policy, config) if config.lora else None
    torch.manual_seed(0)
    trainer = Counting(policy, reference, args, id_rows(*LENGTHS), None, adapter, cache_reference=cache)
    trainer.open_reference_cache()
    trainer.train()
    return trainer, [row["rewards/margins"] for row in trainer.state.log_history if "rewards/margins" in row]


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_pair_is_asked_once_and_the_curve_is_the_same(family: str, lora: bool, tmp_path: Path) -> None:
    _, plain = trained(family, tmp_path / "plain", cache=False, lora=lora)
    cold, cold_margins = trained(family, tmp_path / "cold", cache=True, lora=lora)
    assert cold.asked == 2  # two batches of the first epoch; the two later epochs ask nothing
    assert cold_margins == pytest.approx(plain, abs=2e-5)
    warm, warm_margins = trained(family, tmp_path / "warm", cache=True, lora=lora, beta=0.1)
    assert warm.asked == 0
    assert warm_margins == cold_margins
    other, _ = trained(family, tmp_path / "other", cache=True, lora=lora, beta=0.4, loss_type=["ipo"])
    assert other.asked == 0  # neither beta nor the loss changes the reference


def test_ld_alpha_sums_differently_and_is_kept_apart(tmp_path: Path) -> None:
    trained("gpt2", tmp_path / "a", cache=True)
    other, _ = trained("gpt2", tmp_path / "b", cache=True, ld_alpha=0.5)
    assert other.asked == 2


def test_a_moving_reference_is_never_cached(tmp_path: Path) -> None:
    trainer, margins = trained(
        "gpt2", tmp_path, cache=True, sync_ref_model=True, ref_model_sync_steps=2, ref_model_mixup_alpha=1.0
    )
    assert trainer.reference_cache is None
    # After every second step the reference becomes the policy: at the third and fifth they agree again.
    assert margins[2] == margins[4] == pytest.approx(0, abs=1e-6)
    assert abs(margins[3]) > 1e-2


def test_identity_follows_the_weights() -> None:
    one, other = tiny_weights("gpt2").network, tiny_weights("gpt2").network
    assert identity(one, ["fp32"]) == identity(other, ["fp32"])
    assert identity(one, ["fp32"]) != identity(one, ["bf16"])
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1e-3
    assert identity(one, ["fp32"]) != identity(other, ["fp32"])


def test_pairs_are_told_apart() -> None:
    assert pair_key([1, 2], [3], [4]) != pair_key([1], [2, 3], [4])
    assert pair_key([1], [2], [3]) != pair_key([1], [3], [2])


def test_damaged_files_and_full_disks_cost_only_time(tmp_path: Path) -> None:
    cache = ReferenceCache(tmp_path, "r")
    cache.put([5], torch.tensor([[-1.5, -2.5]]))
    cache.save()
    (tmp_path / "r-7.npz").write_bytes(b"PK\x03\x04 torn")
    read = ReferenceCache(tmp_path, "r", process=1)
    known = read.get([5])
    assert known is not None and known.tolist() == [[-1.5, -2.5]]
    assert read.get([5, 6]) is None
    blocked = tmp_path / "file"
    blocked.write_text("a file where the directory should be")
    nowhere = ReferenceCache(blocked, "r")
    nowhere.put([1], torch.tensor([[0.0, 0.0]]))
    nowhere.save()  # no error
    assert nowhere.get([1]) is not None


def test_the_cache_holds_what_a_plain_score_gives(own_cache: Path, tmp_path: Path) -> None:
    trainer, _ = trained("t5", tmp_path, cache=True, save_steps=6)
    [path] = own_cache.glob("*.npz")
    cache = ReferenceCache(own_cache, path.name.rpartition("-")[0])
    frozen = trainer.ref_model
    for row in trainer.train_dataset:
        key = pair_key(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])
        known = cache.get([key])
        assert known is not None
        assert known[0, 2:].tolist() == pytest.approx(known[0, :2].tolist(), abs=1e-4)  # exact, and in fp32
        for side, value in zip(("chosen_ids", "rejected_ids"), known[0, 2:], strict=True):
            target = torch.tensor(row[side])
            logits = (
                type(frozen).forward(frozen, input_ids=torch.tensor([row["prompt_ids"]]), labels=target[None]).logits[0]
            )
            expected = logits.log_softmax(-1).gather(1, target[:, None]).sum()
            assert float(value) == pytest.approx(float(expected), abs=1e-3)
    assert json.loads((tmp_path / "checkpoint-6" / "trainer_state.json").read_text())["global_step"] == 6
