"""The policies that a run left behind, by step: for Compare, and for prompts of one's own (no dash here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dpo.policies.names import BUNDLED
from dpo.runs import BUNDLED_RUNS, Run, Sample

_NAMES = {run: name for name, run in BUNDLED.items()}
# Answers to prompts of one's own, as the page keeps them: run -> (step, text), by prompt.
Own = Mapping[str, Mapping[str, Sequence[tuple[int, str]]]]


def policies(run: Run) -> dict[int, str]:
    """Names that `load_policy` takes, by step: each checkpoint, and what was saved at the end."""
    found = {step: str(path) for step, path in run.checkpoints}
    if run.policy_path is not None:
        found[run.policy_step] = _NAMES.get(run.path.name, str(run.path)) if _is_bundled(run) else str(run.path)
    return found


def base(run: Run) -> str | None:
    """Name of what the run started from, if it says."""
    return str(run.config.get("model") or "") or None


def own_samples(run: Run, prompt: str | None, own: Own) -> list[Sample]:
    """The answers of a run's checkpoints to a prompt of one's own; step 0 is what it started from."""
    answers = dict(own.get(prompt or "", {}).get(str(run.path), ()))
    return [Sample(step, 0, prompt or "", text, answers.get(0)) for step, text in sorted(answers.items())]


def _is_bundled(run: Run) -> bool:
    return run.path.resolve().parent == BUNDLED_RUNS.resolve()
