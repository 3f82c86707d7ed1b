"""DPO workbench: preference tuning of small T5 and GPT-2 models, and seeing what it changed.

The public names are loaded on first use, so `import dpo` loads neither torch nor dash.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

from dpo import errors, hub

if TYPE_CHECKING:
    from dpo.errors import *  # noqa: F403
    from dpo.evaluation.comparison.plan import EvaluationConfig as EvaluationConfig
    from dpo.evaluation.comparison.work import Evaluation as Evaluation
    from dpo.evaluation.comparison.work import evaluate as evaluate
    from dpo.evaluation.lens import open_lens as open_lens
    from dpo.generation.comparing import Comparison as Comparison
    from dpo.generation.comparing import compare as compare
    from dpo.generation.pieces import Generation as Generation
    from dpo.generation.sampler import generate as generate
    from dpo.generation.sampler import stream as stream
    from dpo.generation.settings import Sampling as Sampling
    from dpo.policies.loading import Policy as Policy
    from dpo.policies.loading import load_policy as load_policy
    from dpo.policies.scoring import score as score
    from dpo.preferences import Preferences as Preferences
    from dpo.preferences import load_preferences as load_preferences
    from dpo.preferences.audit import Audit as Audit
    from dpo.preferences.audit.source import audit as audit
    from dpo.pretraining.config import PretrainConfig as PretrainConfig
    from dpo.pretraining.recipe import pretrain as pretrain
    from dpo.runs import Metrics as Metrics
    from dpo.runs import Run as Run
    from dpo.runs import find_runs as find_runs
    from dpo.runs import open_run as open_run
    from dpo.training.config import SftConfig as SftConfig
    from dpo.training.config import TrainConfig as TrainConfig
    from dpo.training.recipes.dpo import train as train
    from dpo.training.recipes.sft import sft as sft

hub.send_no_telemetry()
# Where it is installed it warns at every start of a missing extra for 4-bit weights, used or not.
logging.getLogger("bitsandbytes.backends").setLevel(logging.ERROR)
# PEFT and TRL ask for it at every adapter and every reference pass.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

_HOME_OF = {
    "EvaluationConfig": "dpo.evaluation.comparison.plan",
    "Evaluation": "dpo.evaluation.comparison.work",
    "evaluate": "dpo.evaluation.comparison.work",
    "open_lens": "dpo.evaluation.lens",
    "Comparison": "dpo.generation.comparing",
    "compare": "dpo.generation.comparing",
    "Generation": "dpo.generation.pieces",
    "generate": "dpo.generation.sampler",
    "stream": "dpo.generation.sampler",
    "Sampling": "dpo.generation.settings",
    "Policy": "dpo.policies.loading",
    "load_policy": "dpo.policies.loading",
    "score": "dpo.policies.scoring",
    "Preferences": "dpo.preferences",
    "load_preferences": "dpo.preferences",
    "Audit": "dpo.preferences.audit",
    "audit": "dpo.preferences.audit.source",
    "Metrics": "dpo.runs",
    "Run": "dpo.runs",
    "find_runs": "dpo.runs",
    "open_run": "dpo.runs",
    "PretrainConfig": "dpo.pretraining.config",
    "pretrain": "dpo.pretraining.recipe",
    "SftConfig": "dpo.training.config",
    "TrainConfig": "dpo.training.config",
    "train": "dpo.training.recipes.dpo",
    "sft": "dpo.training.recipes.sft",
} | {name: "dpo.errors" for name, kind in vars(errors).items() if isinstance(kind, type)}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'dpo' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
