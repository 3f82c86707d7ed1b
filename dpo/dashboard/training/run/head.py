"""The head of a run's page: what it is, how it went in two sentences, what to do with it, and where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dash import html

from dpo.counting import counted, duration
from dpo.dashboard.choices import compare_link, evaluate_link, policies_of, training_link
from dpo.dashboard.components import box, button, glyph, icon, light
from dpo.dashboard.run_reader import Shown
from dpo.dashboard.training.panels import live_line
from dpo.dashboard.training.run.family_tree import Relative, relatives
from dpo.dashboard.web.access import Access, Right
from dpo.families import facts_of
from dpo.publishing.evaluated import evaluated
from dpo.runs import Run
from dpo.severity import is_severe

_STATES = {"finished": "done", "interrupted": "killed"}
_BAD = ("failed", "interrupted", "damaged")


def head(entry: Shown, runs: Sequence[Run], access: Access) -> list[Any]:
    """Name and actions, the settings in a line, what evaluation and doctor say, and the line it stands in."""
    run = entry.run
    return [
        box(
            box(glyph(run.family, run.kind == "dpo"), html.H1(run.name), _state(run), cls="row tight run-name-row"),
            _actions(entry, access),
            cls="row run-head",
        ),
        html.P(facts_line(run), className="sub num"),
        _live(entry),
        html.Div(_says(entry), className="run-says"),
        _line(relatives(run, runs)),
    ]


def facts_line(run: Run) -> str:
    """What tells the run from others: model, objective, the main settings, how far and how long."""
    config, policy = run.config, run.info.get("policy") or {}
    facts = facts_of(run.info.get("family"))
    parts = [run.label or (facts.label if facts else "")]
    if isinstance(policy.get("parameters"), int):
        parts.append(f"{policy['parameters'] / 1e6:.3g} M parameters")
    losses = config.get("loss_type")
    parts.append(" + ".join(losses) if isinstance(losses, list) else "" if run.kind == "dpo" else run.kind.upper())
    if run.kind == "dpo" and isinstance(config.get("beta"), int | float):
        parts.append(f"β {config['beta']:g}")
    if isinstance(config.get("learning_rate"), int | float):
        parts.append(f"lr {config['learning_rate']:g}".replace("e-0", "e-"))
    parts.append("LoRA" if config.get("lora") else "")
    if isinstance(config.get("batch_size"), int):
        parts.append(f"batch {config['batch_size']}")
    done, most = run.progress.get("step"), run.progress.get("max_steps")
    if isinstance(done, int):
        parts.append(f"{done:,} of {counted(most, 'step')}" if isinstance(most, int) else counted(done, "step"))
    seconds, energy = run.info.get("training_seconds"), run.info.get("energy_wh")
    parts += [duration(seconds)] if isinstance(seconds, int | float) else []
    parts += [f"{energy:.3g} Wh"] if isinstance(energy, int | float) else []
    return " · ".join([*filter(None, parts), *_day(run)])


def _day(run: Run) -> list[str]:
    try:
        return [f"{datetime.fromisoformat(str(run.info.get('created'))):%-d %b %Y}"]
    except ValueError:
        return []


def _state(run: Run) -> html.Span:
    word = _STATES.get(run.state, run.state)
    return html.Span(word, className="pill bad" if run.state in _BAD else "pill")


def _live(entry: Shown) -> html.P | None:
    parts = live_line([entry])
    return html.P(parts, className="row tight sub num") if parts else None


def _actions(entry: Shown, access: Access) -> html.Div:
    run, saved = entry.run, policies_of(entry.run)
    compare = compare_link(run) if run.family is not None else None
    change = next((verdict.change for verdict in entry.verdicts if verdict.change is not None), None)
    mends = change is not None and run.config and not run.info.get("foreign") and access.grants(Right.TRAIN)
    parts: list[Any] = [_jump("training", "Play in Training", training_link([run.path]))]
    if compare is not None:
        parts.append(_jump("compare", "Compare", compare))
    if saved and run.family is not None:
        parts.append(_jump("scales", "Evaluate", evaluate_link([saved[max(saved)]])))
    if mends and change is not None:
        what = {"data-run": str(run.path), "data-flag": change.flag, "data-value": change.value}
        parts.append(button("Fix and rerun", None, "filled", className="js-fix", size="xs", **what))
    return box(*parts, cls="row tight run-acts")


def _jump(sign: str, text: str, href: str) -> html.A:
    return html.A([icon(sign), text], href=href, className="jump js-nav")


def _says(entry: Shown) -> list[Any]:
    """What the last evaluation says, then the doctor's most severe finding."""
    lines: list[Any] = [
        html.P([icon("scales", 14), html.Span(sentence)])
        for made in evaluated(entry.run) for sentence in made["headline"]
    ]  # fmt: skip
    if not lines and policies_of(entry.run) and entry.run.kind == "dpo":
        lines.append(html.P([icon("scales", 14), html.Span("Not evaluated yet", className="sub")]))
    verdict = entry.verdicts[0]
    more = sum(is_severe(other.severity) for other in entry.verdicts[1:])
    text = f"{verdict.title[:1].upper()}{verdict.title[1:]}" + (f", and {more} more" if more else "")
    lines.append(html.P([light(verdict.severity), html.Span(text)]))
    if entry.run.state in ("failed", "interrupted"):
        why = entry.run.info.get("reason") or "its process is gone"
        lines.append(html.P([light("fault"), html.Span(f"{_STATES.get(entry.run.state, 'failed')}: {why}")]))
    return lines


def _line(found: Sequence[Relative]) -> html.Nav:
    return html.Nav([_relative(one) for one in found], className="run-line", **{"aria-label": "Where it comes from"})


def _relative(one: Relative) -> html.Div:
    sign = glyph(one.family, one.tuned) if one.tuned is not None else icon(_ICONS.get(one.place, "file"), 14)
    name = html.A(one.name, href=one.href, className="js-nav") if one.href else html.Span(one.name)
    current = {"aria-current": "page"} if one.place == "This run" else {}
    return html.Div(
        [html.Div(one.place, className="label"), html.Div([sign, name], className="row tight nowrap"),
         html.Div(one.about, className="sub num")],
        className="run-relative", **current,
    )  # fmt: skip


_ICONS = {"Data": "data", "Sweep": "runs", "Evaluation": "scales"}
