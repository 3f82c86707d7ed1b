"""What is asked of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dpo.generation.settings import Sampling
from dpo.generation.spec import PolicySpec
from dpo.serving.service import Work

MOST_POLICIES = 8


@dataclass(eq=False)
class Job(Work):
    """One prompt for several policies."""

    prompt: str
    policies: tuple[PolicySpec, ...]
    sampling: Sampling
    samples: int = 1
    log_ratios: bool = False
    turns: tuple[tuple[str, str], ...] = ()
    same_tokens: list[dict[str, Any]] = field(default_factory=list)
