"""The pairs of a training, and what an audit says of them (no torch here)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dpo.preferences import Preferences
from dpo.preferences.load import load
from dpo.preferences.spec import DataSpec
from dpo.runs.doctor.rules.data import MEND
from dpo.runs.record import AUDIT
from dpo.training.config import CommonConfig

if TYPE_CHECKING:
    from dpo.preferences.audit import Audit, Vocabulary

MOST_AUDITED = 3_000
"""Pairs of a training that are audited: one to two seconds, whatever the size of the data."""


def load_pairs(config: CommonConfig) -> Preferences:
    """The pairs that a config names.

    Raises:
        DataError, ConfigError: see `dpo.preferences.load.load`.
    """
    return load(DataSpec.of(vars(config)))


def audit_pairs(pairs: Preferences, config: CommonConfig, vocabularies: Sequence[Vocabulary] = ()) -> Audit:
    """The audit of at most `MOST_AUDITED` of the pairs, with the limits and the split of the training."""
    from dpo.preferences.audit import TokenLimits, audit

    limits = TokenLimits(config.max_prompt_length, config.max_completion_length)
    return audit(pairs.sample(MOST_AUDITED), vocabularies, limits=limits, eval_fraction=config.eval_fraction)


def record_audit(
    directory: Path, pairs: Preferences, config: CommonConfig, vocabularies: Sequence[Vocabulary] = ()
) -> None:
    """Write `audit.json` into a run's directory, and say on standard error what is severe.

    The card and the curve doctor read it.  One that is there already (a resumed run's) is kept.  A
    training is not lost because its audit fails: that is printed, and the run goes on without.
    """
    from dpo.preferences.audit.remedies import mend_mispaired

    path = directory / AUDIT
    if path.exists():
        return
    try:
        found = audit_pairs(pairs, config, vocabularies)
        if remedy := mend_mispaired(found, DataSpec.of(vars(config))):
            found = replace(found, measures={**found.measures, MEND: remedy})
        found.save(path)
    except Exception as error:  # whatever it is, the training can go on
        print(f"dpo: the pairs could not be audited ({type(error).__name__}: {error})", file=sys.stderr)
        return
    for line in opening_lines(found, path):
        print(f"dpo: {line}", file=sys.stderr)


def opening_lines(found: Audit, path: Path) -> list[str]:
    """What is printed at the start of a training: mispaired rows with the command that mends them, then other faults.

    `path` is where all of the audit is.
    """
    from dpo.preferences.audit.mispaired import CODES

    mispaired = [finding for finding in found.severe() if finding.code in CODES]
    others = [finding for finding in found.findings if finding.severity == "fault" and finding not in mispaired]
    lines = [f"in the audit of {found.scope()}: {finding.with_rows()}" for finding in mispaired]
    if remedy := found.measures.get(MEND):
        lines.append(f"mispaired rows teach nothing of the preference; mend them: {remedy}")
    if others:
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        lines.append(f"the audit of {found.scope()} found: {others[0].with_rows()}{more}; all of it is in {path}")
    return lines
