"""A trainer over four pairs of short texts, for tests of single steps."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from datasets import Dataset
from tiny import TEXTS

from dpo.policies.loading import Policy
from dpo.training.config import TrainConfig
from dpo.training.data import Limits, tokenize_pairs
from dpo.training.settings import make
from dpo.training.trainer import PreferenceTrainer
from dpo.training.trainer_arguments import lora_config, trl_arguments

PAIRS = Dataset.from_dict(
    {"prompt": TEXTS[:2] * 2, "chosen": [TEXTS[3], TEXTS[4], TEXTS[1], TEXTS[3]], "rejected": [TEXTS[2], TEXTS[5]] * 2}
)
FAMILIES = ["t5", "gpt2"]
BETA = 0.1


def make_trainer(policy: Policy, path: Path, **settings: Any) -> tuple[PreferenceTrainer, Dataset]:
    values = {"learning_rate": 1e-2, "batch_size": 4, "max_steps": 3, "device": "cpu", "beta": BETA} | settings
    config = make(TrainConfig, values)
    rows, _ = tokenize_pairs(policy, PAIRS, Limits(64, 48))
    lora = config.lora
    reference = None if lora else copy.deepcopy(policy.network)
    args = trl_arguments(config, str(path), "fp32", True, False)
    trainer = PreferenceTrainer(policy, reference, args, rows, rows, lora_config(policy, config) if lora else None)
    return trainer, rows
