"""The remedies of findings: what one would do, and the cleaned file, written as `dpo data clean` writes it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from typing_extensions import TypedDict

from dpo.arrays import Floats
from dpo.counting import counted
from dpo.dashboard.audit_jobs import AuditJob, AuditJobs
from dpo.dashboard.browser import also
from dpo.dashboard.ches_jobs import CODE
from dpo.dashboard.components import box, button, card, dialog, light, problem_card
from dpo.dashboard.data.cards import EVERYTHING, findings_of, fix_button, fix_label
from dpo.dashboard.data.pairs import word_diff
from dpo.errors import BusyError, ConfigError, DpoError
from dpo.preferences.audit.remedies import cleaned_name
from dpo.preferences.normalise import Columns

if TYPE_CHECKING:
    from datasets import Dataset

    from dpo.preferences.audit import Audit
    from dpo.preferences.audit.clean import Effect, ExampleRow, Remedies

_SIDES = ("prompt", "chosen", "rejected")
_SHOWN = 400  # characters of an example's text


class Fix(TypedDict):
    """What `da-fix` holds: a remedy of an audit, by the key of its button."""

    job: str
    key: str


def preview_dialog() -> list[Any]:
    """The preview, as it lies in wait."""
    actions = box(
        button("Leave it", id="da-fix-leave", n_clicks=0),
        button("Write the cleaned file", None, "filled", id="da-fix-go", n_clicks=0, disabled=True),
        cls="row end",
    )
    return [
        dialog(
            [html.Div(id="da-effect", role="status"), actions, html.Div(id="da-written", role="status")],
            "da-fix-box", "What the remedy changes", 760,
        ),
        dcc.Store(id="da-fix"),
    ]  # fmt: skip


def register(app: Dash, audits: AuditJobs) -> None:
    """The preview and the writing."""
    working = threading.BoundedSemaphore(2)

    @app.callback(
        Output("da-fix", "data"), Output("da-fix-box", "opened"), Output("da-fix-box", "title"),
        also("da-effect", "children"), also("da-written", "children"),
        Input({"type": "da-fix", "key": ALL}, "n_clicks"), State("da-audited", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def ask(clicks: list[int | None], ident: str | None) -> tuple[Any, ...]:
        job = audits.job(ident)
        # The buttons call this when they appear, too.
        if not any(clicks) or job is None or job.audit is None:
            return (no_update,) * 5
        key = ctx.triggered_id["key"]
        waiting = html.P("Working out what it changes; nothing is written.", className="sub")
        return {"job": ident, "key": key}, True, fix_label(key, findings_of(job.audit, key)), waiting, None

    @app.callback(
        Output("da-effect", "children"), Output("da-fix-go", "disabled"),
        Input("da-fix", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def show(fix: Fix | None) -> tuple[Any, bool]:
        from dpo.preferences.audit.clean import preview

        try:
            job, remedies = _asked(audits, fix)
            with _turn(working):
                effect = preview(job.source, remedies, columns=job.columns)
        except DpoError as error:
            return problem_card(str(error)), True
        return _effect(effect, job, audits.directory), not effect.written

    @app.callback(
        Output("da-written", "children"), also("da-fix-go", "disabled"), also("da-source", "data"),
        Input("da-fix-go", "n_clicks"), State("da-fix", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def write(_: int, fix: Fix | None) -> tuple[Any, bool, Any]:
        from dpo.preferences.audit.clean import clean

        try:
            job, remedies = _asked(audits, fix)
            with _turn(working):
                to = audits.directory / cleaned_name(job.label, audits.directory)
                done = clean(job.source, to, remedies, columns=job.columns)
        except DpoError as error:
            return problem_card(str(error)), False, no_update
        text = f"Wrote {counted(done.written, 'pair')} to "
        log = "; every row that was dropped or changed is in "
        return html.Div([
            html.P([text, html.Code(str(done.output)), log, html.Code(str(done.log)), "."]),
            box(train_button(str(done.output.absolute())), cls="row end"),
        ]), True, audits.offered()  # fmt: skip

    @app.callback(also("da-fix-box", "opened"), Input("da-fix-leave", "n_clicks"), prevent_initial_call=True)
    def leave(_: int) -> bool:
        return False


def train_button(source: str, columns: Columns | None = None, variant: str = "default") -> Any:
    """Opens the form of a new run with these pairs (assets/js/training/drawer.js)."""
    columns = columns or Columns()
    named = {f"{role}_column": name for role, name in columns.roles().items() if name}
    given = {"dataset": source, **named, "layout": columns.layout, "swap": columns.swap or None}
    settings = json.dumps({name: value for name, value in given.items() if value is not None})
    return button("Train on this", "training", variant, className="js-train-on", **{"data-settings": settings})


def verdict(job: AuditJob, result: Audit) -> html.Section:
    """How many things are wrong, before all else, and what can be done about them together."""
    found, severe = result.findings, len(result.severe())
    text = f"{counted(severe, 'thing')} to look at" if severe else "Nothing here speaks against training on it"
    notes = counted(len(found) - severe, "note")
    lasting = not job.value.startswith("upload:")  # an upload goes when the server ends: a run could not be resumed
    return card(
        box(
            light(result.worst() or "ok"),
            box(html.H2(text), html.P(f"{notes} beside", className="sub"), cls="grow"),
            fix_button(EVERYTHING, found),
            train_button(job.source, job.columns) if lasting else None,
            cls="row",
        ),
        cls="pad whole",
    )


@contextlib.contextmanager
def _turn(places: threading.BoundedSemaphore) -> Iterator[None]:
    """Two at a time are worked out: each reads the whole source."""
    if not places.acquire(blocking=False):
        raise BusyError("Others are being worked out just now: try again in a moment")
    try:
        yield
    finally:
        places.release()


def _asked(audits: AuditJobs, fix: Fix | None) -> tuple[AuditJob, Remedies]:
    job = audits.job(fix["job"]) if fix else None
    if job is None or job.audit is None or fix is None:
        raise ConfigError("This audit is no longer kept: start it again")
    return job, remedies_for(job, fix["key"])


def remedies_for(job: AuditJob, key: str) -> Remedies:
    """What the button of a key does.

    Raises:
        ConfigError: nothing, or not on this page.
    """
    from dpo.preferences.audit.clean import Remedies, remedies_of

    assert job.audit is not None
    remedies = _drop_ches(job) if key == CODE else remedies_of(findings_of(job.audit, key))
    if remedies == Remedies():
        raise ConfigError("No such remedy is advised: choose one on the page")
    return remedies


def _drop_ches(job: AuditJob) -> Remedies:
    """Drops what the page lists: the scores that were measured are looked up by row, nothing is measured again."""
    from dpo.preferences.audit.ches import SHARE, DropChes
    from dpo.preferences.audit.clean import Remedies

    assert job.data is not None and job.every is not None
    if job.scored is None or job.scored.scores is None:
        raise ConfigError("The CHES of these pairs was not measured: choose a policy on the page, then Measure")
    if len(job.data.pairs) < len(job.every):
        raise ConfigError(
            f"Only {len(job.data.pairs):,} of {len(job.every):,} pairs were measured here: "
            f"dpo data clean ... --drop-ches {SHARE:.0%} --model {job.scored.policy} measures all of them"
        )
    known = dict(zip(job.data.pairs["row"], job.scored.scores.tolist(), strict=True))

    def score(pairs: Dataset) -> Floats:
        return np.array([known.get(row, np.nan) for row in pairs["row"]])

    return Remedies(drop_ches=DropChes(SHARE, job.scored.policy, score))


def _effect(effect: Effect, job: AuditJob, directory: Path) -> html.Div:
    dropped, changed = sum(effect.dropped.values()), sum(effect.changed.values())
    first = f"Drops {dropped:,} and changes {changed:,} of {counted(effect.rows, 'row')}; {effect.written:,} are left."
    counts = [(count, "dropped", why) for why, count in effect.dropped.items()]
    counts += [(count, "changed", why) for why, count in effect.changed.items()]
    lines = [html.Li([html.B(f"{n:,}", className="num"), f" {what}: {why}"]) for n, what, why in sorted(counts)[::-1]]
    to = directory / cleaned_name(job.label, directory)
    return html.Div([
        html.P(first, className="strong"),
        html.Ul(lines, className="plain"),
        *(html.P(note, className="sub") for note in effect.notes),
        *(_example(example) for example in effect.examples),
        html.P(["It is written to ", html.Code(str(to)), f"; {job.label} stays as it is."], className="sub"),
    ], className="effect")  # fmt: skip


def _example(example: ExampleRow) -> html.Section:
    """A row before and after, the sides that differ; all of them where it is dropped."""
    head = html.H3(f"Row {example.row:,}: {'dropped' if example.after is None else example.why}")
    if example.after is None:
        rows = [html.Tr([html.Th(side, scope="row"), html.Td(_cut(example.before[side]), dir="auto")])
                for side in _SIDES]  # fmt: skip
        return html.Section([head, html.P(example.why, className="sub"), _table(("", "Before"), rows)])
    rows = []
    for side in _SIDES:
        old, new = _cut(example.before[side]), _cut(example.after[side])
        if old != new:
            before, after = word_diff(old, new)
            rows.append(html.Tr([html.Th(side, scope="row"), html.Td(before, dir="auto"), html.Td(after, dir="auto")]))
    return html.Section([head, _table(("", "Before", "After"), rows)])


def _table(heads: Sequence[str], rows: Sequence[Any]) -> html.Table:
    cells = [html.Th(head, scope="col") if head else html.Td() for head in heads]
    return html.Table([html.Thead(html.Tr(cells)), html.Tbody(list(rows))], className="heads")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN].rpartition(' ')[0] or text[:_SHOWN]} …"
