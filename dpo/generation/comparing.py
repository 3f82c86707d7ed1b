"""One prompt to several policies, for Python and notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpo.generation.pieces import Generation
from dpo.generation.sampler import generate
from dpo.generation.settings import Sampling
from dpo.notebook import NotebookView, PlotLine, Sheet
from dpo.policies.families import Prompt
from dpo.policies.loading import load_policy


@dataclass(frozen=True)
class Comparison(NotebookView):
    """The answer of each policy, by its name."""

    prompt: Prompt
    answers: Mapping[str, Generation]

    def sheet(self) -> Sheet:
        """The answers beside each other, as a notebook shows them."""
        names, made = list(self.answers), list(self.answers.values())
        columns: dict[str, list[Any]] = {
            "policy": names,
            "answer": [one.text for one in made],
            "tokens": [one.tokens for one in made],
            "end": [one.end for one in made],
        }
        bars = PlotLine("tokens", names, columns["tokens"], bars=True)
        asked = self.prompt if isinstance(self.prompt, str) else self.prompt[-1]["content"]
        return Sheet(str(asked), columns, [bars], "", "tokens")


def compare(prompt: Prompt, policies: Sequence[str], sampling: Sampling | None = None) -> Comparison:
    """Ask every policy the same, with the same random numbers.

    Raises:
        PolicyError: a policy is not found.
        PromptError: the prompt is blank or too long.
        ConfigError: sampling values out of range.
    """
    sampling = sampling or Sampling()
    answers = {}
    for name in policies:
        [answers[name]] = generate(load_policy(name), [prompt], sampling)
    return Comparison(prompt, answers)
