"""Evaluations with the tiny run of `tests/training/conftest.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpo.evaluation.comparison.plan import EvaluationConfig

PROMPTS = 4


def config_of(home: Path, target: Path, **settings: Any) -> EvaluationConfig:
    run = str(home / "run")
    given = {"judges": [f"reward:{run}"], "prompts": PROMPTS, "max_new_tokens": 6, "batch_size": 3, "device": "cpu"}
    return EvaluationConfig([run], output_dir=str(target), votes=str(target / "votes.sqlite"), **(given | settings))
