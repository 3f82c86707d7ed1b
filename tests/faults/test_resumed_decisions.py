"""Early stopping, keep-best and the KL budget decide the same whether a run was stopped, killed or left alone."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from killing import SIGINT, SIGKILL, differences, fork, killed_at, rows, writes_of
from resuming import go_on, one_thread, starting
from short_runs import FAMILIES

from dpo.runs import open_run

__all__ = ["one_thread"]  # the fixture acts here too

KINDS = ("plain", "keep-best", "early-stopping", "kl-budget")
CURVE: dict[str, Any] = {
    "max_steps": 12, "eval_steps": 2, "save_steps": 4, "logging_steps": 3, "probes": 0, "warmup": 0.9,
}  # fmt: skip


@pytest.fixture(scope="module")
def measured(
    policy_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, bool], dict[int, dict[str, float]]]:
    """Held-out measures by step of a run that nothing ends early: what the others must decide by."""

    @functools.cache
    def run(family: str, lora: bool) -> dict[int, dict[str, float]]:
        out = tmp_path_factory.mktemp("curve")
        start = starting(policy_dirs[family], **CURVE, **method(lora))
        assert fork(start(out / "run"), out / "log") == 0, (out / "log").read_text()
        return {row["step"]: row for row in rows(out / "run" / "metrics.jsonl") if "eval_kl" in row}

    return run


def method(lora: bool) -> dict[str, Any]:
    """Rates at which the held-out measures go up and down; a dropout, whose random numbers a stop must not shift."""
    return {"learning_rate": 0.3, "lora": True, "lora_dropout": 0.1} if lora else {"learning_rate": 0.2}


def best_and_stop(values: dict[int, float], more: bool, patience: int) -> tuple[int, int]:
    """The step that early stopping keeps, and the one at which it stops."""
    best, worse = 0, 0
    for step, value in values.items():
        if step and (value > values[best] if more else value < values[best]):
            best, worse = step, 0
        elif step:
            worse += 1
        if worse == patience:
            return best, step
    return best, max(values)


def deciding(kind: str, curve: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Settings of that kind by which a run ends after step 5, where it will be stopped; the best is not its last."""
    if kind == "plain":
        return {"kl_prompts": 0}
    if kind == "kl-budget":
        divergences = {step: row["eval_kl"] for step, row in curve.items()}
        for step, value in divergences.items():
            before = max([0.0, *(other for earlier, other in divergences.items() if earlier < step)])
            if step >= 6 and value > before:
                return {"kl_budget": (value + before) / 2}
        pytest.fail(f"the divergence never rises after step 5: {divergences}")
    patiences = (1, 2, 3) if kind == "early-stopping" else (100,)
    for name, more in (("loss", False), ("accuracy", True), ("margin", True)):
        measure = {"loss": "eval_loss", "accuracy": "eval_rewards/accuracies", "margin": "eval_rewards/margins"}[name]
        for patience in patiences:
            best, stop = best_and_stop({step: row[measure] for step, row in curve.items()}, more, patience)
            ends = stop < max(curve) if kind == "early-stopping" else True
            if stop >= 6 and 0 < best < stop and ends:
                return {"keep_best": name} | ({"early_stopping": patience} if kind == "early-stopping" else {})
    pytest.fail(f"no measure gets worse: {curve}")


# Each family, each kind of weights and each kind of decision comes in every day.
EVERY_DAY = {
    ("t5", False, "plain"),
    ("t5", True, "keep-best"),
    ("gpt2", False, "early-stopping"),
    ("gpt2", True, "kl-budget"),
}
CASES = [
    pytest.param(
        *case,
        id=f"{case[0]}-{'lora' if case[1] else 'full'}-{case[2]}",
        marks=[] if case in EVERY_DAY else [pytest.mark.slow],
    )
    for case in itertools.product(FAMILIES, (False, True), KINDS)
]


@pytest.mark.parametrize(("family", "lora", "kind"), CASES)
def test_a_stopped_or_killed_run_keeps_and_ends_as_if_it_had_not_been(
    family: str,
    lora: bool,
    kind: str,
    measured: Callable[[str, bool], dict[int, dict[str, float]]],
    policy_dirs: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Stopped at a step where nothing else is due; killed between two rows."""
    settings = CURVE | method(lora) | deciding(kind, measured(family, lora) if kind != "plain" else {})
    start, log = starting(policy_dirs[family], **settings), tmp_path / "log"
    whole = tmp_path / "whole"
    writes = writes_of(start(whole), whole, log)
    info = json.loads((whole / "run.json").read_text())
    ends = {"early-stopping": "stopped early", "kl-budget": "KL budget spent"}
    assert ends.get(kind, "None") in str(info["reason"])
    if kind in ("keep-best", "early-stopping"):
        assert 0 < info["best"]["step"] < info["progress"]["step"]
    # The row of step 4 is written: the stop is at step 5, the kill before the next checkpoint.
    at = [number for number, what in enumerate(writes, 1) if what == "open /metrics.jsonl"][3]
    for sign in (SIGKILL, SIGINT):
        out = tmp_path / sign.name
        code = fork(killed_at(at, sign, start(out), out), log)
        assert code == (-SIGKILL if sign == SIGKILL else 0), log.read_text()
        if sign == SIGINT:
            stopped = open_run(out)
            assert stopped.state == "stopped", stopped.info["reason"]
            assert (out / "policy").is_dir() and not (out / "best").exists()
        assert go_on(out, start, log) == 0, log.read_text()
        assert differences(whole, out) == [], sign.name
