"""What every export is made of: the rows of an evaluation, walked comparison by comparison (no torch here)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dpo.evaluation.comparison.judges import VOTED
from dpo.evaluation.comparison.rows import Row, RowStore, verdict_key
from dpo.evaluation.comparison.table import WORTH, Table

Files = dict[str, str]
"""Text by file name, folders written with a slash."""


@dataclass(frozen=True)
class JudgedComparison:
    """One judge's verdicts on one comparison at one temperature."""

    judge: Row
    policy: str
    against: str
    temperature: float

    @property
    def name(self) -> str:
        """Of a file that is about this unit."""
        return f"{slug(self.policy)}-vs-{slug(self.against)}-t{self.temperature:g}-{slug(self.judge['name'])}"


@dataclass(frozen=True)
class JudgedAnswers:
    """Two answers to one prompt and their verdicts by order; `a` is the policy's answer, whatever the order."""

    prompt: Row
    sample: int
    a: Row
    b: Row
    verdicts: Mapping[str, Row]

    def worth(self) -> float | None:
        """What the policy won, a half for a tie, averaged over orders; None where no verdict is valid."""
        worths = [WORTH[row["verdict"]] for row in self.verdicts.values() if row["verdict"] in WORTH]
        return sum(worths) / len(worths) if worths else None


@dataclass(frozen=True)
class Exported:
    """An evaluation that is to be written in another tool's files.

    `made` is its result, `stamp` when that was written (seconds since 1970), `version` this package's.
    """

    store: RowStore
    table: Table
    made: Row
    stamp: float
    version: str

    @property
    def plan(self) -> Row:
        """What was asked for."""
        return self.table.plan

    def units(self) -> Iterator[JudgedComparison]:
        """Every judge of every comparison, those left out that saw answers of their own (`votes`)."""
        for judge, policy, against, t in self.table.units():
            if judge["kind"] not in VOTED:
                yield JudgedComparison(judge, policy, against, t)

    def duels(self, unit: JudgedComparison) -> Iterator[JudgedAnswers]:
        """Every two answers that the judge has seen, prompt by prompt."""
        for prompt in self.table.prompts:
            for sample, (a, b) in enumerate(self.table.duels(unit.policy, unit.against, prompt, unit.temperature)):
                found = {
                    order: self.store.verdicts[key]
                    for order in unit.judge["orders"]
                    if (key := verdict_key(unit.judge["identity"], a, b, order)) in self.store.verdicts
                }
                if found:
                    yield JudgedAnswers(prompt, sample, a, b, found)

    def votes(self) -> list[Row]:
        """What people, and outside judges, preferred, as far as the plan asks for them."""
        asked = {judge["identity"] for judge in self.plan["judges"] if judge["kind"] in VOTED}
        return [row for (identity, *_), rows in self.table.votes.items() if identity in asked for row in rows]

    def first_answers(self, policy: str, t: float) -> Iterator[tuple[Row, Row]]:
        """Every prompt with the policy's first answer to it."""
        for prompt in self.table.prompts:
            written = self.table.written(policy, prompt, t)
            if written:
                yield prompt, written[0]


def slug(name: str) -> str:
    """A name as part of a file's name.

    >>> slug("runs/my run")
    'runs-my-run'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "unnamed"


def lines(rows: Iterable[Any]) -> str:
    """JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def document(content: Any) -> str:
    """A JSON file."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def markdown_counts(text: str) -> dict[str, dict[str, int]]:
    """Headers, lists and bold parts of an answer, as the arenas' style control counts them."""
    return {
        "header_count": {f"h{n}": len(re.findall(rf"(?m)^#{{{n}}}\s", text)) for n in range(1, 7)},
        "list_count": {
            "ordered": len(re.findall(r"(?m)^\s*\d+\.\s", text)),
            "unordered": len(re.findall(r"(?m)^\s*[-*+]\s", text)),
        },
        "bold_count": {"**": len(re.findall(r"\*\*[^*\n]+\*\*", text)), "__": len(re.findall(r"__[^_\n]+__", text))},
    }
