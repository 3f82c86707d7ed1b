"""What is asked of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dpo.generation.settings import Sampling
from dpo.generation.spec import PolicySpec
from dpo.serving.service import Work

MOST_POLICIES = 8


@dataclass(frozen=True)
class Conversation:
    """The text of a conversation as training writes it, and its turns, which a policy with a chat template reads."""

    text: str
    messages: list[dict[str, str]] | None


@dataclass(eq=False)
class Job(Work):
    """One prompt for several policies."""

    prompt: str | tuple[int, ...] | Conversation
    """A text, the tokens of one, or a conversation."""
    policies: tuple[PolicySpec, ...]
    sampling: Sampling
    samples: int = 1
    log_ratios: bool = False
    turns: tuple[tuple[str, str], ...] = ()
    same_tokens: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The prompt as text; of tokens, which only their policy can read, none."""
        if isinstance(self.prompt, Conversation):
            return self.prompt.text
        return self.prompt if isinstance(self.prompt, str) else ""


@dataclass(eq=False)
class ScoreJob(Work):
    """Texts to be scored by one policy, as `dpo.generation.echo` does it."""

    texts: tuple[str | tuple[int, ...], ...]
    policies: tuple[PolicySpec, ...]
    likeliest: int = 0
    following: bool = False
