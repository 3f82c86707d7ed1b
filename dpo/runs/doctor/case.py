"""What the rules look at: a run's curves, answers and settings, prepared once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from tsdownsample import MinMaxLTTBDownsampler

from dpo import losses
from dpo.arrays import Floats
from dpo.runs.doctor.verdict import Evidence, Thresholds
from dpo.runs.metrics import Metrics
from dpo.runs.reader import Run, Sample

LN2 = math.log(2)
_MOST_POINTS = 5000
_KL_BUDGET = 10.0


def loss_types(run: Run) -> list[str]:
    """The losses of a run; sigmoid, TRL's default, where the record does not say."""
    value = run.config.get("loss_type")
    names = [value] if isinstance(value, str) else list(value or ["sigmoid"])
    return [str(name) for name in names]


def starts_at_ln2(run: Run) -> bool:
    """Whether the loss is ln 2 where policy and reference agree."""
    return run.kind == "dpo" and losses.starts_at_ln2(loss_types(run))


@dataclass(frozen=True, eq=False)
class JudgedCurve:
    """One measure: steps, values, and whether they are held-out ones."""

    steps: Floats
    values: Floats
    held_out: bool

    def __len__(self) -> int:
        return len(self.values)

    @property
    def first(self) -> float:
        """The first value."""
        return float(self.values[0])

    @property
    def last(self) -> float:
        """The last value that was logged."""
        return float(self.values[-1])

    @property
    def level(self) -> float:
        """Where the curve stands, to judge by: the last value; of training, whose points are noisy, a mean of some."""
        return self.last if self.held_out else float(self.tail(0.1).mean())

    @property
    def level_of(self) -> str:
        """Which points `level` is of, in words; empty if it is the last one as logged."""
        count = 1 if self.held_out else len(self.tail(0.1))
        return "" if count == 1 else f"mean of the last {count} logged points"

    def evidence(self, text: str) -> Evidence:
        """The level, saying which points it is of."""
        return Evidence(text, self.level, self.last_step, self.level_of)

    def best_evidence(self, text: str, sign: float) -> Evidence:
        """The highest (`sign` 1) or lowest (-1) place; of training it is one of the running median."""
        step, value = self.best(sign)
        width = self._width
        return Evidence(text, value, step, "" if width == 1 else f"median of {width} logged points around step {step}")

    @property
    def last_step(self) -> int:
        """The last step."""
        return int(self.steps[-1])

    def tail(self, share: float) -> Floats:
        """The last values: this share of them, three at least."""
        return self.values[-max(3, round(len(self.values) * share)) :]

    def head(self, share: float) -> Floats:
        """The first values: this share of them, three at least."""
        return self.values[: max(3, round(len(self.values) * share))]

    def best(self, sign: float) -> tuple[int, float]:
        """Step and value of the highest (`sign` 1) or lowest (-1) point."""
        place = int(np.argmax(sign * self.smooth))
        return int(self.steps[place]), float(self.smooth[place])

    @property
    def _width(self) -> int:
        return 1 if self.held_out else max(1, min(len(self.values) // 10, 50)) | 1

    @cached_property
    def smooth(self) -> Floats:
        """Running median over about a tenth of the curve (held out: the values themselves)."""
        width = self._width
        if width == 1:
            return self.values
        padded = np.pad(self.values, width // 2, mode="edge")
        return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)


@dataclass(frozen=True, eq=False)
class Case:
    """A run as the rules see it."""

    run: Run
    metrics: Metrics
    samples: Sequence[Sample]
    limits: Thresholds
    audit: Mapping[str, Any] = field(default_factory=dict)  # of the run's data, as `dpo data audit --json` writes it
    measures_tuning: bool = True  # whether the rewards do: not where policy and reference did not start equal

    def train(self, key: str) -> JudgedCurve:
        """A measure of the training batches."""
        return JudgedCurve(*_thinned(*_from_one(self.metrics.points(key))), held_out=False)

    def held(self, key: str) -> JudgedCurve:
        """A measure of the held-out pairs."""
        return JudgedCurve(*_thinned(*self.metrics.points(f"eval_{key}")), held_out=True)

    @property
    def held_loss(self) -> JudgedCurve:
        """The held-out loss; of supervised fine-tuning that of the chosen answers, which it learns."""
        chosen = self.held("chosen_loss")
        return chosen if self.run.kind != "dpo" and len(chosen) > 1 else self.held("loss")

    def judged(self, key: str) -> JudgedCurve:
        """The held-out measure where it was taken twice or more, else the one of training."""
        held = self.held(key)
        return held if len(held) > 1 else self.train(key)

    @property
    def beta(self) -> float:
        """The run's beta; 0.1, TRL's default, where the record does not say."""
        value = self.run.config.get("beta")
        return float(value) if isinstance(value, int | float) and value > 0 else 0.1

    @property
    def kl_budget(self) -> float:
        """Nats per answer that the policy may be away from its reference."""
        own = self.run.config.get("kl_budget")
        given = self.limits.kl_budget if self.limits.kl_budget is not None else own
        return float(given) if isinstance(given, int | float) and given > 0 else _KL_BUDGET

    @property
    def held_out_pairs(self) -> int | None:
        """How many pairs were held out."""
        value = (self.run.info.get("dataset") or {}).get("held_out")
        return int(value) if isinstance(value, int) else None

    @property
    def expected_first_loss(self) -> float | None:
        """Loss at step 0 when policy and reference agree; None where the losses leave it open."""
        check = self.run.step_zero or {}
        if isinstance(check.get("expected"), int | float):
            return float(check["expected"])
        return LN2 if starts_at_ln2(self.run) else None

    @property
    def rate(self) -> float | None:
        """The peak learning rate: from the settings, else the highest one logged."""
        value = self.run.config.get("learning_rate")
        if isinstance(value, int | float):
            return float(value)
        _, rates = self.metrics.points("learning_rate")
        return float(rates.max()) if len(rates) else None

    @property
    def limit(self) -> float:
        """The norm at which gradients are clipped."""
        value: Any = self.run.config.get("max_grad_norm")
        return float(value) if isinstance(value, int | float) else 1.0

    def slower(self, factor: float) -> str:
        """The learning rate divided by `factor`, as the value of a flag."""
        return f"{(self.rate or 5e-7 * factor) / factor:.3g}"

    def answers(self, step: int | None = None) -> list[Sample]:
        """Probe answers of the newest step, or of `step`."""
        if not self.samples:
            return []
        at = max(sample.step for sample in self.samples) if step is None else step
        return [sample for sample in self.samples if sample.step == at]


def _thinned(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """At most some thousand points, the extremes among them: a rule needs no more, and a page cannot wait."""
    if len(values) <= _MOST_POINTS:
        return steps, values
    chosen = MinMaxLTTBDownsampler().downsample(values, n_out=_MOST_POINTS)
    return steps[chosen], values[chosen]


def _from_one(points: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Step 0 is measured once before any update; where there is more, training starts at step 1."""
    steps, values = points
    return (steps[1:], values[1:]) if len(steps) > 3 and steps[0] == 0 else (steps, values)
