"""The pages' ES modules: all are named in the document, remembered by browsers, and never stale."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dash import Dash
from flask.testing import FlaskClient

from dpo.dashboard.application import ASSETS, create_app
from dpo.dashboard.web.modules import ENTRY, Modules

MODULES = Modules(ASSETS)
IMPORT = re.compile(r"""^(?:import|export)\s(?:[^;"']*\sfrom\s)?["']([^"']+)["']""", re.M)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dash]:
    app = create_app([tmp_path_factory.mktemp("runs")])
    yield app
    for service in app.server.config["services"]:
        service.close()


@pytest.fixture
def client(app: Dash) -> FlaskClient:
    return app.server.test_client()


def imports(name: str) -> set[str]:
    """The modules that one names, as paths below `assets`."""
    found = IMPORT.findall((ASSETS / name).read_text())
    return {os.path.normpath(Path(name).parent / path) for path in found}


def imported_later(name: str) -> set[str]:
    """What a module fetches when somebody opens it; types are imported in comments."""
    code = re.sub(r"/\*.*?\*/", "", (ASSETS / name).read_text(), flags=re.S)
    found = re.findall(r'\bimport\("(\.[^"]+)"\)', code)
    return {os.path.normpath(Path(name).parent / path) for path in found}


def test_the_entry_reaches_every_module_and_no_module_is_missing() -> None:
    reached, open_ = set(), {ENTRY}
    while open_:
        name = open_.pop()
        reached.add(name)
        open_ |= imports(name) - reached
    assert reached == set(MODULES.first())
    later = {module for name in reached for module in imported_later(name)}
    assert later and not later & reached
    while missing := {named for name in reached | later for named in imports(name)} - reached - later:
        reached |= missing
    assert reached | later == set(MODULES.files())
    assert MODULES.files()[0] == ENTRY


def test_no_module_imports_itself_by_way_of_others() -> None:
    left = {name: imports(name) for name in MODULES.files()}
    while leaves := [name for name, named in left.items() if not named & left.keys()]:
        for name in leaves:
            del left[name]
    assert not left


def test_every_callback_that_python_names_is_in_its_module(app: Dash) -> None:
    """Dash finds out in the browser, and only when the callback is called."""
    entry = (ASSETS / ENTRY).read_text()
    paths = dict(re.findall(r'import \* as (\w+) from "\./([^"]+)"', entry))
    named = dict(re.findall(r"^  (\w+): (\w+)\.callbacks,", entry, re.M))
    called = [entry["clientside_function"] for entry in app._callback_list if entry["clientside_function"]]
    own = [(call["namespace"], call["function_name"]) for call in called if call["namespace"] in named]
    assert {namespace for namespace, _ in own} == set(named)
    for namespace, function in own:
        text = (ASSETS / "js" / paths[named[namespace]]).read_text()
        callbacks = text[text.index("export const callbacks = {") :]
        assert re.search(rf"[{{\s]{function}(\(|:)", callbacks), f"{namespace}.{function}"


def test_the_document_names_every_module_it_needs_and_dash_none(client: FlaskClient) -> None:
    document = client.get("/").get_data(as_text=True)
    base = f"/modules/{MODULES.version()}/"
    preloaded = re.findall(r'<link rel="modulepreload" href="([^"]+)">', document)
    assert preloaded == [base + name for name in MODULES.first()]
    assert re.findall(r'<script type="module" src="([^"]+)">', document) == [f"{base}js/main.js"]
    assert not re.findall(r'<script src="/assets/[^"]*"', document)
    for address in (base + name for name in MODULES.files()):
        answer = client.get(address)
        assert (answer.status_code, answer.mimetype) == (200, "text/javascript"), address
        assert "immutable" in answer.headers["Cache-Control"]


def test_an_address_of_another_version_is_not_remembered(client: FlaskClient) -> None:
    answer = client.get("/modules/0123456789ab/js/main.js")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"


NOT_MODULES = ("js/globals.d.ts", "app.css", "../pyproject.toml", "js/../../app.py", "js", "js/no.js")


@pytest.mark.parametrize("name", NOT_MODULES)
def test_nothing_but_modules_is_served_there(client: FlaskClient, name: str) -> None:
    assert client.get(f"/modules/{MODULES.version()}/{name}").status_code == 404


def test_a_change_of_any_module_is_another_version(tmp_path: Path) -> None:
    assets = shutil.copytree(ASSETS, tmp_path / "assets")
    copied = Modules(assets)
    before = copied.version()
    assert before == MODULES.version()
    changed = assets / "vendor" / "jsdiff-9.0.0" / "array.js"
    times = changed.stat()
    changed.write_text(changed.read_text().replace("slice", "sLice"))  # as long as before
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert copied.version() != before
