"""What a table of the study says, from the rows of its evaluation: Markdown, and a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dpo.dashboard.theme import FAMILY_COLOR, NEUTRAL, SYMBOL
from dpo.evaluation.comparison.drift import kls_of
from dpo.evaluation.comparison.rows import Row, RowStore
from dpo.evaluation.comparison.table import Table
from dpo.families import FAMILIES
from dpo.files import write_atomically
from scripts.study.plan import StudyTable
from scripts.study.runs import Trained
from scripts.study.spread import Spread, spread

Values = Mapping[str, float]
"""By the prompt's key."""
_SHARES = ("win rate", "held-out accuracy", "repeated 4-grams")


@dataclass(frozen=True)
class Measured:
    """One measure of one variant and model over its seeds.

    `difference` is from the variant that its model has first (of a table with one variant: from the first model), seed
    by seed and prompt by prompt; None for that one itself, and where fewer than two prompts have both.
    """

    measure: str
    variant: str
    model: str
    found: Spread
    difference: Spread | None


def measured(table: StudyTable, runs: Sequence[Trained], evaluation: Path) -> list[Measured]:
    """Every measure of every variant and model, in the order of the table's file; those without values left out."""
    store = RowStore(evaluation)
    assert store.plan is not None
    rows = Table(store, store.plan)
    by_cell: dict[tuple[str, str], list[dict[str, Values]]] = {}
    for run in runs:
        by_cell.setdefault((run.model, run.variant), []).append(dict(_values(rows, run)))
    made = []
    for measure in dict.fromkeys(name for cell in by_cell.values() for run in cell for name in run):
        for (model, variant), cell in by_cell.items():
            own = [run.get(measure, {}) for run in cell]
            keys = _common(own)
            if not keys:
                continue
            share = measure in _SHARES
            found = _within(spread(_matrix(own, keys)), 0.0, 1.0 if share else math.inf)
            first = (model, table.variants[0].name) if len(table.variants) > 1 else next(iter(by_cell))
            other = [run.get(measure, {}) for run in by_cell[first]]
            both = _common([*own, *other])
            differs = first != (model, variant) and len(both) > 1
            gap = spread(_matrix(own, both) - _matrix(other, both)) if differs else None
            if gap is not None and share:
                gap = _within(gap, -1.0, 1.0)
            made.append(Measured(measure, variant, model, found, gap))
    return made


def _within(found: Spread, least: float, most: float) -> Spread:
    """With an interval that does not go beyond what the measure can be."""
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(least, found.low), high=min(most, found.high))


def _common(runs: Sequence[Values]) -> list[str]:
    return [key for key in runs[0] if all(key in run for run in runs[1:])]


def _matrix(runs: Sequence[Values], keys: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([[run[key] for key in keys] for run in runs])


def _values(rows: Table, run: Trained) -> Iterator[tuple[str, Values]]:
    """Measures of one run by prompt: what the judge says, held-out pairs, its answers, its distance from the base."""
    policy, plan = str(run.directory), rows.plan
    against = next(str(other) for name, other in plan["comparisons"] if name == policy)
    [t] = plan["temperatures"]
    judge: Row = plan["judges"][0]
    yield "win rate", {key: one.h or 0.0 for key, one in rows.judged(judge, policy, against, t).items()}
    if policy in plan["tuned"]:
        pairs = rows.pairs(policy).items()
        known = {key: [one["right"] for one in found if "error" not in one] for key, found in pairs}
        yield "held-out accuracy", {key: float(np.mean(right)) for key, right in known.items() if right}
    yield "KL to the base (nats)", kls_of(rows, policy, against)
    for name, label in (("words", "words"), ("repeated_4grams", "repeated 4-grams")):
        written = {prompt["key"]: rows.written(policy, prompt, t) for prompt in rows.prompts}
        counts = {key: [one["measures"][name] for one in found] for key, found in written.items()}
        yield label, {key: float(np.mean(given)) for key, found in counts.items() if (given := _given(found))}


def _given(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def markdown(table: StudyTable, made: Sequence[Measured], command: str, plan: Row) -> str:
    """The table in Markdown: a section a measure, the two errors in columns of their own."""
    data, lines = plan["data"], [f"# {table.question}", ""]
    prompts = f"{len(plan['prompts'])} held-out prompts of {Path(str(data['source'])).name}"
    lines += [
        f"`{command}`", "",
        f"{prompts} (fingerprint {data['fingerprint']}), temperature {plan['temperatures'][0]:g}; the judge is the "
        "reward of a run on the other half of the prompts. *Training* is the standard deviation over seeds, *sampling* "
        "the standard error that the choice of prompts makes; the interval (95 %) holds both. Each is against its own "
        "base; differences are from the first line of a model.",
    ]  # fmt: skip
    lines += ["", *_overview(made)]
    for measure in dict.fromkeys(one.measure for one in made):
        lines += [
            "", f"## {measure[0].upper()}{measure[1:]}", "",
            "| variant | model | mean | 95 % | training | sampling | difference | 95 % | seeds | prompts |",
            "|---|---|---:|---|---:|---:|---:|---|---:|---:|",
        ]  # fmt: skip
        for one in made:
            if one.measure == measure:
                lines.append(_line(one))
    return "\n".join(lines) + "\n"


def _overview(made: Sequence[Measured]) -> list[str]:
    """All measures beside each other, a line a variant and model: means with their intervals."""
    measures = list(dict.fromkeys(one.measure for one in made))
    cells = {(one.variant, one.model, one.measure): _cell(one) for one in made}
    lines = [f"| variant | model | {' | '.join(measures)} |", f"|---|---|{'---|' * len(measures)}"]
    for variant, model in dict.fromkeys((one.variant, one.model) for one in made):
        found = [cells.get((variant, model, measure), "–") for measure in measures]
        lines.append(f"| {variant} | {model} | {' | '.join(found)} |")
    return lines


def _cell(one: Measured) -> str:
    scale, unit = (100.0, " %") if one.measure in _SHARES else (1.0, "")
    found = one.found
    if found.low is None or found.high is None:
        return f"{scale * found.value:.1f}{unit}"
    return f"{scale * found.value:.1f}{unit} ({scale * found.low:.1f} to {scale * found.high:.1f})"


def _line(one: Measured) -> str:
    found, gap = one.found, one.difference
    cells = [
        one.variant, one.model, _number(found.value), _interval(found), _number(found.training),
        _number(found.sampling), _number(gap.value if gap else None, "+"), _interval(gap, "+"), str(found.seeds),
        str(found.prompts),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.3f}"


def _interval(found: Spread | None, sign: str = "") -> str:
    if found is None or found.low is None:
        return "–"
    return f"{_number(found.low, sign)} to {_number(found.high, sign)}"


def picture(table: StudyTable, made: Sequence[Measured]) -> Any:
    """The first measure, a line a variant and model: the mean with its interval, thick the part that sampling makes."""
    from plotly import graph_objects as go

    first = [one for one in made if one.measure == made[0].measure]
    figure = go.Figure()
    share = made[0].measure in _SHARES
    families = {facts.word: facts.key for facts in FAMILIES}
    for model in dict.fromkeys(one.model for one in first):
        own = [one for one in first if one.model == model]
        color = FAMILY_COLOR[families.get(model)]
        names = [f"{one.variant} · {model}" for one in own]
        sampling = [_within(_by_sampling(one.found), 0.0, 1.0 if share else math.inf) for one in own]
        for thick, name, drawn in ((2, model, [one.found for one in own]), (7, f"{model}, sampling alone", sampling)):
            ends = [(one.value,) * 2 if one.low is None or one.high is None else (one.low, one.high) for one in drawn]
            values = [one.value for one in drawn]
            bars = {
                "type": "data", "symmetric": False, "color": color, "thickness": thick, "width": 0,
                "array": [high - value for value, (_, high) in zip(values, ends, strict=True)],
                "arrayminus": [value - low for value, (low, _) in zip(values, ends, strict=True)],
            }  # fmt: skip
            figure.add_scatter(
                x=values, y=names, mode="markers", name=name, error_x=bars,
                marker={"color": color, "size": 10, "symbol": SYMBOL[families.get(model)]},
            )  # fmt: skip
    if share:
        figure.add_vline(x=0.5, line={"color": NEUTRAL, "dash": "dot", "width": 1})
    figure.update_layout(
        title={"text": table.question}, template="plotly_white", height=140 + 44 * len(first),
        xaxis={"title": {"text": made[0].measure}, "tickformat": ".0%" if share else None},
        yaxis={"autorange": "reversed", "automargin": True}, legend={"orientation": "h", "y": -0.25},
    )  # fmt: skip
    return figure


def _by_sampling(found: Spread) -> Spread:
    """With the interval that the prompts alone would give."""
    half = 1.96 * (found.sampling or 0.0)
    return replace(found, low=found.value - half, high=found.value + half)


def write(table: StudyTable, made: Sequence[Measured], command: str, evaluation: Path, work: Path) -> list[Path]:
    """Write `TABLE.md` and `TABLE.html` (which needs no network) into the work directory; their paths.

    Raises:
        OSError: they cannot be written.
    """
    store = RowStore(evaluation)
    assert store.plan is not None
    text, page = work / f"{table.name}.md", work / f"{table.name}.html"
    write_atomically(text, markdown(table, made, command, store.plan))
    write_atomically(page, picture(table, made).to_html(include_plotlyjs=True))
    return [text, page]
