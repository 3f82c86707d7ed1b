"""The routes by which the Evaluate page reads evaluations: what is there, one of them, its prompts, its exports."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request

from dpo.dashboard.evaluate import ballots, jobs_api, prompts
from dpo.dashboard.evaluate.figures import by_distance, by_temperature
from dpo.dashboard.evaluate.found import Evaluations, Made, OpenEvaluation, sound
from dpo.dashboard.evaluate.judges import judge_check
from dpo.dashboard.evaluate.naming import Names
from dpo.dashboard.evaluate.verdicts import bars, facts, headline, remarks, slices
from dpo.dashboard.evaluate.words import words
from dpo.dashboard.markup import to_html
from dpo.dashboard.web.downloads import attachment
from dpo.dashboard.workbench import Workbench
from dpo.errors import ConfigError, quoted
from dpo.evaluation.comparison.rows import Row
from dpo.evaluation.formats.export import FORMATS, check_formats
from dpo.evaluation.formats.source import Exported, slug


def register(server: Flask, workbench: Workbench) -> None:
    """Add the routes below `/api/evaluations`."""
    evaluations = Evaluations(workbench.roots, workbench.access)
    jobs_api.register(server, workbench, evaluations)
    ballots.register(server, workbench, evaluations)
    inside = workbench.runs.inside

    def looked_at(make: Callable[[OpenEvaluation], Made]) -> Made:
        """What `make` returns of the evaluation that the request names."""
        found = evaluations.open(request.args.get("evaluation") or "")
        return sound(found.path, lambda: make(found))

    @server.get("/api/evaluations")
    def evaluations_found() -> Response:
        """The evaluations that may be shown, newest first."""
        return jsonify({"evaluations": [_listed(path) for path in evaluations.find()]})

    @server.get("/api/evaluations/view")
    def evaluation_view() -> Response:
        """Everything above the table of prompts, as one judge sees it at one temperature."""
        return jsonify(looked_at(lambda found: view(found, Names(found.plan, inside), _asked(found.plan))))

    @server.get("/api/evaluations/prompts")
    def evaluation_prompts() -> Response:
        return jsonify(looked_at(lambda found: {"rows": prompts.rows(found, _temperature(found.plan))}))

    @server.get("/api/evaluations/texts")
    def evaluation_texts() -> Response:
        """The answers, for the search and the links: after the prompts, since they are much longer."""
        return jsonify(looked_at(lambda found: {"answers": prompts.texts(found, _temperature(found.plan))}))

    @server.get("/api/evaluations/answers")
    def evaluation_answers() -> Response:
        at = request.args.get("at", type=int)
        if at is None:
            raise ConfigError("at is missing: give the place of a prompt, ?at=0")
        return jsonify(looked_at(lambda found: prompts.answers(found, at, _temperature(found.plan))))

    @server.get("/api/evaluations/export")
    def evaluation_export() -> Response:
        """The evaluation in another tool's format: its file, or all its files as a ZIP archive."""
        name = request.args.get("format") or ""
        check_formats([name])
        return looked_at(lambda found: exported(found, name))


def _listed(path: Path) -> dict[str, Any]:
    run = path.parent.parent.name
    near = f"{run}: {path.name}" if path.parent.parent.joinpath("run.json").is_file() else path.name
    return {"path": str(path), "name": near}


def _temperature(plan: Row) -> float:
    """The temperature that was asked for, if the evaluation has it; else its first."""
    asked = request.args.get("temperature", type=float)
    known = [float(one) for one in plan["temperatures"]]
    return asked if asked is not None and math.isfinite(asked) and asked in known else known[0]


def _asked(plan: Row) -> tuple[str, float, str | None]:
    """Judge ("" is all), temperature, and the policy whose words are shown ("" is the data)."""
    judges = [judge["name"] for judge in plan["judges"]]
    judge = request.args.get("judge")
    return judge if judge in (*judges, "") else judges[0], _temperature(plan), request.args.get("words")


def view(found: OpenEvaluation, names: Names, asked: tuple[str, float, str | None]) -> dict[str, Any]:
    """The page's parts as HTML, its figures, and what can be chosen."""
    made, plan = found.made, found.plan
    judge, temperature, word_of = asked
    first = next((one for one in plan["judges"] if one["name"] == judge), plan["judges"][0])
    policies = [policy for policy, _ in plan["comparisons"]]
    word_of = policies[0] if word_of is None or word_of not in (*policies, "") else word_of
    said = words(made, names, word_of, temperature)
    forest, forest_note = slices(made, names, first["name"], temperature)
    figure, figure_note = by_temperature(made, names, first["name"])
    frontier, frontier_note = by_distance(made, names, first["name"], temperature)
    check, warning = judge_check(made, names, temperature)
    return {
        "name": found.path.name, "written": f"{datetime.fromtimestamp(found.changed):%d %b %Y, %H:%M}",
        "complete": made["complete"], "prompts": made["prompts"], "until_clear": "until_clear" in plan,
        "headline": headline(made, names, first, temperature),
        "remarks": remarks(made, names, first["name"], temperature),
        "judge": judge, "temperature": temperature, "words_of": word_of,
        "judges": [
            {"name": one["name"], "label": names.judge(one), "kind": one["kind"], "orders": len(one["orders"])}
            for one in plan["judges"]
        ],
        "temperatures": plan["temperatures"], "policies": [names[policy].record() for policy in plan["policies"]],
        "comparisons": plan["comparisons"], "facts": to_html(facts(made, plan, names)),
        "wins": to_html(bars(made, names, plan["judges"], judge, temperature)),
        "slices": to_html(forest), "slices_note": forest_note, "words": to_html(said),
        "temperature_figure": figure, "temperature_note": figure_note,
        "distance_figure": frontier, "distance_note": frontier_note,
        "judge_check": to_html(check), "judge_note": warning,
    }  # fmt: skip


def exported(found: OpenEvaluation, name: str) -> Response:
    """One file as it is, several as an archive.

    Raises:
        DataError: the format has nothing to write of it.
    """
    source = Exported(found.store, found.table, found.made, found.changed, version("dpo-workbench"))
    files = FORMATS[name](source)
    if not files:
        raise ConfigError(f"This evaluation has nothing that {quoted(name)} could hold")
    stem = f"{slug(found.path.name)}-{name}"
    if len(files) == 1:
        [(path, text)] = files.items()
        return attachment(text.encode("utf-8", "replace"), stem, Path(path).suffix)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path, text in files.items():
            target.writestr(path, text.encode("utf-8", "replace"))
    return attachment(archive.getvalue(), stem, ".zip")
