"""What stands in the way of reading the record itself."""

from __future__ import annotations

import numpy as np

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Diagnosis, Evidence


def damage(case: Case) -> Diagnosis | None:
    """Damaged parts were left out."""
    problems = case.run.problems()
    if not problems:
        return None
    return Diagnosis(
        "damaged record",
        "parts could not be read",
        "note",
        "Read as far as it is good: " + "; ".join(problems) + ".",
    )


def clock(case: Case) -> Diagnosis | None:
    """Wall time that goes back."""
    steps, times = case.metrics.points("time")
    back = np.flatnonzero(np.diff(times) < -1.0) if len(times) > 1 else np.empty(0, dtype=int)
    if not len(back):
        return None
    place = int(back[0]) + 1
    return Diagnosis(
        "clock went back",
        "wall time is not in order",
        "note",
        f"The clock goes back by {times[place - 1] - times[place]:.0f} s at step {int(steps[place])} (a changed clock, "
        "or files of two machines): read this run by step, not by time.",
        (Evidence("seconds back", float(times[place - 1] - times[place]), int(steps[place])),),
    )
