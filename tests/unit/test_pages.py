"""The table of pages, what pages share, and what they may not: each other, and the state of another app."""

from __future__ import annotations

import ast
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from dash import Dash, html

import dpo.dashboard
from dpo.dashboard.application import ASSETS, create_app
from dpo.dashboard.compare.example import defaults, stored
from dpo.dashboard.pages import PAGES
from dpo.dashboard.shell import Page
from dpo.dashboard.workbench import Workbench
from dpo.generation.settings import Sampling
from dpo.runs import RunRecord

HOUSE = Path(dpo.dashboard.__file__).parent
ROOMS = ("compare", "data", "evaluate", "lens", "runs_page", "training")
# Calls that make what never changes.
VALUES = {"re.compile", "frozenset", "tuple", "TypeVar", "Path", "logging.getLogger", "Access", "resource"}
HOST = "http://127.0.0.1"


def imports(path: Path) -> set[str]:
    """The modules of `dpo.dashboard` that a file imports, as `room.module`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("dpo.dashboard.") for name in found if name.startswith("dpo.dashboard.")}


def test_the_rooms_of_pages_import_none_of_each_other() -> None:
    assert {path.parent.name for path in HOUSE.glob("*/page.py")} == set(ROOMS)
    for room in ROOMS:
        for path in (HOUSE / room).glob("**/*.py"):
            others = {name for name in imports(path) if name.partition(".")[0] in set(ROOMS) - {room}}
            assert others == set(), path
    modules = [path for path in HOUSE.glob("**/*.py") if path.name != "pages.py"]
    shared = [path for path in modules if path.relative_to(HOUSE).parts[0] not in ROOMS]
    assert [path for path in shared if any(name.partition(".")[0] in ROOMS for name in imports(path))] == []


def test_a_page_is_a_line_in_the_table(tmp_path: Path) -> None:
    """Navigation, shortcuts, help, address and registration follow from it."""

    def layout(workbench: Workbench) -> list[Any]:
        return [html.H1("Notes"), html.P(f"{len(workbench.runs.find())} runs", id="no-count")]

    def register(app: Dash, workbench: Workbench) -> None:
        app.server.config["notes"] = workbench

    notes = Page("/notes", "Notes", "file", "n", layout, register, keys=(("x", "cross out"),))
    app = create_app([tmp_path], votes=tmp_path / "votes.sqlite", pages=[*PAGES, notes])
    assert app.server.config["notes"] is app.workbench
    client = app.server.test_client()
    assert client.get("/notes", base_url=HOST).status_code == 200
    answer = client.get("/_dash-layout", headers={"Referer": f"{HOST}/notes"}, base_url=HOST)
    text = json.dumps(answer.get_json(), ensure_ascii=False)
    assert '"no-count"' in text and '"cmp-prompt"' not in text  # the address opens this page and no other
    links = [part for part in walk(answer.get_json()) if part.get("data-page") == "notes"]
    assert {(part["href"], part["data-key"]) for part in links} == {("/notes", "n")}
    assert len(links) == 2  # at the left, and at the foot of a phone
    [help_box] = [part for part in walk(answer.get_json()) if part.get("id") == "help"]
    assert all(words in json.dumps(help_box) for words in ("g n", "Notes", "cross out", "g c", "Compare"))
    body = {"output": "page-notes.children", "outputs": {"id": "page-notes", "property": "children"}, "state": [],
            "inputs": [{"id": "visit-notes", "property": "data", "value": 1}], "changedPropIds": []}  # fmt: skip
    visited = client.post("/_dash-update-component", json=body, base_url=HOST)
    assert visited.status_code == 200 and "0 runs" in visited.text


def walk(part: Any) -> list[dict[str, Any]]:
    """The properties of every component of a layout."""
    if isinstance(part, list):
        return [found for child in part for found in walk(child)]
    if not isinstance(part, dict):
        return []
    props = part.get("props", {})
    return [props, *(found for value in props.values() for found in walk(value))]


def test_a_setting_with_a_label_has_its_field_on_the_page(tmp_path: Path) -> None:
    """Its limits and step are those of the setting, its start, too, where no example has another; the scripts find
    the fields' names in the page.
    """
    app = create_app([tmp_path], votes=tmp_path / "votes.sqlite")
    parts = walk(app.server.test_client().get("/_dash-layout", base_url=HOST).get_json())
    found = {part["id"]: part for part in parts if "id" in part and isinstance(part["id"], str)}
    labelled = [spec for spec in fields(Sampling) if spec.metadata.get("label")]
    assert found["cmp-fields"]["data"] == [spec.name for spec in labelled] and len(labelled) >= 5
    start = defaults(stored(), "")
    for spec in labelled:
        assert defaults(None, "")[spec.name] == spec.default
        field, about = found["cmp-" + spec.name.replace("_", "-")], spec.metadata
        assert (field["label"], field["value"], field["max"]) == (about["label"], start[spec.name], about["high"])
        Sampling(**{spec.name: type(spec.default)(field["min"])}).validate()
    scripts = "".join(path.read_text(encoding="utf-8") for path in ASSETS.rglob("*.js") if "vendor" not in path.parts)
    assert "repetition_penalty" not in scripts and '"top_k"' not in scripts  # no list of names to keep up


@pytest.mark.parametrize("part", ["path", "name", "key"])
def test_pages_differ_in_what_opens_them(part: str) -> None:
    values = [
        value for page in PAGES if (value := getattr(page, part))
    ]  # some have no key: one comes to them by a link
    assert len(set(values)) == len(values)


def test_two_apps_share_no_state(tmp_path: Path) -> None:
    """One process may serve two workbenches, over other runs and other votes."""
    apps = []
    for name, loss in (("one", 0.5), ("two", 0.25)):
        record = RunRecord.create(tmp_path / name / "run", {"name": name, "kind": "dpo", "family": "gpt2"})
        record.log({"step": 0, "loss": loss})
        apps.append(create_app([tmp_path / name], votes=tmp_path / name / "votes.sqlite"))
    first, second = (app.workbench for app in apps)
    for part in ("runs", "engine", "lens", "audits", "jobs", "votes", "streams", "allowed"):
        assert getattr(first, part) is not getattr(second, part)
    for app, name, other in ((apps[0], "one", "two"), (apps[1], "two", "one")):
        body = {"runs": [str(tmp_path / place / "run") for place in (name, other)], "summary": True, "charts": {}}
        found = app.server.test_client().post("/api/curves", json=body, base_url=HOST).get_json()["summary"]["kpis"]
        assert "in none of the directories shown here" in found and found.count(f"{other}/run") == 1
    for app in apps:
        app.workbench.close()


def test_modules_hold_no_state() -> None:
    """What changes lies on the app's `Workbench`: a module's values are what they were when it was imported."""
    found = []
    for path in HOUSE.glob("**/*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            empty = (isinstance(value, ast.Dict) and not value.keys) or (isinstance(value, ast.List) and not value.elts)
            made = isinstance(value, ast.Call) and ast.unparse(value.func) not in VALUES
            cached = isinstance(node, ast.FunctionDef) and any("cache" in ast.unparse(d) for d in node.decorator_list)
            if empty or made or cached:
                found.append(f"{path.relative_to(HOUSE)}: {ast.unparse(node).splitlines()[-1 if cached else 0]}")
    assert found == []
