"""What the doctor says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dpo.severity import Severity


@dataclass(frozen=True)
class Evidence:
    """One number that a verdict rests on, with the step it was logged at (None: not of one step).

    A number that was not logged but computed from several points says so in `of`.
    """

    text: str
    value: float
    step: int | None = None
    of: str = ""

    @property
    def where(self) -> str:
        """The points it is of: " at step 30", or " (mean of the last 3 logged points, to step 30)"."""
        if self.step is None:
            return f" ({self.of})" if self.of else ""
        return f" ({self.of}, to step {self.step})" if self.of else f" at step {self.step}"

    def __str__(self) -> str:
        return f"{number(self.value)} {self.text}{self.where}"


@dataclass(frozen=True)
class Change:
    """A setting to change: the flag of `dpo train`, its value, and why in a few words."""

    flag: str
    value: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.flag} {self.value}".strip() + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True)
class Citation:
    """The paper or issue that a rule comes from."""

    title: str
    url: str

    def __str__(self) -> str:
        return f"{self.title}, {self.url}"


@dataclass(frozen=True)
class Diagnosis:
    """One regime that a run is in.

    `severity` is ok, note (worth knowing), warning (look before trusting the run) or fault (do not use it).
    """

    code: str
    title: str
    severity: Severity
    sentence: str
    evidence: tuple[Evidence, ...] = ()
    change: Change | None = None
    source: Citation | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Thresholds:
    """Where the rules draw their lines; nats are per answer.

    Without a `kl_budget` the run's own one counts (`--kl-budget` of `dpo train`), else 10.
    """

    kl_budget: float | None = None
    step_zero: float = 0.02
    displaced_nats: float = 5.0
    ruined_nats: float = 50.0
    saturated_loss: float = 0.05
    saturated_accuracy: float = 0.99
    longer: float = 1.5
    repeated: float = 0.2
    spike: float = 8.0


def number(value: float) -> str:
    """A number for people: three digits, a real minus sign."""
    text = f"{value:.3g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return text.replace("-", "−")
