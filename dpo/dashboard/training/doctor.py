"""The doctor's panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from dpo.dashboard.components import box, icon, light
from dpo.dashboard.run_reader import Shown, several
from dpo.runs import Run
from dpo.runs.doctor import Diagnosis
from dpo.runs.doctor.verdict import Change, number
from dpo.severity import rank


def panel(entries: Sequence[Shown]) -> list[Any]:
    """Verdicts on all runs on screen, the most severe first."""
    found = [(entry, verdict) for entry in entries for verdict in entry.verdicts]
    found.sort(key=lambda pair: rank(pair[1].severity))
    many = several(entries)
    # Two are read in full; of a ruined run the rest would fill the screen.
    items = [_item(entry, call_name(entry, many), verdict, place < 2) for place, (entry, verdict) in enumerate(found)]
    return items or [html.P("Choose a run: the doctor reads its curves.", className="sub pad")]


def call_name(entry: Shown, many: bool) -> str:
    """What a run is called in a sentence: its model's architecture where that is enough."""
    return entry.label if many else entry.run.label or entry.label


def most_severe(entry: Shown) -> Diagnosis:
    """The verdict that comes first."""
    return entry.verdicts[0]


def _item(entry: Shown, name: str, verdict: Diagnosis, unfolded: bool) -> html.Details:
    parts: list[Any] = [
        html.Summary(
            [
                light(verdict.severity),
                html.H3(f"{name}: {verdict.title}"),
                icon("chevron-d", 14),
            ]
        ),
        html.P(verdict.sentence),
    ]
    if verdict.evidence:
        facts = [
            html.Span([html.B(number(fact.value), className="num"), f" {fact.text}{fact.where}"], className="fact")
            for fact in verdict.evidence
        ]
        parts.append(html.Div(facts, className="facts"))
    if verdict.change is not None:
        parts.append(fix(entry.run, name, verdict.change))
    if verdict.source is not None:
        parts.append(
            html.A(verdict.source.title, href=verdict.source.url, target="_blank", rel="noreferrer", className="sub")
        )
    return html.Details(parts, open=unfolded, className=f"finding {verdict.severity}", **{"data-code": verdict.code})


def fix(run: Run, name: str, change: Change) -> html.Div:
    """A change of a setting of a run, to be copied or to be made; `name` is what the run is called."""
    setting = f"{change.flag} {change.value}"
    return box(
        html.Div([html.Code(setting), _copy(setting)], className="cmd"),
        html.Div(change.why, className="sub") if change.why else None,
        _rerun(run, name, change) if run.config and not run.info.get("foreign") else None,
        cls="fix",
    )


def _rerun(run: Run, name: str, change: Change) -> html.Button:
    """Opens the form of the run with the change made (assets/js/training/drawer.js)."""
    what = {"data-run": str(run.path), "data-flag": change.flag, "data-value": change.value}
    label = f"Fix and rerun {name} with {change.flag} {change.value}"
    return html.Button("Fix and rerun", type="button", className="ex js-fix", **{"aria-label": label}, **what)


def _copy(what: str) -> html.Button:
    label = f"Copy {what}"
    return html.Button(
        icon("copy"), type="button", className="js-copy icon-button", title=label, **{"aria-label": label}
    )
