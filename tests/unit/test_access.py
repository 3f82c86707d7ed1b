"""Who may do what: every route and every callback, bound to this machine and to a network address."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dash import Dash
from flask.testing import FlaskClient

from dpo.dashboard.application import create_app
from dpo.dashboard.web import guard
from dpo.dashboard.web.access import Access, Right
from dpo.dashboard.web.reading import MOST_UPLOAD_BODY
from dpo.dashboard.web.rights import CALLBACK, CALLBACKS, ROUTES, right_of_callback
from dpo.errors import AccessError
from dpo.runs import RunRecord

NETWORK = "0.0.0.0"
BOUND = ("127.0.0.1", NETWORK)
HEADERS = ("X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Resource-Policy",
           "Cross-Origin-Opener-Policy", "Content-Security-Policy")  # fmt: skip
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


@pytest.fixture(scope="module", params=BOUND)
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dash:
    folder = tmp_path_factory.mktemp("app")
    made = create_app([folder], Access(request.param), votes=folder / "votes.sqlite", data_directory=folder)
    made.server.test_client().get("/")  # Dash completes its callbacks with the first request
    return made


def routes(app: Dash) -> list[tuple[str, str]]:
    rules = app.server.url_map.iter_rules()
    return [(method, rule.rule) for rule in rules for method in METHODS if method in (rule.methods or ())]


def address(rule: str) -> str:
    filled = {"<string:package_name>": "dash", "<ident>": "x"}
    for part, text in filled.items():
        rule = rule.replace(part, text)
    return rule.replace("<path:path>", "page").replace("<path:filename>", "x").replace("<path:fingerprinted_path>", "x")


def callback_body(app: Dash, output: str) -> dict[str, Any]:
    callback = app.callback_map[output]

    def sent(spec: dict[str, Any]) -> Any:
        if spec["id"].startswith("{"):
            return []
        return {"id": spec["id"], "property": spec["property"], "value": None}

    parts = output[2:-2].split("...") if output.startswith("..") else [output]
    outputs = [dict(zip(("id", "property"), part.rsplit(".", 1), strict=True)) for part in parts]
    return {"output": output, "outputs": outputs if output.startswith("..") else outputs[0],
            "inputs": [sent(spec) for spec in callback["inputs"]], "changedPropIds": [],
            "state": [sent(spec) for spec in callback["state"]]}  # fmt: skip


def server_side(app: Dash) -> dict[str, Any]:
    return {output: callback for output, callback in app.callback_map.items() if "callback" in callback}


def test_every_route_has_its_right(app: Dash) -> None:
    assert set(routes(app)) == set(ROUTES)


def test_every_callback_has_its_right(app: Dash) -> None:
    names = [guard.name_of(output, callback) for output, callback in server_side(app).items()]
    assert len(names) > 20 and all(right_of_callback(name) for name in names)
    visits = {f"visit-{page.name}.data > page-{page.name}.children" for page in app.pages}
    assert sorted(names) == sorted([*CALLBACKS, *visits])  # nor is a line left over


def test_rights_are_asked_for_on_every_route(app: Dash) -> None:
    """What changes this machine is refused on the network, nothing else is; foreign pages and names get nowhere."""
    client, local = app.server.test_client(), app.server.config["access"].local
    for method, rule in routes(app):
        right = ROUTES[method, rule]
        answer = client.open(address(rule), method=method, json={} if method == "POST" else None)
        refused = right in (Right.TRAIN, Right.CHANGE) and not local
        assert (answer.status_code == 403) == refused, (method, rule, answer.get_data()[:200])
        assert answer.status_code < 500, (method, rule)
        assert all(name in answer.headers for name in HEADERS), rule
        foreign = client.open(address(rule), method=method, json={}, headers={"Host": "evil.example"})
        assert foreign.status_code == 403 and all(name in foreign.headers for name in HEADERS)
        if rule not in guard.PAGES:
            for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://["},
                            {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):  # fmt: skip
                assert client.open(address(rule), method=method, json={}, headers=headers).status_code == 403, rule


def test_rights_are_asked_for_by_every_callback(app: Dash) -> None:
    client, local = app.server.test_client(), app.server.config["access"].local
    for output, callback in server_side(app).items():
        right = right_of_callback(guard.name_of(output, callback))
        answer = client.post(CALLBACK, json=callback_body(app, output))
        refused = right in (Right.TRAIN, Right.CHANGE) and not local
        assert (answer.status_code == 403) == refused, (output, answer.get_data()[:200])
        assert answer.status_code < 500


@pytest.mark.parametrize("bound", BOUND)
def test_the_runs_page_offers_to_change_runs_where_they_may_be(tmp_path: Path, bound: str) -> None:
    RunRecord.create(tmp_path / "mine", {"name": "mine", "kind": "dpo", "family": "t5", "state": "finished"})
    app = create_app([tmp_path], Access(bound), votes=tmp_path / "v.sqlite")
    client = app.server.test_client()
    client.get("/")
    output = next(output for output in app.callback_map if output.startswith("..rn-grid.rowData"))
    body = callback_body(app, output)
    body["inputs"][2]["value"] = False  # the page is not hidden
    [row] = client.post(CALLBACK, json=body).get_json()["response"]["rn-grid"]["rowData"]
    local = bound == "127.0.0.1"
    assert row["name"] == "mine" and row["own"] is local
    page = next(page for page in app.pages if page.name == "runs")
    text = str(page.layout(app.workbench))
    assert ("dpo runs rm" in text) is not local and ("Double-click" in text) is local


def test_a_poll_brings_what_the_answer_in_whose_place_it_comes_would_have_brought(tmp_path: Path) -> None:
    """Dash drops an answer once its callback is asked again: a choice of columns was lost where a poll followed."""
    for name in ("a", "b"):
        RunRecord.create(tmp_path / name, {"name": name, "kind": "dpo", "family": "t5", "state": "finished"})
    app = create_app([tmp_path], votes=tmp_path / "v.sqlite")
    client = app.server.test_client()
    client.get("/")
    body = callback_body(app, next(output for output in app.callback_map if output.startswith("..rn-grid.rowData")))
    body["inputs"][2]["value"], body["changedPropIds"] = False, ["rn-poll.n_intervals"]

    def asked() -> dict[str, Any]:
        answer = client.post(CALLBACK, json=body)
        return answer.get_json()["response"] if answer.status_code == 200 else {}

    body["state"][0]["value"] = asked()["rn-signature"]["data"]
    assert asked() == {}  # nothing has changed
    body["inputs"][4]["value"] = ["kl"]
    assert [column["field"] for column in asked()["rn-grid"]["columnDefs"]] == ["name", "state", "kl"]


def test_what_has_no_right_is_refused(app: Dash, monkeypatch: pytest.MonkeyPatch) -> None:
    client = app.server.test_client()
    monkeypatch.delitem(ROUTES, ("GET", "/api/training"))
    answer = client.get("/api/training")
    assert answer.status_code == 403 and "rights.py" in answer.get_json()["error"]
    name = "rn-poll.n_intervals > rn-grid.rowData"
    output = next(output for output, made in server_side(app).items() if guard.name_of(output, made) == name)
    monkeypatch.delitem(CALLBACKS, name)
    assert client.post(CALLBACK, json=callback_body(app, output)).status_code == 403


def test_trainings_on_votes_need_the_right_and_go_through_the_queue(tmp_path: Path) -> None:
    votes = tmp_path / "votes.sqlite"
    closed = create_app([tmp_path / "runs"], Access(NETWORK), votes=votes).server.test_client()
    answer = closed.post("/api/votes/train", json={"model": "demo/gpt2", "max_steps": 2})
    assert answer.status_code == 403 and "--allow-training" in answer.get_json()["error"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("bound", "host", "answers"),
    [
        ("127.0.0.1", "localhost:8050", True),
        ("127.0.0.1", "[::1]:8050", True),
        ("127.0.0.1", "10.0.0.5", False),
        ("10.0.0.5", "10.0.0.5:8050", True),
        ("10.0.0.5", "127.0.0.1", True),
        ("10.0.0.5", "10.0.0.6", False),
        ("10.0.0.5", "gpu.example", True),
        ("10.0.0.5", "evil.example", False),
        (NETWORK, "192.168.1.7:8050", True),
        (NETWORK, "[fe80::1]:8050", True),
        (NETWORK, "GPU.example:8050", True),
        (NETWORK, "evil.example", False),
        (NETWORK, "gpu.example.evil.example", False),
        (NETWORK, "127.0.0.1.evil.example", False),
        (NETWORK, "[", False),
        (NETWORK, "", False),
    ],
)  # fmt: skip
def test_host_names_that_are_answered_to(bound: str, host: str, answers: bool) -> None:
    names = ("gpu.example",) if bound != "127.0.0.1" else ()
    assert Access(bound, names).knows(host) is answers


def test_rights_by_how_the_server_was_started() -> None:
    local, network, trusting = Access(), Access(NETWORK), Access(NETWORK, training=True)
    assert all(local.grants(right) for right in Right)
    assert [right for right in Right if not network.grants(right)] == [Right.TRAIN, Right.CHANGE]
    assert [right for right in Right if not trusting.grants(right)] == [Right.CHANGE]
    with pytest.raises(AccessError, match="--allow-training"):
        network.require(Right.TRAIN)
    told = "\n".join(network.block(8050))
    assert "no login" in told and "- start, stop and resume trainings" in told and "+ add a vote" in told
    assert "+ start, stop and resume trainings" in "\n".join(trusting.block(8050))


@pytest.fixture
def client(app: Dash) -> FlaskClient:
    return app.server.test_client()


@pytest.mark.parametrize(
    "sent",
    [
        b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b'{"model": "a\\u0000b"}',
        b'{"prompt": "\\ud800", "policies": ["demo/gpt2"]}', b'{"a": "\xed\xa0\x80"}',
        b'{"a": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"{", b"", b"null", b"[1]", b'"x"',
    ],
)  # fmt: skip
def test_bodies_that_no_page_sends(client: FlaskClient, sent: bytes) -> None:
    for path in (CALLBACK, "/api/generate", "/api/votes", "/api/lens/look", "/api/curves", "/v1/completions"):
        answer = client.post(path, data=sent, content_type="application/json")
        error = answer.get_json()["error"]
        message = error["message"] if path.startswith("/v1/") else error
        assert answer.status_code == 400 and "\n" not in message and len(message) <= 600, (path, answer.get_data())


def test_values_of_the_wrong_kind_are_noted_and_refused(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    for path, body in (
        ("/api/votes/train", {"model": {}}), ("/api/jobs/check", {"kind": {"a": 1}, "settings": {}}),
        ("/api/curves", {"runs": ["x" * 5000], "axis": ["Step"], "unit": [1], "charts": {"loss": None}}),
        ("/api/generate", {"prompt": "a", "policies": ["x" * 5000]}), ("/api/losses/margins", {"run": "x" * 5000}),
        ("/v1/completions", {"model": "demo/gpt2", "prompt": "a", "stream": True, "stream_options": [1]}),
        ("/api/checkpoints", {"runs": [{}, None, 3]}),
    ):  # fmt: skip
        assert client.post(path, json=body).status_code in (200, 400, 403), path
    assert client.get("/", headers={"Referer": "http://["}).status_code == 200
    assert client.get("/_dash-layout", headers={"Referer": "http://["}).status_code == 200
    assert client.get("/api/jobs/%00/log").status_code == 400
    assert client.get("/api/data/export?job=%00").status_code == 400
    assert client.get("/_dash-component-suites/x/y").status_code == 404
    assert client.get("/api/training?" + "a=b&" * 3).status_code == 200


def test_callbacks_of_another_form_are_refused(app: Dash) -> None:
    client = app.server.test_client()
    output = next(output for output in server_side(app) if output.startswith("..rn-chosen.hidden"))
    good = callback_body(app, output)
    assert client.post(CALLBACK, json=good).status_code == 200
    for change in (
        {"output": "x.y"}, {"output": ["x"]}, {"output": "help.opened"},
        {"outputs": {}}, {"outputs": good["outputs"][:1]},
        {"inputs": []}, {"inputs": [1]}, {"inputs": [{"id": "x", "property": "selectedRows"}]}, {"inputs": None},
        {"inputs": good["inputs"] * 2}, {"state": [1]}, {"changedPropIds": [1]}, {"changedPropIds": 5},
        {"changedPropIds": ["rn-over.value"]},
    ):  # fmt: skip
        answer = client.post(CALLBACK, json=good | change)
        assert answer.status_code == 400, change
    odd = {**good, "inputs": [good["inputs"][0] | {"value": [{"path": 3}, 4]}]}
    assert client.post(CALLBACK, json=odd).status_code == 400


def test_callbacks_get_what_their_annotations_allow(app: Dash, caplog: pytest.LogCaptureFixture) -> None:
    """One line names the value; nothing is called, and nothing stands in the log."""
    client = app.server.test_client()
    for begin, part, values in (
        ("..rn-chosen.hidden", "rn-grid.selectedRows", ([{"path": 3}], [4], [{}], "x", 5)),
        ("..rn-frontier.figure", "rn-grid.virtualRowData", ([{"name": "x"}], [[]], True)),
        ("..rn-importance.children", "rn-measure.value", ("name", None, 3)),
        ("..da-pair.children", "da-at.data", (-1, 0.5, 2**31, 10**40, "1", True)),
        ("..da-rows.getRowsResponse", "da-rows.getRowsRequest", (
            {}, {"startRow": "0", "endRow": 1, "sortModel": None, "filterModel": None},
            {"startRow": 0, "endRow": 1, "sortModel": [{"colId": "x", "sort": "asc"}], "filterModel": None},
            {"startRow": 0, "endRow": 1, "sortModel": [], "filterModel": {"row": {"type": "worse"}}})),
        ("tr-texts.children", "tr-step.marks", ([{"value": 0, "label": "x"}], [{"value": 0}], [0])),
        ("tr-texts.children", "tr-own.data", (None, {"prompt": 1, "answers": {}}, {"answers": {"p": {"r": [[1]]}}})),
    ):  # fmt: skip
        output = next(output for output in server_side(app) if output.startswith(begin))
        for value in values:
            body = callback_body(app, output)
            ident, name = part.split(".")
            [place] = [sent for sent in (*body["inputs"], *body["state"])
                       if (sent["id"], sent["property"]) == (ident, name)]  # fmt: skip
            place["value"] = value
            answer = client.post(CALLBACK, json=body)
            assert answer.status_code == 400, (part, value)
            assert "reload the page" in answer.get_json()["error"] or "no JSON" in answer.get_json()["error"]
    assert not caplog.records


def test_long_bodies_are_refused(app: Dash) -> None:
    client = app.server.test_client()
    answer = client.post(CALLBACK, data=b"x", content_type="application/json",
                         environ_overrides={"CONTENT_LENGTH": str(MOST_UPLOAD_BODY + 1)})  # fmt: skip
    assert answer.status_code == 413
    output = next(output for output in server_side(app) if output.startswith("..rn-chosen.hidden"))
    body = callback_body(app, output)
    body["inputs"][0]["value"] = "x" * 17_000_000
    assert client.post(CALLBACK, data=json.dumps(body), content_type="application/json").status_code == 413
