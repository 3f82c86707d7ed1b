"""Past the hump: an evaluation in the run's directory shows that it moved further than pays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Citation, Diagnosis, Evidence

SOURCE = Citation(
    "Gao et al. 2022, Scaling Laws for Reward Model Overoptimization (R = d (a - b log d))",
    "https://arxiv.org/abs/2210.10760",
)


def check(case: Case) -> Diagnosis | None:
    """By a judge from outside, the run's policy or a checkpoint is beyond the top of the fitted curve."""
    for row in case.run.frontiers():
        for name in row["past"]:
            distance = row["distances"].get(name)
            if distance is not None and _is_of(name, case.run.path):
                return _diagnosis(row, name, distance)
    return None


def _is_of(name: str, run: Path) -> bool:
    """Whether a policy's name is the run's directory or something in it."""
    try:
        return Path(name).resolve().is_relative_to(run.resolve())
    except (OSError, ValueError):
        return False


def _diagnosis(row: dict[str, Any], name: str, distance: float) -> Diagnosis:
    top = row["hump"]
    low, high = ("?" if top[end] is None else f"{top[end]:.2g}" for end in ("low", "high"))
    return Diagnosis(
        "past the hump",
        "further from its base than pays",
        "warning",
        f"{Path(name).name} is {distance:.2g} from its base (square root of the KL in nats); what {row['judge']} gives "
        f"is highest at {top['peak']:.2g} ({low} to {high}): beyond, answers get worse by a judge from outside.",
        (
            Evidence("from the base, square root of the KL", distance),
            Evidence("is where the judge gives most", top["peak"]),
        ),
        Change("--kl-budget", f"{top['peak'] ** 2:.2g}", "the KL at the top; or take an earlier checkpoint"),
        SOURCE,
    )
