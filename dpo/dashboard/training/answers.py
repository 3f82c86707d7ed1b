"""The text behind the points: what the policies answered at a step."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from dash import html

from dpo.dashboard.choices import compare_link
from dpo.dashboard.components import glyph, icon, policy_name
from dpo.dashboard.run_reader import Shown
from dpo.runs import Run, Sample

# Answers to prompts of one's own, as the page holds them: run -> (step, text), by prompt.
Own = Mapping[str, Mapping[str, Sequence[tuple[int, str]]]]


def own_samples(run: Run, prompt: str | None, own: Own) -> list[Sample]:
    """The answers of a run's checkpoints to a prompt of one's own; step 0 is what it started from."""
    answers = dict(own.get(prompt or "", {}).get(str(run.path), ()))
    return [Sample(step, 0, prompt or "", text, answers.get(0)) for step, text in sorted(answers.items())]


def answer_cards(entries: Sequence[Shown], step: int, prompt: str | None, own: Own | None = None) -> list[Any]:
    """Policy and reference of each run at the newest answer at or before `step`, changes marked.

    `own` are answers to prompts of one's own; they stand beside those that the run recorded.
    """
    return [made for entry in entries if (made := _card(entry, step, prompt, own or {})) is not None] or [
        html.P("These runs recorded no answers.", className="sub pad")
    ]


def _card(entry: Shown, step: int, prompt: str | None, own: Own) -> html.Article | None:
    samples = own_samples(entry.run, prompt, own) or [s for s in entry.run.samples() if s.prompt == prompt]
    samples = [s for s in samples if s.step <= step]
    if not samples:
        return None
    newest = max(samples, key=lambda sample: sample.step)
    before = max((s for s in samples if s.step < newest.step), key=lambda sample: sample.step, default=None)
    family = entry.run.family
    head = [glyph(family, rank=entry.rank), html.Span(entry.label), _compare(entry, newest)]
    parts: list[Any] = [html.H3(head, className="row tight")]
    if newest.reference is not None:
        base = policy_name(family, False, "Base", entry.rank)
        parts.append(_answer(base, "reference", [newest.reference or "(empty answer)"]))
    tag = f"step {newest.step}" + (f" · marked: new since step {before.step}" if before else "")
    kind = "SFT" if entry.run.kind == "sft" else "DPO"
    parts.append(_answer(policy_name(family, True, kind, entry.rank), tag, _marked(before, newest)))
    return html.Article(parts, className=f"answers-run {family or 'other'}")


def _answer(name: Any, tag: str, text: Sequence[Any]) -> html.Div:
    head = html.Div([name, html.Span(tag, className="pill num")], className="row tight")
    return html.Div([head, html.P(list(text), className="out small")])


def _marked(before: Sample | None, now: Sample) -> list[Any]:
    """The answer with the words that the step before did not have underlined."""
    if before is None:
        return [now.policy or "(empty answer)"]
    old, new = before.policy.split(" "), now.policy.split(" ")
    parts: list[Any] = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        text = " ".join(new[start:end])
        if text:
            parts += [text if kind == "equal" else html.Span(text, className="new"), " "]
    return parts[:-1] or ["(empty answer)"]


def _compare(entry: Shown, sample: Sample) -> Any:
    """A way to Compare with the policy that answered, if it was saved: a checkpoint, or the result."""
    href = compare_link(entry.run, sample.step, sample.prompt)
    if href is None:
        return None
    return html.A([icon("compare", 14), f"Open step {sample.step} in Compare"], href=href, className="jump js-nav")
