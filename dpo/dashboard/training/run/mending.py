"""What mends a finding of the audit of a run's data: a setting of the run, or the data themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpo.errors import DpoError
from dpo.preferences.audit.remedies import clean_command, reading_flags
from dpo.preferences.audit.result import Finding
from dpo.preferences.spec import DataSpec
from dpo.runs import Run
from dpo.runs.doctor.rules.data import evidence_of
from dpo.runs.doctor.verdict import Change


def change_of(run: Run, finding: Mapping[str, Any]) -> Change | None:
    """The setting with which the run is to be made again; None where a person has to decide.

    Where the data have to be cleaned first, it is the file that the command in `Change.why` writes.
    """
    if finding.get("code") == "truncated":
        return _longer(evidence_of(finding))
    remedy = str(finding.get("remedy") or "")
    try:
        spec = DataSpec.of(run.config)
        (source,) = spec.sources()
    except (DpoError, ValueError):  # a mix: each source is cleaned by itself
        return None
    found = Finding(str(finding.get("code")), "warning", "", remedy=remedy)
    command = clean_command(source, [found], reading_flags(spec))
    return Change("--dataset", "FILE", f"mended by {command}") if command else None


def _longer(evidence: Mapping[str, Any]) -> Change | None:
    tokens = evidence.get("tokens")
    longest = tokens.get("p99") if isinstance(tokens, dict) else None
    if not isinstance(longest, int | float):
        return None
    flag = "--max-prompt-length" if evidence.get("side") == "prompt" else "--max-completion-length"
    return Change(flag, str(int(longest)), "99 % have at most so many tokens")
