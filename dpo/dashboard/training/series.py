"""From runs to the points of curves (pure functions; no dash here)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dpo.runs import Metrics, Run, open_run

AXES = {"Step": "step", "Examples": "examples", "Epoch": "epoch", "Time": "time"}


@dataclass(frozen=True)
class Curve:
    """One measure of one run: what was logged in training, smoothed, and held out."""

    run: str
    family: str | None
    rank: int
    x: list[float]
    y: list[float]
    smooth: list[float]
    eval_x: list[float]
    eval_y: list[float]

    @property
    def newest(self) -> float | None:
        """The last held-out value, else the last smoothed one."""
        if self.eval_y:
            return self.eval_y[-1]
        return self.smooth[-1] if self.smooth else None


def smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Exponential moving average, debiased as TensorBoard does; `weight` from 0 (off) below 1."""
    total, result = 0.0, []
    for count, value in enumerate(values, 1):
        total = weight * total + (1 - weight) * value
        result.append(total / (1 - weight**count))
    return result


def curve(run: Run, metrics: Metrics, key: str, axis: str, weight: float, rank: int = 0) -> Curve:
    """The curve of `key` over `axis` (a name in `AXES`)."""
    x, y = metrics.series(key, AXES[axis])
    eval_x, eval_y = metrics.series(f"eval_{key}", AXES[axis])
    return Curve(run.name, run.family, rank, x, y, smoothed(y, weight), eval_x, eval_y)


def ranked(runs: Sequence[Run]) -> list[tuple[Run, int]]:
    """Each run with its place within its family: the first is drawn solid, the next ones dashed."""
    seen: dict[str | None, int] = {}
    result = []
    for run in runs:
        rank = seen.get(run.family, 0)
        seen[run.family] = rank + 1
        result.append((run, rank))
    return result


def signature(path: Path) -> tuple[int, int]:
    """Changes whenever the run's measures or state do."""
    parts = []
    for name in ("metrics.jsonl", "run.json"):
        try:
            status = (path / name).stat()
            parts.append(hash((status.st_mtime_ns, status.st_size)))
        except OSError:
            parts.append(0)
    return parts[0], parts[1]


def read(path: str) -> tuple[Run, Metrics]:
    """A run with its measures; read again only when the files have changed.

    Raises:
        RunError: the run is gone or damaged.
    """
    return _read(path, signature(Path(path)))


@lru_cache(maxsize=64)
def _read(path: str, version: tuple[int, int]) -> tuple[Run, Metrics]:
    run = open_run(path)
    return run, run.metrics()


def verdict(name: str, metrics: Metrics) -> tuple[str, str]:
    """(ok, warn or bad; one sentence) about a DPO run, from its own numbers alone."""
    steps, chosen = metrics.series("eval_rewards/chosen")
    if len(steps) < 2:
        steps, chosen = metrics.series("rewards/chosen")
    margin = metrics.last("eval_rewards/margins")
    margin = margin if margin is not None else metrics.last("rewards/margins")
    first = metrics.columns.get("loss", [None])[0]
    if metrics.steps[:1] == [0] and first is not None and abs(first - 0.693147) > 1e-3 and first < 5:
        return "warn", f"{name}: the loss starts at {first:.4f}, not at ln 2 (right only for other losses)"
    if len(steps) < 2 or margin is None:
        return "ok", f"{name}: too early to tell"
    if margin <= 0:
        return "warn", f"{name}: the margin is {margin:.2f}; nothing learned yet"
    best = max(range(len(chosen)), key=chosen.__getitem__)
    fall = chosen[best] - chosen[-1]
    if chosen[-1] < 0 and fall > 0.2 * margin:
        since = f"since step {steps[best]:.0f}" if best else "from the start"
        return (
            "warn",
            f"{name}: the chosen reward falls {since}; the margin of {margin:.2f} comes from pushing rejected answers "
            "down, so read the answers below",
        )
    accuracy = metrics.last("eval_rewards/accuracies")
    if accuracy is not None and accuracy >= 0.99:
        return (
            "ok",
            f"{name}: margin {margin:.2f}, and {accuracy:.0%} of held-out pairs ranked right; style alone separates "
            "these answers, so judge by the text",
        )
    if chosen[-1] < 0:
        return "ok", f"{name}: both rewards are below 0, rejected ones much further, margin {margin:.2f}"
    return "ok", f"{name}: chosen answers gain on rejected ones, margin {margin:.2f}"
