"""The tiles above the charts and the answers below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from dpo.dashboard.components import glyph, light, policy_name
from dpo.dashboard.theme import FAMILY_LABEL
from dpo.dashboard.training.series import verdict
from dpo.runs import Metrics, Run

_Shown = Sequence[tuple[Run, int, Metrics]]
_TILES = (
    ("Step-0 loss", None, "ln 2 = 0.6931 for the sigmoid loss: policy and reference agree before the first update"),
    ("Loss, held out", "loss", "Mean loss over the held-out pairs"),
    ("Margin, held out", "rewards/margins", "Chosen minus rejected reward"),
    ("Accuracy, held out", "rewards/accuracies", "Share of held-out pairs ranked right"),
    ("Chosen reward", "rewards/chosen", "beta times how much likelier than under the reference, held out"),
    ("Rejected reward", "rewards/rejected", "beta times how much likelier than under the reference, held out"),
)


def kpis(shown: _Shown, problems: Sequence[str]) -> html.Section:
    """One tile for each measure with a line for each run, and a sentence for each run beneath."""
    dpo = [entry for entry in shown if entry[0].kind == "dpo"]
    tiles = [_tile(label, measure, tip, dpo) for label, measure, tip in _TILES] if dpo else []
    sentences = [html.Span([light("bad"), problem]) for problem in problems]
    for run, rank, metrics in dpo:
        name = FAMILY_LABEL[run.family] if rank == 0 and not _several(dpo) else run.name
        state, sentence = verdict(name, metrics)
        sentences.append(html.Span([light(state), sentence]))
        if run.state in ("failed", "interrupted"):
            reason = run.info.get("reason") or "its process is gone"
            sentences.append(html.Span([light("bad"), f"{run.name} {run.state}: {reason}"]))
    if not sentences:
        hint = "These runs are supervised fine-tuning: only Loss applies." if shown else "Choose a run at the left."
        sentences = [html.Span(hint)]
    return html.Section([*tiles, html.Div(sentences, className="verdict")], className="kpis card")


def title_line(shown: _Shown) -> str:
    """Data and counts of what is on screen."""
    lines = []
    for run, _, _ in shown:
        data = run.info.get("dataset") or {}
        if data:
            source = str(data.get("source", "")).rpartition("/")[2]
            lines.append(f"{source} · {data.get('train', 0):,} train and {data.get('held_out', 0):,} held-out pairs")
    return " | ".join(dict.fromkeys(lines)) or "Curves of loss and rewards for both families"


def said(shown: _Shown, step: int, prompt: str | None) -> list[Any]:
    """Policy and reference of each run at the newest probe at or before `step`."""
    cards = []
    for run, _, _ in shown:
        samples = [s for s in run.samples() if s.prompt == prompt and s.step <= step]
        if not samples:
            continue
        newest = max(samples, key=lambda sample: sample.step)
        answers = [(newest.policy, True, f"step {newest.step}")]
        if newest.reference is not None:
            answers.insert(0, (newest.reference, False, "reference"))
        cards.append(
            html.Article(
                [
                    html.H3([glyph(run.family), f" {run.name}"], className="row tight"),
                    *(
                        html.Div(
                            [
                                html.Div(
                                    [
                                        policy_name(run.family, tuned, "DPO" if tuned else "Base"),
                                        html.Span(tag, className="pill num"),
                                    ],
                                    className="row tight",
                                ),
                                html.P(text or "(empty answer)", className="out small"),
                            ]
                        )
                        for text, tuned, tag in answers
                    ),
                ],
                className="said-run",
            )
        )
    return cards or [html.P("These runs recorded no answers.", className="sub pad")]


def _tile(label: str, measure: str | None, tip: str, shown: _Shown) -> html.Div:
    rows = []
    for run, _, metrics in shown:
        value, state = _step_zero(run) if measure is None else (_newest(metrics, measure), None)
        if measure == "rewards/accuracies" and value is not None:
            count = (run.info.get("dataset") or {}).get("held_out")
            text = f"{value:.1%}" + (f" n {count}" if count else "")
        else:
            text = "–" if value is None else f"{value:.4g}".replace("-", "−")
        main, _, small = text.partition(" ")
        rows.append(
            html.Div(
                [
                    glyph(run.family),
                    html.Span([main, html.Small(f" {small}") if small else None], className="kpi-v num"),
                    light(state) if state else None,
                ],
                className="kpi-row",
                title=run.name,
            )
        )
    return html.Div([html.Div(label, className="label", title=tip), *rows], className="kpi")


def _step_zero(run: Run) -> tuple[float | None, str | None]:
    check = run.step_zero
    if not check:
        return None, None
    return check.get("loss"), "ok" if check.get("passed") else "bad"


def _newest(metrics: Metrics, measure: str) -> float | None:
    held_out = metrics.last(f"eval_{measure}")
    return held_out if held_out is not None else metrics.last(measure)


def _several(shown: _Shown) -> bool:
    return any(rank > 0 for _, rank, _ in shown)
