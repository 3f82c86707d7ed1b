"""The engine and its HTTP routes, with real tiny policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from serving import api_server

from dpo.errors import BusyError
from dpo.generation.engine import Engine
from dpo.generation.settings import Sampling


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(device="cpu", capacity=2)
    yield made
    made.close()


@pytest.fixture
def client(engine: Engine, policy_dirs: dict[str, Path]) -> FlaskClient:
    return api_server(engine, policy_dirs["t5"].parent).test_client()


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_generate_streams_every_arm(client: FlaskClient, policy_dirs: dict[str, Path]) -> None:
    empty = policy_dirs["t5"].parent / "empty"
    empty.mkdir(exist_ok=True)
    body = {"prompt": "hello", "policies": [str(policy_dirs["t5"]), str(empty)], "max_new_tokens": 6, "seed": 1}
    response = client.post("/api/generate", json=body)
    assert response.mimetype == "text/event-stream"
    seen = events(response.get_data(as_text=True))
    assert seen[0][0] == "job" and seen[-1][0] == "finished"
    done = next(data for kind, data in seen if kind == "done")
    assert done["arm"] == 0 and 1 <= done["tokens"] <= 6 and done["end"] in ("eos", "length")
    failed = next(data for kind, data in seen if kind == "failed")
    assert failed["arm"] == 1 and "holds no policy" in failed["message"] and "\n" not in failed["message"]
    start = next(data for kind, data in seen if kind == "start")
    assert start["seen"] == "hello</s>"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"prompt": "  ", "policies": ["x"]}, "blank"),
        ({"prompt": "a"}, "policies must be a list"),
        ({"prompt": "a", "policies": ["demo/t5"] * 9}, "at most 8"),
        ({"prompt": "a", "policies": ["x"], "temperature": 99}, "temperature is 99"),
        ({"prompt": "a", "policies": ["x"], "heat": 1}, "unknown field 'heat'"),
        ([1], "JSON object"),
    ],
)
def test_bad_requests_are_told_why(client: FlaskClient, body: Any, says: str) -> None:
    response = client.post("/api/generate", json=body)
    assert response.status_code == 400
    assert says in response.get_json()["error"]


def test_strangers_are_refused(client: FlaskClient) -> None:
    body = {"prompt": "a", "policies": ["x"]}
    assert client.post("/api/generate", json=body, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post("/api/generate", json=body, headers={"Host": "evil.example"}).status_code == 403
    assert client.post("/api/generate", data="{}", content_type="text/plain").status_code == 415
    assert client.post("/api/generate", json={"prompt": "a" * 3_000_000, "policies": ["x"]}).status_code == 413


def test_a_full_queue_says_so_and_places_move_up(engine: Engine, policy_dirs: dict[str, Path]) -> None:
    name, settings = str(policy_dirs["gpt2"]), Sampling(max_new_tokens=100, temperature=1.0)
    first = engine.submit("hello", [name] * 3, settings)
    following = engine.follow(first)
    while next(following)["event"] != "token":
        pass
    second, third = (engine.submit("hello", [name], settings) for _ in range(2))
    with pytest.raises(BusyError, match="2 prompts are waiting already"):
        engine.submit("hello", [name], settings)
    assert second.events.get(timeout=5)["position"] == 1
    assert third.events.get(timeout=5)["position"] == 2
    assert engine.cancel(second.number)
    assert third.events.get(timeout=5)["position"] in (0, 1)
    following.close()  # the viewer left: its job ends
    kinds = [event["event"] for event in engine.follow(third)]
    assert kinds[-1] == "finished" and "done" in kinds
    assert first.cancelled.is_set()
    assert engine.loaded() == [name]


def test_cancel_keeps_the_text_so_far(engine: Engine, policy_dirs: dict[str, Path]) -> None:
    job = engine.submit("hello", [str(policy_dirs["gpt2"])], Sampling(max_new_tokens=120, temperature=1.0))
    ends = []
    for event in engine.follow(job):
        if event["event"] == "token" and event["tokens"] == 2:
            engine.cancel(job.number)
        if event["event"] == "done":
            ends.append((event["end"], event["tokens"]))
    [(end, tokens)] = ends
    assert end in ("cancelled", "eos") and 2 <= tokens < 120
    assert not engine.cancel(job.number)
