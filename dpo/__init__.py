"""DPO workbench: preference tuning of small T5 and GPT-2 models, and seeing what it changed.

The public names are loaded on first use, so `import dpo` loads neither torch nor dash.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpo.errors import (
        BusyError,
        ConfigError,
        DataError,
        DpoError,
        PolicyError,
        PromptError,
        RunError,
        StepZeroError,
        StorageError,
    )
    from dpo.evaluation.comparison.plan import EvaluationConfig
    from dpo.evaluation.comparison.work import Evaluation, evaluate
    from dpo.generation.sampler import Generation, generate, stream
    from dpo.generation.settings import Sampling
    from dpo.policies.loading import Policy, load_policy
    from dpo.policies.scoring import score
    from dpo.preferences import Preferences, load_preferences
    from dpo.pretraining.config import PretrainConfig
    from dpo.pretraining.recipe import pretrain
    from dpo.runs import Metrics, Run, find_runs, open_run
    from dpo.training.config import SftConfig, TrainConfig
    from dpo.training.run import sft, train

# Where it is installed it warns at every start of a missing extra for 4-bit weights, used or not.
logging.getLogger("bitsandbytes.backends").setLevel(logging.ERROR)
# PEFT and TRL ask for it at every adapter and every reference pass.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

_HOMES = {
    "dpo.errors": (
        "BusyError",
        "ConfigError",
        "DataError",
        "DpoError",
        "PolicyError",
        "PromptError",
        "RunError",
        "StepZeroError",
        "StorageError",
    ),
    "dpo.evaluation.comparison.plan": ("EvaluationConfig",),
    "dpo.evaluation.comparison.work": ("Evaluation", "evaluate"),
    "dpo.generation.sampler": ("Generation", "generate", "stream"),
    "dpo.generation.settings": ("Sampling",),
    "dpo.policies.loading": ("Policy", "load_policy"),
    "dpo.policies.scoring": ("score",),
    "dpo.preferences": ("Preferences", "load_preferences"),
    "dpo.runs": ("Metrics", "Run", "find_runs", "open_run"),
    "dpo.pretraining.config": ("PretrainConfig",),
    "dpo.pretraining.recipe": ("pretrain",),
    "dpo.training.config": ("SftConfig", "TrainConfig"),
    "dpo.training.run": ("sft", "train"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BusyError",
    "ConfigError",
    "DataError",
    "DpoError",
    "Evaluation",
    "EvaluationConfig",
    "Generation",
    "Metrics",
    "Policy",
    "PolicyError",
    "Preferences",
    "PretrainConfig",
    "PromptError",
    "Run",
    "RunError",
    "Sampling",
    "SftConfig",
    "StepZeroError",
    "StorageError",
    "TrainConfig",
    "evaluate",
    "find_runs",
    "generate",
    "load_policy",
    "load_preferences",
    "open_run",
    "pretrain",
    "score",
    "sft",
    "stream",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'dpo' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
