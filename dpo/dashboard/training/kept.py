"""The policies that a run left behind, by step: for Compare, and for answers to a prompt of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request

from dpo.dashboard.training.drawing import chosen
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


def register(server: Flask, roots: Sequence[Path]) -> None:
    """Add `POST /api/checkpoints`: which policies of the runs on screen can be asked, oldest first."""

    @server.post("/api/checkpoints")
    def askable() -> Response:
        asked = request.get_json(silent=True)
        runs = asked.get("runs") if isinstance(asked, dict) else None
        entries, notes = chosen([str(path) for path in runs] if isinstance(runs, list) else [], roots)
        found: list[dict[str, Any]] = []
        for entry in entries:
            kept, start = policies(entry.run), base(entry.run)
            steps = [*([(0, start)] if start is not None and kept else []), *sorted(kept.items())]
            found += [
                {"run": str(entry.run.path), "label": entry.label, "step": step, "policy": policy}
                for step, policy in steps
            ]
            if not kept:
                notes.append(f"{entry.label} kept no checkpoints: train with --save-steps and --keep-checkpoints")
            elif not entry.run.checkpoints:
                notes.append(f"{entry.label} kept no checkpoints: its base and its result answer")
        return jsonify({"policies": found, "notes": notes})


def _is_bundled(run: Run) -> bool:
    return run.path.resolve().parent == BUNDLED_RUNS.resolve()
