"""The list of runs at the left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import html

from dpo.counting import counted
from dpo.dashboard.choices import is_bundled, settings_line, sweep_link
from dpo.dashboard.components import box, glyph, icon
from dpo.dashboard.run_reader import MOST_RUNS
from dpo.dashboard.sweeps import sweeps_of
from dpo.dashboard.theme import FAMILY_HEADING
from dpo.publishing.card import METHODS
from dpo.runs import BUNDLED_RUNS, Run
from dpo.runs.find import names

_FEW = 6
"""Runs of a family that need no folding."""


def preselected(runs: Sequence[Run]) -> list[str]:
    """Running ones first (six at most); else the newest DPO run of each family, healthy ones first."""
    live = [str(run.path) for run in runs if run.state == "running" and run.kind == "dpo"]
    if len(live) > 1:
        return live[:MOST_RUNS]
    chosen: list[str] = []
    for family in FAMILY_HEADING:
        candidates = [run for run in runs if run.kind == "dpo" and run.family == family and not run.damaged]
        candidates.sort(key=lambda run: run.policy_path is None and run.state != "running")
        chosen += [str(run.path) for run in candidates[:1] if family is not None or not chosen]
    return chosen or [str(run.path) for run in runs[:1]]


def picker(runs: Sequence[Run], selected: list[str]) -> html.Aside:
    """The picker with its filter."""
    return html.Aside(
        [
            html.Details(
                [
                    html.Summary(["Runs ", icon("chevron-d", 14)], className="runs-sm"),
                    dmc.TextInput(
                        id="tr-filter", placeholder="Filter runs", leftSection=icon("search", 14), size="sm",
                        debounce=200, **{"aria-label": "Filter runs by name; * stands for anything"},
                    ),
                    dmc.CheckboxGroup(
                        id="tr-selected",
                        value=selected,
                        children=html.Div(rows(runs, selected, ""), id="tr-run-list"),
                    ),
                ],
                open=True,
                className="picker-fold",
            )
        ],
        className="run-picker card",
    )  # fmt: skip


def rows(runs: Sequence[Run], selected: Sequence[str], text: str) -> list[Any]:
    """Runs by family: one's own, newest first, then those that come with dpo, what they are there for first.

    The trials of a sweep are folded under its name.

    Args:
        text: is looked for in the name; `*` stands for anything.
    """
    labels = dict(zip((str(run.path) for run in runs), names(runs), strict=True))
    made: list[Any] = []
    ranks = _ranks(runs, selected)
    for family in FAMILY_HEADING:
        of_family = [run for run in runs if run.family == family]
        matching = [run for run in of_family if _named(labels[str(run.path)], text)]
        if not matching:
            continue
        count = sum(str(run.path) in selected for run in of_family)
        made.append(
            box(
                html.Span(FAMILY_HEADING[family], className="label"),
                html.Span(f"{count} of {len(of_family)} shown", className="label push"),
                cls="row nowrap picker-head",
            )
        )
        drawn = {str(run.path): _row(run, labels[str(run.path)], ranks.get(str(run.path))) for run in matching}
        made += _folded(matching, drawn, bool(text.strip()) or len(matching) <= _FEW)
    if len(selected) > MOST_RUNS:
        made.append(html.P(f"The first {MOST_RUNS} are drawn.", className="sub pad"))
    return made or [html.P("No run has that in its name.", className="sub pad")]


def _place(run: Run, in_sweep: bool) -> int:
    """One's own before those that come with dpo, of which the tuned policies are what one comes for."""
    if run.path.parent not in (BUNDLED_RUNS, BUNDLED_RUNS.resolve()):
        return 0
    return 1 if is_bundled(run) and run.kind == "dpo" else 3 if in_sweep else 2


def _folded(runs: Sequence[Run], drawn: Mapping[str, html.Label], unfold: bool) -> list[Any]:
    """The rows in the order of their places, a sweep's together where its newest trial stands."""
    sweep_of = {str(run.path): sweep for sweep in sweeps_of(runs) for run in sweep.runs}
    made: list[Any] = []
    done: set[str] = set()
    for run in sorted(runs, key=lambda run: _place(run, str(run.path) in sweep_of)):
        sweep = sweep_of.get(str(run.path))
        if sweep is None:
            made.append(drawn[str(run.path)])
        elif sweep.key not in done:
            done.add(sweep.key)
            trials = [drawn[str(trial.path)] for trial in sweep.runs]
            page = html.A("Its page", href=sweep_link(sweep.key), className="js-nav sub")
            name = html.Div(sweep.name, className="run-name", title=sweep.name)
            count = html.Div(counted(sweep.trials, "trial"), className="sub num")
            summary = html.Summary([icon("chevron-d", 14), html.Div([name, count], className="grow")])
            opened = unfold or any("on" in str(trial.className).split() for trial in trials)
            made.append(html.Details([summary, page, *trials], open=opened, className="run-fold"))
    return made


def _ranks(runs: Sequence[Run], selected: Sequence[str]) -> dict[str, int]:
    """The places of the runs on screen among those of their family: they decide the colour (`run_reader.shown`)."""
    families = {str(run.path): run.family for run in runs if not run.damaged}
    drawn = [path for path in selected[:MOST_RUNS] if path in families]
    found = {path: sum(families[path] == families[other] for other in drawn[:at]) for at, path in enumerate(drawn)}
    return {path: found.get(path, 0) for path in selected}


def _row(run: Run, label: str, rank: int | None) -> html.Label:
    """A run with its box; `rank` is None for one that is not on screen."""
    state = {"running": "live", "failed": "failed", "interrupted": "killed", "stopped": "stopped"}.get(run.state)
    if run.damaged:
        about = "damaged"
    elif run.info.get("foreign"):
        about = "other tool's logs"
    else:
        about = settings_line(run) if run.kind == "dpo" else METHODS.get(run.kind, run.kind)
    if run.problem and not run.damaged:
        about = f"{about} · not all of it read".removeprefix(" · ")
    return html.Label(
        [
            dmc.Checkbox(value=str(run.path), size="xs", disabled=run.damaged, **{"aria-label": f"Show {label}"}),
            glyph(run.family, run.kind == "dpo", rank or 0),
            html.Div(
                [html.Div(label, className="run-name", title=label), html.Div(about, className="sub num")],
                className="grow",
            ),
            html.Span(state, className=f"pill {'bad' if state == 'failed' else ''}") if state else None,
        ],
        className=f"run {'' if rank is None else 'on'}",
        title=run.problem or "",
    )


def _named(label: str, text: str) -> bool:
    """Whether a name has the text in it, in any case; `*` stands for anything in between.

    Plain text on purpose: a regular expression of sixty letters can keep the server busy for ever.
    """
    label, at = label.lower(), 0
    for part in text.lower().split("*"):
        at = label.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True
