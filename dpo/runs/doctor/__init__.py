"""The curve doctor: rules over a run's record that name the regime it is in.

Each rule is a function of a `Case` in a module of its own; it returns a `Diagnosis` with the numbers
it rests on, or None.  Warnings come first, then what is worth knowing; a run without a warning is
called healthy, unless its chosen answers get less likely: then that is what is said first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.rules import (
    data,
    displacement,
    divergence,
    gradients,
    health,
    hump,
    kl,
    learning,
    length,
    overfit,
    reading,
    repetition,
    saturation,
    shortcut,
    squeezing,
    step_zero,
)
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence, Thresholds
from dpo.runs.reader import Run
from dpo.severity import is_severe, rank

RULES: tuple[Callable[[Case], Diagnosis | None], ...] = (
    step_zero.check,
    divergence.check,
    learning.check,
    saturation.check,
    displacement.check,
    squeezing.check,
    squeezing.band,
    length.check,
    repetition.check,
    overfit.check,
    overfit.unlearned,
    kl.check,
    hump.check,
    gradients.check,
    shortcut.check,
    data.mispaired,
    reading.damage,
    reading.clock,
)
# What these say follows from the rewards, which measure nothing where policy and reference do not start equal.
_OF_REWARDS = (
    learning.check, saturation.check, displacement.check, overfit.check, overfit.unlearned, shortcut.check,
)  # fmt: skip
_FEWEST_ROWS = 3


def diagnose(run: Run, limits: Thresholds | None = None, audit: Mapping[str, Any] | None = None) -> list[Diagnosis]:
    """All verdicts on a run, the most severe first; never empty.

    `audit` is that of the run's data, as `dpo data audit --json` writes it; without one, `audit.json`
    in the run's directory counts.
    """
    metrics = run.metrics()
    known = audit if audit is not None else run.audit()[0]
    case = Case(run, metrics, run.samples(), limits or Thresholds(), known)
    if step_zero.check(case) is not None:
        case = replace(case, measures_tuning=False)
    rules = [rule for rule in RULES if case.measures_tuning or rule not in _OF_REWARDS]
    verdicts = [verdict for rule in rules if (verdict := rule(case)) is not None]
    if metrics.rows < _FEWEST_ROWS:
        verdicts.append(health.too_early(case))
    elif not any(is_severe(verdict.severity) or verdict.code == displacement.CODE for verdict in verdicts):
        verdicts.append(health.healthy(case))
    return sorted(verdicts, key=lambda verdict: rank(verdict.severity))


__all__ = ["RULES", "Case", "Change", "Citation", "Diagnosis", "Evidence", "Thresholds", "diagnose"]
