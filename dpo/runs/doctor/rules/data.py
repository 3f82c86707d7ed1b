"""A fault of the data that the audit knows and no curve shows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from dpo.runs.doctor.case import Case
from dpo.runs.doctor.verdict import Change, Diagnosis, Evidence

_CODES = ("mispaired", "mispaired-rows")  # of the audit's findings
MEND = "mend"
"""Among the measures of a run's audit: the command that mends mispaired rows, as the training printed it."""


def mispaired(case: Case) -> Diagnosis | None:
    """The audit of the run's data says that texts belong to other rows."""
    found = [f for f in findings_of(case.audit) if f.get("code") in _CODES and f.get("severity") != "note"]
    pairs = case.audit.get("pairs")
    if not found or not isinstance(pairs, int) or pairs < 1:
        return None
    rows = min(pairs, sum(_rows(finding) for finding in found))
    sides = " or ".join(dict.fromkeys(str(evidence_of(finding).get("side", "answer")) for finding in found))
    share = f"at least {rows:,} of {pairs:,} audited pairs ({rows / pairs:.0%})"
    return Diagnosis(
        "mispaired",
        "pairs that do not belong together",
        "warning",
        f"In {share} the {sides} text belongs to another prompt: there the loss teaches to tell prompts apart, "
        "not answers.",
        (Evidence("mispaired pairs in the audit", rows), Evidence("audited pairs", pairs)),
        Change("--dataset", "FILE", f"mended by {_command(case)}"),
    )


def findings_of(audit: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The findings of an audit's JSON, what is none left out."""
    found = audit.get("findings")
    return [finding for finding in found if isinstance(finding, dict)] if isinstance(found, list | tuple) else []


def evidence_of(finding: Mapping[str, Any]) -> Mapping[str, Any]:
    """The evidence of a finding, empty where there is none."""
    evidence = finding.get("evidence")
    return evidence if isinstance(evidence, dict) else {}


def _rows(finding: Mapping[str, Any]) -> int:
    count, estimated = finding.get("count"), evidence_of(finding).get("estimated")
    return max(value if isinstance(value, int) else 0 for value in (count, estimated))


def _command(case: Case) -> str:
    measures = case.audit.get("measures")
    written = measures.get(MEND) if isinstance(measures, dict) else None
    if isinstance(written, str) and written:
        return written
    source = case.run.config.get("dataset")
    source = shlex.quote(source) if isinstance(source, str) else "DATA"
    return f"dpo data clean {source} --output cleaned.jsonl --repair-mispaired"
