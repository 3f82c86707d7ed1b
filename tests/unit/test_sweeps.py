"""What the page of a sweep shows: which runs are its trials, how far it is, and which did best."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from run_rows import row as row_of

from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.runs_page.sweep_page import history
from dpo.dashboard.runs_page.table import Row, rows_of
from dpo.dashboard.runs_page.trials import outcomes, searched
from dpo.dashboard.sweeps import SweepRuns, asked_for, progress, sweeps_of
from dpo.errors import RunError
from dpo.runs import BUNDLED_RUNS, RunRecord, find_runs
from dpo.training.job import TrainingJob
from dpo.training.sweep_plan import plan_of, write_plan

PLAN = """
name: rates
trials: 6
measure: loss
settings: {model: demo/gpt2, dataset: sample}
search:
  learning_rate: {low: 1e-5, high: 1e-3, log: true}
  loss_type: [[sigmoid], [sigmoid, sft]]
"""
LOSSES = (0.6, 0.4, 0.5, None)
STATES = ("finished", "finished", "failed", "running")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four of six trials have begun: two finished, one failed, one trains; and a run that belongs to none."""
    (tmp_path / "rates" / ".trials").mkdir(parents=True)
    write_plan(plan_of(PLAN, "the test", "x"), tmp_path / "rates")
    for number, (loss, state) in enumerate(zip(LOSSES, STATES, strict=True)):
        record = RunRecord.create(
            tmp_path / "rates" / f"rates-{number:03d}",
            {"name": f"trial {number}", "kind": "dpo", "family": "gpt2", "state": state, "host": "elsewhere",
             "config": {"beta": 0.1, "learning_rate": 1e-5 * (number + 1), "loss_type": ["sigmoid"]}},
        )  # fmt: skip
        record.log(row_of(1, 0.01))
        times = {"created": f"2026-01-01T0{number}:00:00+00:00", "updated": f"2026-01-01T0{number + 1}:00:00+00:00"}
        (record.path / "run.json").write_text(json.dumps(record.info | times))
        if loss is not None:
            record.log({"step": 2, "eval_loss": loss, "eval_rewards/accuracies": 0.5, "eval_rewards/margins": 1 - loss})
    RunRecord.create(tmp_path / "gpt2-dpo-20260101-101010", {"name": "a", "kind": "dpo", "state": "finished"})
    return tmp_path


@pytest.fixture
def sweep(root: Path) -> SweepRuns:
    return asked_for("rates", find_runs([root]))


@pytest.fixture
def rows(root: Path, sweep: SweepRuns) -> list[Row]:
    known = {row["path"]: row for row in rows_of(RunReader([root]))}
    return [known[str(run.path)] for run in sweep.runs]


def test_runs_that_one_sweep_made_belong_together(root: Path, sweep: SweepRuns) -> None:
    [found] = sweeps_of(find_runs([root]))
    assert found == sweep == asked_for(str(root / "rates" / "rates"), find_runs([root]))
    assert [run.name for run in found.runs] == ["trial 0", "trial 1", "trial 2", "trial 3"]
    assert (found.trials, found.measure) == (6, "loss")
    bundled = {found.name: found for found in sweeps_of(find_runs([BUNDLED_RUNS]))}
    assert {name: len(found.runs) for name, found in bundled.items()} == {"gpt2-sweep": 8, "t5-sweep": 8}
    assert (bundled["t5-sweep"].trials, bundled["t5-sweep"].measure) == (8, "accuracy")  # it left no plan
    for asked, says in (("", "No sweep is chosen: choose rates"), ("../rates", "no sweep '../rates' here")):
        with pytest.raises(RunError, match=says):
            asked_for(asked, find_runs([root]))


def job(sweep: SweepRuns, state: str) -> TrainingJob:
    return TrainingJob("1", sweep.directory, sweep.directory, "dpo sweep", 0.0, state, False, None, None, 6)


def test_how_far_it_is_how_fast_and_what_is_left(sweep: SweepRuns) -> None:
    four = datetime(2026, 1, 1, 4, tzinfo=UTC).timestamp()
    far = progress(sweep, [job(sweep, "running")], four)
    assert far.counts == {"finished": 2, "failed": 1, "running": 1, "not begun": 2}
    assert (far.ended, far.trials, far.live) == (3, 6, True)
    assert (far.seconds, far.per_hour, far.left) == (4 * 3600, 0.75, 4 * 3600)
    ended = dataclasses.replace(sweep, runs=sweep.runs[:3], plan={})
    far = progress(ended, [], four + 9000)
    assert (far.ended, far.trials, far.live, far.seconds, far.left) == (3, 3, False, 3 * 3600, None)
    between = dataclasses.replace(sweep, runs=sweep.runs[:3])
    for state, now, live in (("running", 1e6, True), ("stopped", 1.0, False), (None, 30.0, True), (None, 90.0, False)):
        jobs = [job(sweep, state)] if state else []
        assert progress(between, jobs, four - 3600 + now).live is live, (state, now)


def test_the_best_is_the_best_of_those_that_ended(sweep: SweepRuns, rows: list[Row]) -> None:
    by_loss = outcomes(rows, sweep, "loss")
    assert [row["value"] for row in by_loss] == [0.4, 0.5, 0.6, None]
    assert [row["best"] for row in by_loss] == [True, False, False, False]
    assert outcomes(rows, sweep, "margin")[0]["value"] == pytest.approx(0.6)
    figure, note = history(rows, by_loss, "loss")
    assert figure["data"][0]["x"] == [1, 2] and figure["data"][0]["y"] == [0.6, 0.4]
    assert note.endswith("Unbeaten since trial 1.")
    still = [row | {"state": "running"} for row in rows]
    assert not any(row["best"] for row in outcomes(still, sweep, "loss"))
    assert history(still, outcomes(still, sweep, "loss"), "loss")[1] == "No trial has ended yet."


def test_a_policy_that_was_kept_for_the_measure_counts_by_that(root: Path, write: Callable[..., Any]) -> None:
    write("rates-001", best={"by": "loss", "value": 0.2, "step": 1})
    sweep = asked_for("rates", find_runs([root]))
    rows = [row for row in rows_of(RunReader([root])) if "rates-" in row["path"]]
    assert outcomes(rows, sweep, "loss")[0]["value"] == 0.2
    assert outcomes(rows, sweep, "loss")[1]["value"] == 0.5


@pytest.fixture
def write(root: Path) -> Callable[..., None]:
    def change(name: str, **fields: Any) -> None:
        directory = root / "rates" / name
        [run] = [run for run in find_runs([root]) if run.path == directory]
        RunRecord(directory, dict(run.info)).update(**fields)

    return change


def test_what_was_searched_is_the_plan_or_else_what_differs(sweep: SweepRuns, rows: list[Row]) -> None:
    assert searched(rows, sweep) == [
        ("learning_rate", "lr", "1e-05 to 0.001, evenly in its logarithm"),
        ("loss_type", "Objective", "sigmoid, sigmoid + sft"),
    ]
    [(name, title, seen)] = searched(rows, dataclasses.replace(sweep, plan={}))
    assert (name, title) == ("learning_rate", "lr") and seen == "1e-05, 2e-05, 3e-05, 4e-05"
