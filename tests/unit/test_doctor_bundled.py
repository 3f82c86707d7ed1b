"""What the doctor says of the bundled runs: the sound ones, and the one that is ruined on purpose."""

from __future__ import annotations

import pytest

from dpo.runs import BUNDLED_RUNS, open_run
from dpo.runs.doctor import Diagnosis, diagnose


def verdicts(name: str) -> dict[str, Diagnosis]:
    """The verdicts on a bundled run, by their code, in the order in which they are said."""
    return {verdict.code: verdict for verdict in diagnose(open_run(BUNDLED_RUNS / name))}


@pytest.mark.parametrize("name", ["Llama-3-t5-base", "Llama-3-gpt2-base", "Llama-3-t5-sft", "Llama-3-gpt2-sft"])
def test_the_bundled_bases_are_healthy(name: str) -> None:
    assert [verdict.severity for verdict in verdicts(name).values()] == ["ok"]


@pytest.mark.parametrize("name", ["Llama-3-t5-dpo", "Llama-3-gpt2-dpo"])
def test_of_the_bundled_tunings_the_shortcut_is_said_first(name: str) -> None:
    found = verdicts(name)
    assert next(iter(found)) == "shortcut"
    assert {verdict.severity for verdict in found.values()} <= {"warning", "note"}


def test_what_is_on_already_is_not_advised() -> None:
    # GPT-2's chosen answers get a little less likely, and the run has the loss that is advised elsewhere.
    run = open_run(BUNDLED_RUNS / "Llama-3-gpt2-dpo")
    change = verdicts("Llama-3-gpt2-dpo")["likelihood displacement"].change
    assert change is not None and change.flag == "--learning-rate"
    assert float(change.value) == pytest.approx(run.config["learning_rate"] / 2, rel=0.005)  # no rounder number


def test_the_bundled_run_with_too_high_a_rate_is_read_through() -> None:
    found = verdicts("Llama-3-t5-dpo-high-rate")
    assert {"saturation", "likelihood displacement", "KL budget spent"} <= set(found)
    assert next(iter(found.values())).severity == "fault"
    fix = found["likelihood displacement"].change
    assert fix is not None and (fix.flag, fix.value) == ("--loss-type", "sigmoid sft")
