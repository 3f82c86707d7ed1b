"""An endpoint that judges is our own dashboard with a policy, over HTTP, behind a proxy that fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluations import PROMPTS, config_of
from fault_proxy import FaultProxy, fault_proxy
from serving import dashboard
from tiny import save_tiny, tiny_t5

from dpo.cli.main import main
from dpo.evaluation.comparison.endpoint import Endpoint
from dpo.evaluation.comparison.work import evaluate
from dpo.policies.loading import save_policy
from dpo.policies.scoring import score_batch

ASKED = 2 * PROMPTS


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy `first` that says [[A]] to everything, and `random`, whose words are none."""
    root = tmp_path_factory.mktemp("judges")
    save_tiny("t5", root / "random")
    policy = tiny_t5()
    for block in policy.network.get_decoder().block:  # what it reads does not matter
        torch.nn.init.zeros_(block.layer[1].EncDecAttention.o.weight).requires_grad_(False)
    prompts = policy.family.encode_prompts(policy.tokenizer, ["?"])
    answers = policy.family.encode_completions(policy.tokenizer, ["[[A]]"])
    batch = policy.family.collate(prompts, answers, policy.pad_token_id, policy.decoder_start)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    optimizer = torch.optim.Adam(policy.network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        scored = score_batch(policy.network, policy.family, batch, labels).log_probs
        assert scored is not None
        (-scored.sum()).backward()
        optimizer.step()
    save_policy(policy, root / "first")
    return root


@pytest.fixture(scope="module")
def proxy(judges: Path) -> Iterator[FaultProxy]:
    with dashboard(judges, votes=judges / "votes.sqlite") as address, fault_proxy(address) as made:
        yield made


@pytest.fixture
def judged(
    proxy: FaultProxy, tuned_home: Path, evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """An evaluation by a judge behind the proxy, while every so many-th request meets a fault."""

    def patient_where_it_is_not_slow(where: str, most: int | None) -> Endpoint:
        return Endpoint(*where.split("#"), most, seconds=2.0 if proxy.fault == "slow" else 60.0)

    def evaluation(judge: str, fault: str, every: int = 1, target: str = "") -> Any:
        proxy.set(fault, every)
        where = tmp_path / (target or fault)
        if not where.exists():
            shutil.copytree(evaluated, where)
        return evaluate(config_of(tuned_home, where, judges=[judge]))

    monkeypatch.setattr("dpo.evaluation.comparison.endpoint._ASKED_TWICE", 10**9)
    monkeypatch.setattr("dpo.evaluation.comparison.judging.open_endpoint", patient_where_it_is_not_slow)
    return evaluation


def first_of(made: Any) -> Any:
    return made.result["comparisons"][0]


def test_what_was_judged_is_kept_and_the_rest_is_asked_again(
    judges: Path, proxy: FaultProxy, judged: Callable[..., Any]
) -> None:
    name = f"endpoint:{proxy.url}#{judges / 'first'}"
    made = judged(name, "pass")
    assert made.result["complete"] and made.judged == ASKED == proxy.count and not made.failed
    assert first_of(made)["order"]["bias"]["value"] == 0.5 and first_of(made)["order"]["flips"] == PROMPTS
    assert made.result["judges"][0]["models"] == [str(judges / "first")] and made.result["judges"][0]["tokens"] > 0
    made = judged(name, "busy")
    assert made.result["complete"] and made.judged == ASKED
    assert proxy.count == ASKED + len(proxy.bodies)  # two answers may be alike
    for fault, says in (
        ("gone", "can't be asked"), ("slow", "timed out"), ("garbage", "something else than a chat completion"),
        ("cut", "can't be asked"),
    ):  # fmt: skip
        made = judged(name, fault, every=2)
        [(count, why)] = made.failed.values()
        # Of a busy machine others may be late as well.
        assert count >= ASKED // 2 if fault == "slow" else count == ASKED // 2, fault
        assert says in why and "\n" not in why, (fault, made.failed)
        assert not made.result["complete"] and first_of(made)["invalid"] == 0, fault
        again = judged(name, "pass", target=fault)
        assert again.result["complete"] and (again.judged, proxy.count) == (count, count), fault
        assert first_of(again)["order"]["flips"] == PROMPTS


def test_nonsense_is_no_verdict_and_the_exit_code_says_whether_there_was_any(
    judges: Path, proxy: FaultProxy, judged: Callable[..., Any], tuned_home: Path, evaluated: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made = judged(f"endpoint:{proxy.url}#{judges / 'random'}", "pass")
    assert made.result["complete"] and first_of(made)["invalid"] == ASKED and not made.failed
    assert first_of(made)["win_rate"] is None and proxy.count == 2 * ASKED  # asked once more, then invalid
    line = ["eval", str(tuned_home / "run"), "--prompts", str(PROMPTS), "--max-new-tokens", "6", "--device", "cpu"]
    for fault, model, code, says in (
        ("gone", judges / "first", 0, f"{ASKED // 2}"), ("pass", "demo/none", 2, "neither bundled nor a run"),
    ):  # fmt: skip
        proxy.set(fault, 2)
        target = tmp_path / f"by-{fault}"
        shutil.copytree(evaluated, target)
        assert main([*line, "--output-dir", str(target), "--judge", f"endpoint:{proxy.url}#{model}"]) == code
        err = capsys.readouterr().err
        assert says in err and ("it gave no verdict" in err or "can't be asked" in err)
