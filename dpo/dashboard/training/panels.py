"""The tiles above the charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from dpo.counting import duration
from dpo.dashboard.choices import evaluate_link, policies_of, run_link
from dpo.dashboard.components import box, glyph, icon, light
from dpo.dashboard.run_reader import Shown, several
from dpo.dashboard.training.doctor import call_name, most_severe
from dpo.glossary import define
from dpo.runs import Run
from dpo.runs.answers import answer_measures
from dpo.runs.doctor.verdict import number
from dpo.runs.newest import HELD_OUT, TRAINING, Newest, newest
from dpo.severity import is_severe, rank

Value = tuple[str, str, str | None]  # what is shown, a small addition, the light
_MISMATCH = "step-0 mismatch"


def kpis(entries: Sequence[Shown], problems: Sequence[str]) -> html.Section:
    """One tile for each measure with a line for each run, and the most severe verdict of each run beneath."""
    dpo = [entry for entry in entries if entry.run.kind == "dpo"]
    tiles = [_tile(label, tip, read, dpo) for label, tip, read in _TILES] if dpo else []
    many = several(entries)
    sentences = [html.Span([light("fault"), problem]) for problem in problems]
    for entry in entries:
        verdict = most_severe(entry)
        more = sum(is_severe(other.severity) for other in entry.verdicts) - 1
        name = html.A(call_name(entry, many), href=run_link(entry.run.path), className="js-nav name", title=entry.label)
        text = [name, f" {verdict.title}" + (f" (and {more} more)" if more > 0 else "")]
        sentences.append(html.Span([light(verdict.severity), html.Span(text)]))
        if entry.run.state in ("failed", "interrupted"):
            reason = entry.run.info.get("reason") or "its process is gone"
            sentences.append(html.Span([light("fault"), f"{entry.label} {entry.run.state}: {reason}"]))
        for measure, steps in entry.metrics.not_finite.items():
            if measure == "loss":
                times = "once" if len(steps) == 1 else f"{len(steps)} times"
                sentences.append(html.Span([light("fault"), f"{entry.label}: loss was not finite {times}"]))
    if not sentences:
        sentences = [html.Span("Choose a run at the left.")]
    jump = html.A([icon("pulse"), "Curve doctor"], href="#tr-doctor", className="jump")
    return html.Section(
        [*tiles, html.Div([*sentences, *_evaluate(entries), jump], className="verdict")], className="kpis eight card"
    )


def _evaluate(entries: Sequence[Shown]) -> list[Any]:
    """The way to an evaluation of the newest policies that the runs left behind."""
    saved = [policies_of(entry.run) for entry in entries if entry.run.kind == "dpo"]
    newest = [policies[max(policies)] for policies in saved if policies]
    if not newest:
        return []
    return [html.A([icon("scales"), "Evaluate"], href=evaluate_link(newest), className="jump js-nav")]


def title_line(runs: Sequence[Run]) -> str:
    """Data and counts of what is on screen."""
    lines = []
    for run in runs:
        data = run.info.get("dataset") or {}
        if data:
            source = str(data.get("source", "")).rpartition("/")[2]
            lines.append(f"{source} · {data.get('train', 0):,} train and {data.get('held_out', 0):,} held-out pairs")
    return " | ".join(dict.fromkeys(lines)) or "Curves of loss and rewards for both families"


def live_line(entries: Sequence[Shown]) -> list[Any]:
    """The runs that are training now, with their steps and the time that is left."""
    texts = []
    for entry in entries:
        if entry.run.state != "running":
            continue
        step, most = entry.run.progress.get("step", 0), entry.run.progress.get("max_steps")
        left = _left(entry)
        texts.append(
            f"{entry.label} · step {step}" + (f" of {most}" if most else "") + (f" · {left} left" if left else "")
        )
    return [html.Span(className="pulse"), " | ".join(texts)] if texts else []


def _tile(label: str, tip: str, read: Any, entries: Sequence[Shown]) -> html.Div:
    rows = []
    for entry in entries:
        main, small, state = read(entry)
        rows.append(
            box(
                glyph(entry.run.family, rank=entry.rank),
                html.Span([main, html.Small(f" {small}") if small else None], className="kpi-v num"),
                light(state) if state else None,
                cls="kpi-row",
                title=entry.label,
            )
        )
    return html.Div([html.Div(label, className="label", title=tip), *rows], className="kpi")


def _newest(entry: Shown, measure: str) -> float | None:
    held_out = entry.metrics.last(f"eval_{measure}")
    return held_out if held_out is not None else entry.metrics.last(measure)


def _judged(entry: Shown, *codes: str) -> str | None:
    """The light of a tile: the most severe of the verdicts that concern it; none where rewards measure no tuning."""
    found = entry.verdicts
    if _MISMATCH not in codes and any(verdict.code == _MISMATCH for verdict in found):
        return None
    states = [v.severity for v in found if v.code in codes and v.severity != "note"]
    return min(states, key=rank, default="ok")


def _step_zero(entry: Shown) -> Value:
    check = entry.run.step_zero
    state = _judged(entry, _MISMATCH)
    if check and isinstance(check.get("loss"), int | float):
        return f"{check['loss']:.4f}", "", state
    steps, losses = entry.metrics.points("loss")
    if not len(steps):
        return "–", "", None
    late = f"step {int(steps[0])}" if steps[0] > 1 else ""
    return f"{losses[0]:.4g}", late, state if state != "ok" or not late else None


def _loss(entry: Shown) -> Value:
    reached = newest(entry.metrics)
    codes = ("divergence", "over-optimisation", "no learning")
    if reached.loss is None:
        return "–", "", None
    return number(reached.loss), _not_held_out(reached), _judged(entry, *codes)


def _not_held_out(reached: Newest) -> str:
    return TRAINING if reached.over == TRAINING else ""


def _margin(entry: Shown) -> Value:
    reached = newest(entry.metrics)
    value = reached.margin
    if value is None:
        return "–", "", None
    state = _judged(entry, "likelihood displacement", "no learning")
    small = _not_held_out(reached)
    return number(value), small, "warning" if value <= 0 and entry.metrics.rows > 3 and state == "ok" else state


def _accuracy(entry: Shown) -> Value:
    reached = newest(entry.metrics)
    if reached.accuracy is None:
        return "–", "", None
    count = (entry.run.info.get("dataset") or {}).get("held_out")
    known = isinstance(count, int) and is_share_of(reached.accuracy, count)
    small = _not_held_out(reached) or (f"n {count:,}" if known else HELD_OUT)
    return f"{reached.accuracy:.1%}", small, _judged(entry, "saturation", "shortcut", "below a trivial rule")


def is_share_of(accuracy: float, pairs: int) -> bool:
    """Whether so many pairs can have that accuracy, each counting whole, half or not at all.

    A mean of batches of unequal size, as other trainers and earlier versions logged it, is none.
    """
    halves = 2 * accuracy * pairs
    return pairs > 0 and abs(halves - round(halves)) < 1e-3


def _kl(entry: Shown) -> Value:
    state = _judged(entry, "KL budget spent")
    for key in ("kl", "objective/kl", "probe/kl"):
        value = _newest(entry, key)
        if value is not None:
            return number(value), "nats", state
    chosen, beta = _newest(entry, "rewards/chosen"), entry.run.config.get("beta")
    if chosen is None or not isinstance(beta, int | float) or beta <= 0:
        return "–", "", None
    if any(verdict.code == _MISMATCH for verdict in entry.verdicts):
        return "–", "", None  # the distance would be that of two models that never were the same
    return f"≈ {number(abs(chosen) / beta)}", "nats", state


def _length(entry: Shown) -> Value:
    measures = answer_measures(entry.run.samples())
    value = measures.last("length_ratio")
    state = _judged(entry, "length exploitation", "repetition collapse")
    return ("–", "", None) if value is None else (f"{value:.2f}", "", state)


def _speed(entry: Shown) -> Value:
    tokens, times = entry.metrics.points("time", "tokens")
    if len(tokens) < 2 or times[-1] <= times[0]:
        return "–", "", None
    return f"{(tokens[-1] - tokens[0]) / (times[-1] - times[0]):,.0f}", "", None


def _eta(entry: Shown) -> Value:
    if entry.run.state == "running":
        return _left(entry) or "–", "", None
    seconds = entry.metrics.last("time")
    return entry.run.state, f"in {duration(seconds)}" if seconds and entry.run.state == "finished" else "", None


def _left(entry: Shown) -> str | None:
    """Time to the last step at the pace so far; None before the second point."""
    most = entry.run.progress.get("max_steps")
    steps, times = entry.metrics.points("time")
    if not isinstance(most, int) or len(steps) < 2 or steps[-1] <= steps[0] or steps[-1] >= most:
        return None
    return duration((most - steps[-1]) * (times[-1] - times[0]) / (steps[-1] - steps[0]))


_TILES = (
    ("Step-0 loss", define("step-0 check"), _step_zero),
    ("Loss", define("loss"), _loss),
    ("Margin", define("margin"), _margin),
    ("Accuracy", define("accuracy"), _accuracy),
    ("KL to reference", define("kl") + " ≈ is the distance on the chosen answers instead.", _kl),
    ("Length ratio", define("length ratio"), _length),
    ("Tokens / s", define("tokens per second"), _speed),
    ("Time left", define("time left"), _eta),
)
