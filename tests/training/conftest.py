"""A tiny tuned run and its evaluation, made once for all tests of evaluations."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from evaluations import config_of
from tiny import TEXTS, save_tiny

from dpo.evaluation.comparison.work import evaluate
from dpo.training.config import TrainConfig
from dpo.training.recipes.dpo import train
from dpo.training.settings import make


@pytest.fixture(scope="session")
def tuned_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny base `base`, a tuned run `run` of it (LoRA), and its pairs."""
    root = tmp_path_factory.mktemp("evaluation")
    save_tiny("gpt2", root / "base")
    words, draw = " ".join(TEXTS).split(), random.Random(1)
    rows = [
        {
            "prompt": f"Question {number}?",
            "chosen": " ".join(draw.choices(words, k=6)) + " 😄",
            "rejected": " ".join(draw.choices(words, k=5)),
        }
        for number in range(40)
    ]
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train(
        make(
            TrainConfig,
            {
                "model": str(root / "base"), "dataset": str(root / "pairs.jsonl"), "output_dir": str(root / "run"),
                "max_steps": 2, "batch_size": 4, "learning_rate": 0.02, "lora": True, "probes": 0,
                "kl_prompts": 1, "device": "cpu",
                "eval_fraction": 0.3, "precision": "fp32", "max_prompt_length": 24, "max_completion_length": 60,
            },
        )
    )  # fmt: skip
    return root


@pytest.fixture(scope="session")
def evaluated(tuned_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an evaluation that nothing interrupted."""
    target = tmp_path_factory.mktemp("whole") / "e"
    evaluate(config_of(tuned_home, target))
    return target
