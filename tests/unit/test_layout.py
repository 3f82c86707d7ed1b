"""Pages that come when they are visited: each callback finds what it needs on its own page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plotly.offline import get_plotlyjs_version

from dpo.dashboard.application import create_app
from dpo.dashboard.components import chart
from dpo.dashboard.shell import asked


def idents(component: Any) -> Iterator[str]:
    """Ids of a component and of all within it."""
    if isinstance(component, list | tuple):
        for part in component:
            yield from idents(part)
        return
    if getattr(component, "id", None):
        yield component.id
    for name in getattr(component, "_prop_names", ()):
        inside = getattr(component, name, None)
        if inside is not None and name != "id" and (isinstance(inside, list | tuple) or hasattr(inside, "_prop_names")):
            yield from idents(inside)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("app")
    return create_app([folder], votes=folder / "votes.sqlite")


def test_callbacks_need_their_own_page_and_the_shell_only(app: Any) -> None:
    owner = {ident: page.name for page in app.pages for ident in idents(page.layout(app.workbench))}
    shell_ids = {"url", "theme", "help", "open-help", "theme-switch"}
    shell_ids |= {f"{kind}-{page.name}" for page in app.pages for kind in ("page", "visit")}
    assert len(app.callback_map) > 30
    for output, callback in app.callback_map.items():
        ends = [part.rpartition(".")[0] for part in output.strip(".").split("...")]
        needs = [spec["id"] for kind in ("inputs", "state") for spec in callback[kind]]
        needs = [ident for ident in needs if not ident.startswith("{")]  # a pattern may match nothing
        unknown = [ident for ident in [*ends, *needs] if ident not in owner and ident not in shell_ids]
        assert unknown == [], output
        assert len({owner.get(ident) for ident in ends}) == 1, f"{output} fills parts of several pages"
        assert {owner[ident] for ident in needs if ident in owner} <= {owner.get(ends[0])}, output


def test_ids_are_on_one_page_each(app: Any) -> None:
    known = [ident for page in app.pages for ident in idents(page.layout(app.workbench))]
    assert len(known) == len(set(known)) > 100


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("http://h:1/training?run=a", "training"),
        ("http://h:1/", "compare"),
        ("http://h:1/nowhere", "compare"),
        (None, "compare"),
        ("/runs", "runs"),
    ],
)
def test_the_page_in_the_address_comes_with_the_layout(app: Any, address: str | None, key: str) -> None:
    assert asked(app.pages, address).name == key
    headers = {"Referer": address} if address else {}
    layout = app.server.test_client().get("/_dash-layout", headers=headers, base_url="http://127.0.0.1").get_json()
    text = json.dumps(layout)
    marks = {"compare": '"cmp-prompt"', "training": '"tr-run-list"', "runs": '"rn-grid"', "lens": '"lens-table"'}
    assert {name for name, mark in marks.items() if mark in text} == {key}


def test_plotly_is_fetched_at_once_or_when_there_is_time(app: Any, tmp_path: Path) -> None:
    client = app.server.test_client()
    for path, when in (("/", "prefetch"), ("/training", "preload")):
        text = client.get(path, base_url="http://127.0.0.1").text
        [address] = re.findall(rf'<link rel="{when}" as="script" href="(.*?)">', text)
        assert f"get: () => '{address}'" in text and f'<script src="{address}' not in text
    script = client.get(address, base_url="http://127.0.0.1").text
    # The figures are made by the same version's Python library.
    assert f"plotly.js (basic - minified) v{get_plotlyjs_version()}" in script[:300]


def test_a_chart_without_data_has_no_axes() -> None:
    figure: Any = chart("nothing-yet", 100, "nothing yet").children.figure
    assert figure["data"] == [] and not any(figure["layout"][axis]["visible"] for axis in ("xaxis", "yaxis"))
