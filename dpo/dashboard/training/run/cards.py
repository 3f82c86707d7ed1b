"""The cards of a run's page: data and audit, evaluation, settings, commands, card and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash import html

from dpo.counting import counted
from dpo.dashboard.choices import evaluate_link, evaluation_link, policies_of
from dpo.dashboard.components import box, card, card_head, command, icon, light
from dpo.dashboard.run_reader import Shown
from dpo.dashboard.training.doctor import fix, panel
from dpo.dashboard.training.run.commands import commands, settings
from dpo.dashboard.training.run.files import RunFile, card_link, card_of, file_link, files
from dpo.dashboard.training.run.mending import change_of
from dpo.dashboard.web.access import Access, Right
from dpo.publishing.evaluated import evaluated
from dpo.runs import Run
from dpo.severity import is_severe, rank, severity_of

_MOST_FINDINGS = 4


def cards(entry: Shown) -> list[Any]:
    """Doctor, data and audit, evaluation: three beside each other."""
    run = entry.run
    severe = sum(is_severe(verdict.severity) for verdict in entry.verdicts)
    note = counted(severe, "finding") if severe else "Nothing that has to be mended"
    doctor = card(card_head(html.H2("Doctor"), html.P(note, className="sub")), *panel([entry]), cls="doctor run-doctor")
    return [doctor, _data(run), _evaluation(run)]


def more(run: Run, access: Access) -> list[Any]:
    """Settings and commands beside each other, then the model card and the files."""
    return [
        html.Div([_settings(run), _commands(run)], className="grid g2 run-pair"),
        _files(run, access.grants(Right.ASK)),
    ]


def _facts(rows: Sequence[tuple[str, Any]]) -> html.Dl:
    parts = [html.Div([html.Dt(name), html.Dd(value, className="num")]) for name, value in rows]
    return html.Dl(parts, className="run-facts")


def _data(run: Run) -> html.Section:
    data, audit = run.info.get("dataset") or {}, run.audit()[0]
    rows: list[tuple[str, Any]] = []
    if data:
        rows = [("Train, held out", f"{data.get('train', 0):,}, {data.get('held_out', 0):,}")]
        named = (("rows", "Rows read"), ("prompts", "Different prompts"), ("layout", "Layout"))
        rows += [(title, _shown(data[name])) for name, title in named if data.get(name) is not None]
        left_out = {**(data.get("dropped") or {}), **(data.get("cut") or {})}
        rows += [(str(why).replace("_", " ").capitalize(), _shown(count)) for why, count in left_out.items() if count]
    measures = audit.get("measures") if isinstance(audit.get("measures"), dict) else {}
    for name, title in (("leaking", "Prompts also held out"), ("duplicate_pairs", "Pairs twice")):
        if isinstance(measures, dict) and isinstance(measures.get(name), int):
            rows.append((title, f"{measures[name]:,}"))
    found = sorted(audit.get("findings") or [], key=lambda one: rank(severity_of(one.get("severity", "note"))))
    severe = [one for one in found if is_severe(one.get("severity", "note"))]
    items = [part for one in severe[:_MOST_FINDINGS] for part in _finding(run, one)]
    if len(severe) > _MOST_FINDINGS:
        items.append(html.P(f"and {counted(len(severe) - _MOST_FINDINGS, 'other finding')}", className="sub"))
    if not audit:
        items = [html.P("Its data were not audited: the Data page does it.", className="sub")]
    elif not severe:
        items = [html.P([light("ok"), html.Span("The audit found nothing that has to be mended.")])]
    source = str(data.get("source") or "").rstrip("/").rpartition("/")[2] or "Not recorded"
    open_it = html.A([icon("data"), "Data page"], href="/data", className="jump js-nav")
    head = card_head(html.H2("Data and audit"), html.P(source, className="sub"), open_it)
    return card(head, _facts(rows), html.Div(items, className="run-items"))


def _finding(run: Run, found: Mapping[str, Any]) -> list[Any]:
    """What is wrong with the data, and the change that mends it."""
    says = html.P([light(found["severity"]), html.Span(str(found.get("sentence") or found.get("code")))])
    change = change_of(run, found)
    return [says] if change is None else [says, fix(run, run.name, change)]


def _evaluation(run: Run) -> html.Section:
    found = evaluated(run)
    if not found:
        saved = policies_of(run)
        text = "How often its answers are preferred to its base's has not been measured."
        link = None
        if saved and run.family is not None:
            href = evaluate_link([saved[max(saved)]])
            link = html.A([icon("scales"), "Set one up"], href=href, className="jump js-nav")
        return card(card_head(html.H2("Evaluation"), html.P("None yet", className="sub"), link),
                    html.P(text, className="sub pad"))  # fmt: skip
    made = found[0]
    note = counted(made["prompts"], "held-out prompt") + ("" if made["complete"] else ", stopped before its end")
    link = html.A([icon("scales"), "Open"], href=evaluation_link(made["directory"]), className="jump js-nav")
    heads = ("", "Judge", "Temperature", "Win rate", "Verdict")
    table = html.Table([
        html.Thead(html.Tr([html.Th(text) for text in heads[1:]])),
        html.Tbody([html.Tr([html.Td(cell) for cell in row[1:]], title=row[0]) for row in made["rows"]]),
    ])  # fmt: skip
    return card(
        card_head(html.H2("Evaluation"), html.P(note, className="sub"), link),
        html.Div([html.P(html.B(sentence)) for sentence in made["headline"]], className="run-items"),
        html.Div(table, className="table-box"),
        html.Div([html.P(sentence, className="sub") for sentence in made["words"]], className="run-items"),
    )


def _settings(run: Run) -> html.Section:
    differ, others = settings(run)
    note = f"{counted(len(differ), 'setting')} not at the default" if differ else "All at their defaults"
    own = [
        (_called(name), [html.B(_shown(value)), html.Small(f" not {_shown(usual)}")]) for name, value, usual in differ
    ]
    rest = html.Details(
        [html.Summary(counted(len(others), "other setting")),
         _facts([(_called(name), _shown(value)) for name, value in others])],
        className="run-rest",
    )  # fmt: skip
    versions = " · ".join(f"{name} {version}" for name, version in (run.info.get("versions") or {}).items())
    return card(
        card_head(html.H2("Settings"), html.P(note if run.config else "None were recorded", className="sub")),
        _facts(own), rest if others else None,
        html.P(versions, className="sub pad num") if versions else None,
    )  # fmt: skip


def _commands(run: Run) -> html.Section:
    lines = [box(html.Div(text, className="label"), command(line)) for text, line in commands(run)]
    note = html.P("To copy into a terminal, in the directory where the server was started.", className="sub")
    return card(card_head(html.H2("Commands"), note), html.Div(lines, className="run-items"))


def _files(run: Run, may: bool) -> html.Section:
    found = files(run)
    size = sum(one.size for one in found)
    note = f"{counted(len(found), 'file')}, {_bytes(size)}, in {run.path}"
    rows = [_file(run, one, may) for one in found]
    parts: list[Any] = [card_head(html.H2("Model card and files"), html.P(note, className="sub"))]
    if run.config and run.policy_path is not None:
        parts.append(
            html.Details(
                [html.Summary([html.Span("Model card"), html.Span(" as dpo push would publish it", className="sub")]),
                 html.A([icon("download"), "Download"], href=card_link(run), className="jump", download=""),
                 html.Pre(card_of(run), tabIndex=0, **{"aria-label": "Model card"})],
                className="run-card",
            )
        )  # fmt: skip
    return card(*parts, html.Div(html.Table(html.Tbody(rows), className="run-files"), className="run-files-box"))


def _file(run: Run, one: RunFile, may: bool) -> html.Tr:
    name: Any = html.Code(one.name)
    if may and not one.whole:
        name = html.A(name, href=file_link(run, one.name), download="", title=f"Download {one.name}")
    return html.Tr([html.Td(name), html.Td(one.purpose, className="sub"), html.Td(_bytes(one.size), className="num")])


def _bytes(size: int) -> str:
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least:
            return f"{size / least:.3g} {unit}"
    return counted(size, "byte")


def _called(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(_shown, value)) or "none"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)
