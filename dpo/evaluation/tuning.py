"""What a policy was tuned from: its reference, its beta, and where its trainer cut texts (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo.errors import ConfigError, PolicyError
from dpo.policies.names import resolve
from dpo.preferences.spec import DataSpec
from dpo.runs import Run, open_run
from dpo.runs.record import RUN

DEFAULT_BETA = 0.1


@dataclass(frozen=True)
class Tuning:
    """How to score a policy as its trainer did.

    `reference` is a policy's name, or None where the reference is the policy with its adapter off.
    `max_prompt` and `max_completion` are tokens (EOS included) beyond which the trainer cut; None
    where it did not cut.  `drop_over` is the length of an answer beyond which the trainer left the pair
    out instead (`--overlong drop`), None where it did not.
    """

    policy: str
    reference: str | None
    beta: float
    max_prompt: int | None = None
    max_completion: int | None = None
    run: str | None = None
    drop_over: int | None = None


def tuning_of(name: str, reference: str | None = None, beta: float | None = None) -> Tuning:
    """The tuning of the policy called `name`, from the record of the run that made it.

    Args:
        reference: score against this policy instead of the recorded reference.
        beta: in place of the recorded one (0.1 where none is recorded).

    Raises:
        PolicyError: no such policy, or no reference is known for it.
        ConfigError: beta is not above 0.
    """
    if beta is not None and not 0 < beta < float("inf"):
        raise ConfigError(f"beta is {beta:g}: it must be above 0")
    source = resolve(name)
    run = None if source.kind == "hub" else run_of(Path(source.location))
    config: dict[str, Any] = run.config if run is not None and run.kind == "dpo" else {}
    if reference is not None:
        resolve(reference)
    elif not source.adapter or (config and not config.get("lora")):
        # Full fine-tuning, or an adapter that was trained further: what it started from.
        recorded = (run.info.get("reference") or {}) if run is not None and config else {}
        reference = str(recorded.get("identity") or config.get("model") or "") or None
        if reference is None:
            raise PolicyError(f"{name} has no recorded reference: name one with --reference")
        try:
            resolve(reference)
        except PolicyError as error:
            raise PolicyError(
                f"The reference of {name} is {reference}, which is not there any more: name one with --reference"
            ) from error
    cuts, longest = config.get("overlong", "truncate") == "truncate", config.get("max_completion_length")
    return Tuning(
        policy=name,
        reference=reference,
        beta=beta if beta is not None else float(config.get("beta") or DEFAULT_BETA),
        max_prompt=config.get("max_prompt_length"),
        max_completion=longest if cuts else None,
        run=str(run.path) if run is not None else None,
        drop_over=None if cuts else longest,
    )


def data_of(name: str) -> DataSpec | None:
    """The pairs of the run that made a policy, exactly as it read them; None where no run says.

    Raises:
        PolicyError: no such policy.
        DataError: the run's settings are damaged.
    """
    source = resolve(name)
    run = None if source.kind == "hub" else run_of(Path(source.location))
    return DataSpec.of(run.config) if run is not None and run.config.get("dataset") else None


def run_of(directory: Path) -> Run | None:
    """The run that a policy's or checkpoint's directory belongs to, if any."""
    for path in (directory, directory.parent):
        if (path / RUN).is_file():
            return open_run(path)
    return None
