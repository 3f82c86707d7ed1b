"""An evaluation as one HTML file that opens from disk, without a network (no torch here)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpo.evaluation.comparison.rows import Row
from dpo.evaluation.comparison.wording import interval, measured_beside, percent, verdict_word
from dpo.evaluation.formats.source import Exported, Files

_MOST_PROMPTS = 300


def html(source: Exported) -> Files:
    """`report.html`: what was found, with intervals, and the answers, prompts that were lost first."""
    import jinja2

    # No template of a user is read, and everything that a model wrote is escaped.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "interval": interval}
    content = environment.get_template("report.html.j2").render(
        made=source.made, plan=source.plan, version=source.version, verdict=verdict_word,
        bars=[_bar(row) for row in source.made["comparisons"] if row["win_rate"] is not None],
        distances=[row for row in source.made["divergence"] if row["kl"] is not None],
        unjudged=[row["sentence"] for row in source.made["comparisons"] if row["win_rate"] is None],
        tables=[
            {"row": row, "shown": measured_beside(source.made, row)[1]}
            for row in source.made["measures"] if row["against"]
        ],
        groups=[_answers(source, *pair) for pair in source.plan["comparisons"]], most=_MOST_PROMPTS,
    )  # fmt: skip
    return {"report.html": content}


def _bar(row: Row) -> Row:
    """A comparison with the widths of its bar, in percent."""
    counted = row["wins"] + row["ties"] + row["losses"]
    widths = {name: 100 * row[name] / counted for name in ("wins", "ties", "losses")}
    rate = row["win_rate"]
    low, high = (rate["value"] if rate[end] is None else rate[end] for end in ("low", "high"))
    return row | {"widths": widths, "mark": rate["value"] * 100, "from": low * 100, "width": (high - low) * 100}


def _answers(source: Exported, policy: str, against: str) -> Row:
    """Every prompt with both first answers and each judge's verdict, lost prompts first."""
    rows = []
    for t, prompt in itertools.product(source.plan["temperatures"], source.table.prompts):
        written = [source.table.written(name, prompt, t) for name in (policy, against)]
        if not all(written):
            continue
        words = {judge["name"]: _word(source, judge, (policy, against, t), prompt) for judge in source.plan["judges"]}
        rows.append(
            {"prompt": prompt["prompt"], "temperature": t, "texts": [one[0]["text"] for one in written],
             "verdicts": {name: word for name, word in words.items() if word}}
        )  # fmt: skip
    rows.sort(key=_lost_first)
    return {"policy": policy, "against": against, "rows": rows[:_MOST_PROMPTS], "count": len(rows)}


def _word(source: Exported, judge: Row, unit: tuple[str, str, float], prompt: Row) -> str | None:
    found = source.table.judged(judge, *unit).get(prompt["key"])
    return None if found is None else found.word


def _lost_first(row: Mapping[str, Any]) -> float:
    """By the first judge that is no rule, or the first at all: it stands first in the plan."""
    order = {"lost": 0.0, "tied": 1.0, "won": 2.0}
    return next((order[word] for word in row["verdicts"].values()), 3.0)
