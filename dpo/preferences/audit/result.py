"""What an audit says: findings with their rows, evidence and remedy, and the measures they rest on."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpo.counting import counted
from dpo.errors import DataError
from dpo.files import write_atomically
from dpo.notebook import NotebookView, PlotLine, Sheet
from dpo.severity import Severity, is_severe, rank, severity_of

MOST_RANGES = 500
VERSION = 1
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    `rows` are inclusive ranges of row numbers of the source, from 0 (the first `MOST_RANGES` of them);
    `count` is the number of all rows concerned.  `remedy` is a flag of `dpo data clean`, or a sentence.
    """

    code: str
    severity: Severity
    sentence: str
    rows: Ranges = ()
    count: int = 0
    evidence: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""

    def with_rows(self) -> str:
        """The sentence, and the rows in brackets where it does not name them."""
        if not self.rows or self.code == "mispaired":
            return self.sentence
        alone = len(self.rows) == 1 and self.rows[0][0] == self.rows[0][1]
        return f"{self.sentence} ({'row' if alone else 'rows'} {shown(self.rows)})"


@dataclass(frozen=True)
class Audit(NotebookView):
    """The audit of one source.  `measures` holds every number, also those that gave no finding.

    In a notebook it shows its findings.
    """

    source: str
    layout: str
    confidence: float
    rows: int
    pairs: int
    findings: tuple[Finding, ...]
    measures: Mapping[str, Any]
    seconds: float = 0.0
    version: int = VERSION

    def sheet(self) -> Sheet:
        """The findings, the worst first, and how long answers are, as a notebook shows them."""
        names = ("severity", "code", "count", "sentence", "remedy")
        columns = {name: [getattr(finding, name) for finding in self.findings] for name in names}
        characters = self.measures["characters"]
        middles = [(low + high) / 2 for low, high in itertools.pairwise(characters["edges"])]
        lines = [PlotLine(side, middles, characters[side]["histogram"]) for side in ("chosen", "rejected")]
        return Sheet(f"{self.source}: {self.scope()}", columns, lines, "characters of an answer", "pairs")

    def worst(self) -> Severity | None:
        """The severity of the worst finding."""
        return min((finding.severity for finding in self.findings), key=rank, default=None)

    def severe(self) -> list[Finding]:
        """The findings that are more than a note, the most severe first."""
        return [finding for finding in self.findings if is_severe(finding.severity)]

    def scope(self) -> str:
        """What was looked at: "6,432 pairs", "5,000 of 160,800 pairs", "the first 5,120 pairs"."""
        total = self.measures.get("sampled_of")
        if total is not None and total > self.pairs:
            return f"{self.pairs:,} of {total:,} pairs"
        return f"{'' if self.measures.get('whole', True) else 'the first '}{counted(self.pairs, 'pair')}"

    def to_json(self) -> str:
        """All of it as JSON; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Audit:
        """The audit that `to_json` wrote.

        Raises:
            DataError: not an audit, or one of a later version.
        """
        try:
            values = json.loads(text)
            if values["version"] > VERSION:
                raise DataError(
                    f"this audit has version {values['version']}, this dpo reads up to {VERSION}: update it"
                )
            return cls(findings=tuple(map(_finding, values.pop("findings"))), **values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"this is no audit ({error}): make one with dpo data audit SOURCE --json FILE") from error

    def save(self, path: Path) -> None:
        """Write the JSON.

        Raises:
            OSError: it cannot be written; what was there stays.
        """
        write_atomically(path, self.to_json() + "\n")


def _finding(entry: dict[str, Any]) -> Finding:
    rows = tuple((first, last) for first, last in entry["rows"])
    return Finding(**(entry | {"severity": severity_of(entry["severity"]), "rows": rows}))


def ranges(rows: Iterable[int]) -> Ranges:
    """Row numbers as inclusive ranges, the first `MOST_RANGES` of them.

    >>> ranges([3, 1, 2, 7])
    ((1, 3), (7, 7))
    """
    found: list[tuple[int, int]] = []
    for row in sorted({int(row) for row in rows}):
        if found and row == found[-1][1] + 1:
            found[-1] = (found[-1][0], row)
        elif len(found) == MOST_RANGES:
            break
        else:
            found.append((row, row))
    return tuple(found)


def shown(rows: Sequence[tuple[int, int]], most: int = 4) -> str:
    """Ranges as text: "0-1379, 2000 and more"."""
    parts = [str(first) if first == last else f"{first}-{last}" for first, last in rows[:most]]
    return ", ".join(parts) + (" and more" if len(rows) > most else "")
