"""What a browser is sent at the first visit: little, compressed, and the rest when it is needed."""

from __future__ import annotations

import gc
import gzip
import re

import pytest
from flask.testing import FlaskClient

from dpo.cli.serve import spare_collections
from dpo.dashboard.application import ASSETS, create_app
from dpo.palette import palette

GZIP = {"Accept-Encoding": "gzip, deflate"}
MOST = 1_600_000  # bytes, the scripts of charts and grids included, which come when the first page stands


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    runs = tmp_path_factory.mktemp("runs")
    app = create_app([runs], votes=runs / "votes.sqlite")
    client: FlaskClient = app.server.test_client()
    client.environ_base["HTTP_HOST"] = "127.0.0.1"
    return client


def addresses(document: str) -> tuple[set[str], set[str]]:
    """What the document needs before anything is seen, and what it fetches when there is time."""
    later = set(re.findall(r'<link rel="prefetch" [^>]*href="([^"]+)"', document))
    links = re.findall(r'<(?:link|script)[^>]* (?:href|src)="([^"]+)"', document)
    return {link for link in links if link.startswith("/")} - later, later


def test_a_first_visit_is_sent_little(client: FlaskClient) -> None:
    document = client.get("/").text
    first, later = addresses(document)
    sizes = {}
    for address in first | later | {"/_dash-layout", "/_dash-dependencies"}:
        small = client.get(address, headers=GZIP)
        assert small.status_code == 200, address
        sizes[address] = len(small.data)
        if small.headers.get("Content-Encoding") == "gzip":
            assert gzip.decompress(small.data) == client.get(address).data
            assert "Accept-Encoding" in small.headers["Vary"]
        elif small.mimetype in ("text/css", "text/javascript", "application/javascript", "application/json"):
            assert len(small.data) < 1024, address
    fonts = sum(path.stat().st_size for path in (ASSETS / "fonts").glob("*.woff2"))
    assert sum(sizes.values()) + fonts < MOST, sizes
    assert sum(sizes[address] for address in first) < MOST / 2, sizes


def test_the_script_of_grids_comes_with_the_pages_that_have_one(client: FlaskClient) -> None:
    for path, at_once in (("/", False), ("/training", False), ("/runs", True), ("/data", True), ("/lens", True)):
        document = client.get(path).text
        [address] = re.findall(r'id="grid-script" href="(.*?)"', document)
        assert (f'<script src="{address}"' in document) is at_once, path
        assert "dash_table/" not in document


def test_files_are_remembered_and_asked_for_again_by_their_tag(client: FlaskClient) -> None:
    document = client.get("/").text
    [style] = [link for link in addresses(document)[0] if "app.css" in link]
    answer = client.get(style, headers=GZIP)
    assert "immutable" in answer.headers["Cache-Control"] and answer.headers["ETag"].startswith("W/")
    again = client.get(style, headers=GZIP | {"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert client.get(style, headers=GZIP).data == answer.data
    assert "Content-Encoding" not in client.get(style, headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_the_head_says_what_this_is(client: FlaskClient) -> None:
    document = client.get("/").text
    assert 'name="description" content="Train T5 and GPT-2' in document
    for colors in palette():
        assert f'content="{colors["page"]}"' in document
    assert 'rel="icon" type="image/svg+xml" href="data:image/svg+xml,' in document and "_favicon.ico" not in document


def test_what_a_started_server_holds_is_not_gone_through_again(client: FlaskClient) -> None:
    asked = gc.get_threshold()
    collected: list[int] = []
    try:
        spare_collections()
        assert gc.get_freeze_count() > 100_000  # the modules of Dash and the pages, which are there for good
        client.get("/_dash-layout")
        gc.callbacks.append(lambda phase, info: collected.append(info["generation"]))
        rows = [{"measures": {"words": [n]}} for n in range(20_000)]  # as of an evaluation's answers
        assert len(rows) == 20_000 and len(collected) < 2 * 10 and 2 not in collected
        loop: list[object] = []
        loop.append(loop)
        assert gc.is_tracked(loop)
        del loop
        assert gc.collect() > 0  # what is unreachable later is found as ever
    finally:
        gc.callbacks.clear()
        gc.unfreeze()
        gc.set_threshold(*asked)
