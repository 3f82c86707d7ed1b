"""OpenAI's protocol, and our own server as the remote arm of another engine."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from serving import api_server, listening

from dpo.errors import ConfigError, PolicyError
from dpo.generation.engine import Engine
from dpo.generation.remote import Remote, complete
from dpo.generation.settings import Sampling
from dpo.generation.spec import PolicySpec
from dpo.policies.loading import Policy, load_policy


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(device="cpu")
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(engine: Engine, policy_dirs: dict[str, Path]) -> Flask:
    return api_server(engine, policy_dirs["t5"].parent)


@pytest.fixture(scope="module")
def address(server: Flask) -> Iterator[str]:
    with listening(server) as made:
        yield f"{made}/v1"


def expected(name: Path, prompt: str, **values: Any) -> str:
    from dpo.generation.sampler import generate

    [answer] = generate(load_policy(str(name), device="cpu"), [prompt], Sampling.from_values(values))
    return answer.text


def test_choices_usage_and_ends(server: Flask, policy_dirs: dict[str, Path]) -> None:
    name = policy_dirs["gpt2"]
    body = {"model": str(name), "prompt": ["hello", "tea?"], "max_tokens": 5, "temperature": 1, "seed": 3, "n": 2}
    answer = server.test_client().post("/v1/completions", json=body).get_json()
    assert answer["object"] == "text_completion" and answer["model"] == str(name)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    settings = {"temperature": 1, "top_p": 1, "max_new_tokens": 5}
    texts = [expected(name, prompt, seed=seed, **settings) for prompt in ("hello", "tea?") for seed in (3, 4)]
    assert [choice["text"] for choice in answer["choices"]] == texts
    assert all(choice["finish_reason"] in ("stop", "length") for choice in answer["choices"])
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] <= 20 + usage["prompt_tokens"]


def test_streaming_gives_the_same_text(server: Flask, policy_dirs: dict[str, Path]) -> None:
    body = {"model": str(policy_dirs["t5"]), "prompt": "hello", "max_tokens": 7, "seed": 1}
    whole = server.test_client().post("/v1/completions", json=body).get_json()["choices"][0]
    streamed = server.test_client().post(
        "/v1/completions", json={**body, "stream": True, "stream_options": {"include_usage": True}}
    )
    lines = [line[6:] for line in streamed.get_data(as_text=True).split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert "".join(choice["text"] for choice in choices) == whole["text"]
    assert choices[-1]["finish_reason"] == whole["finish_reason"]
    assert chunks[-1]["usage"]["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"model": None}, "model is missing"),
        ({"prompt": [1, "a"]}, "prompt must be"),
        ({"prompt": [[1, 99999]]}, "Token 99999 is not in the vocabulary"),
        ({"prompt": [[-1]]}, "Token -1"),
        ({"stream": "yes"}, "stream is"),
        ({"prompt": ""}, "blank"),
        ({"prompt": ["a"] * 9}, "at most 8"),
        ({"logprobs": 5}, "logprobs is not offered"),
        ({"presence_penalty": 1}, "presence_penalty is not offered"),
        ({"temperature": -1}, "temperature is -1"),
        ({"model": "../x"}, "directory of runs"),
        ({"model": "/etc"}, "directory of runs"),
        ({"lambda": 9}, "lambda is 9"),
        ({"n": 99}, "samples is 99"),
    ],
)
def test_refusals_have_the_shape_clients_expect(
    server: Flask, policy_dirs: dict[str, Path], body: dict[str, Any], says: str
) -> None:
    full = {"model": str(policy_dirs["gpt2"]), "prompt": "hello", **body}
    response = server.test_client().post("/v1/completions", json=full)
    assert response.status_code == 400
    error = response.get_json()["error"]
    assert says in error["message"] and error["type"] == "invalid_request_error"


def test_fields_that_ask_for_nothing_are_taken(server: Flask, policy_dirs: dict[str, Path]) -> None:
    body = {"model": str(policy_dirs["gpt2"]), "prompt": "hello", "max_tokens": 2, "echo": False, "presence_penalty": 0}
    assert server.test_client().post("/v1/completions", json={**body, "user": "me"}).status_code == 200


def test_tokens_are_asked_as_their_text_is(server: Flask, policy_dirs: dict[str, Path]) -> None:
    policy = load_policy(str(policy_dirs["t5"]), device="cpu")
    ids = policy.tokenizer("Do you like tea?", add_special_tokens=False)["input_ids"]
    body = {"model": str(policy_dirs["t5"]), "max_tokens": 5, "seed": 2}
    for prompt in (ids, [ids], "Do you like tea?", [[*ids, policy.eos_token_id]]):
        [choice] = server.test_client().post("/v1/completions", json=body | {"prompt": prompt}).get_json()["choices"]
        assert choice["text"] == expected(
            policy_dirs["t5"], "Do you like tea?", temperature=1, top_p=1, seed=2, max_new_tokens=5
        )


def test_models_lists_what_can_be_asked(server: Flask) -> None:
    client = server.test_client()
    models = client.get("/v1/models").get_json()["data"]
    assert {"demo/t5", "demo/gpt2-dpo"} <= {model["id"] for model in models}
    assert client.get("/v1/models/demo/t5").get_json() == next(model for model in models if model["id"] == "demo/t5")
    for other in ("/v1/models/demo/none", "/v1/embeddings", "/tokenizer_info"):
        assert client.get(other).status_code == 404
    assert "chat/completions" in client.post("/v1/embeddings", json={}).get_json()["error"]["message"]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("big=http://gpu:8000/v1,my-7b", Remote("big", "http://gpu:8000/v1", "my-7b")),
        ("http://gpu:8000/v1/", Remote("gpu:8000", "http://gpu:8000/v1")),
        ("https://gpu/v1,a/b", Remote("gpu a/b", "https://gpu/v1", "a/b")),
        ("http://gpu/a=b/v1", Remote("gpu", "http://gpu/a=b/v1")),
    ],
)
def test_a_server_is_named_on_the_command_line(text: str, made: Remote) -> None:
    assert Remote.of(text) == made
    assert PolicySpec.of(made.policy).remote


@pytest.mark.parametrize(
    "text", ["", "big=", "gpu:8000/v1", "big=ftp://gpu", "http://", "http://me:word@gpu/v1", "http://gpu:0x/v1"]
)
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="give NAME=URL"):
        Remote.of(text)


def test_a_remote_arm_stands_beside_a_local_one(address: str, policy_dirs: dict[str, Path]) -> None:
    name = str(policy_dirs["gpt2"])
    settings = Sampling(temperature=1.0, top_p=0.9, max_new_tokens=8, seed=6, stop=("never said",))
    ours = Engine(device="cpu")
    try:
        job = ours.submit("hello", [f"{address}#{name}", name], settings, samples=2)
        texts: dict[tuple[int, int], str] = {}
        ends: dict[tuple[int, int], tuple[str, int]] = {}
        for event in ours.follow(job):
            assert event["event"] != "failed", event
            if "sample" in event:
                key = (event["arm"], event["sample"])
                texts[key] = texts.get(key, "") + event["text"]
                if event["event"] == "done":
                    ends[key] = (event["end"], event["tokens"])
    finally:
        ours.close()
    assert texts[0, 0] == texts[1, 0] and texts[0, 1] == texts[1, 1]
    assert ends[0, 0] == ends[1, 0]


def test_a_remote_arm_that_fails_says_why(address: str, policy_dirs: dict[str, Path]) -> None:
    with pytest.raises(PolicyError, match="is the server running"):
        list(complete("http://127.0.0.1:9/v1#m", "hello", Sampling(), lambda: False))
    with pytest.raises(PolicyError, match=r"refused \(400\): .*directory of runs"):
        list(complete(f"{address}#../x", "hello", Sampling(), lambda: False))
    with pytest.raises(PolicyError, match=r"refused \(400\): .*neither bundled nor a run"):
        list(complete(f"{address}#demo/none", "hello", Sampling(), lambda: False))
    with pytest.raises(PolicyError):
        list(complete(address.removesuffix("/v1"), "hello", Sampling(), lambda: False))
    with pytest.raises(ConfigError, match="beams"):
        list(complete(address, "hello", Sampling(temperature=0, beams=2), lambda: False))
    with pytest.raises(ConfigError, match="remote server"):
        PolicySpec(f"{address}#m", 0.5).validate()


def test_a_server_that_takes_nothing_but_openais_fields_is_asked_with_them_alone(
    engine: Engine, policy_dirs: dict[str, Path]
) -> None:
    strict = api_server(engine, policy_dirs["t5"].parent)
    openais = {"model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stream", "stream_options", "stop"}

    @strict.before_request
    def refuse() -> tuple[dict[str, Any], int] | None:
        beyond = sorted(set(request.get_json()) - openais)
        line = f"Unrecognized request argument supplied: {beyond[0]}" if beyond else ""
        return ({"error": {"message": line}}, 400) if beyond else None

    plain = Sampling(temperature=1, top_p=1, repetition_penalty=1.0, max_new_tokens=4, seed=3)
    with listening(strict) as made:
        name = f"{made}/v1#{policy_dirs['gpt2']}"
        text = "".join(piece.text for piece in complete(name, "hello", plain, lambda: False))
        values = {"temperature": 1, "top_p": 1, "repetition_penalty": 1.0, "max_new_tokens": 4}
        assert text == expected(policy_dirs["gpt2"], "hello", seed=3, **values)
        with pytest.raises(PolicyError, match=r"set repetition penalty to 1, its value for off$"):
            list(complete(name, "hello", replace(plain, repetition_penalty=1.1), lambda: False))


def test_a_remote_server_can_be_asked_within_an_event_loop(address: str, policy_dirs: dict[str, Path]) -> None:
    """As in a notebook, whose cells run in one."""

    async def ask() -> str:
        name = f"{address}#{policy_dirs['gpt2']}"
        return "".join(piece.text for piece in complete(name, "hello", Sampling(max_new_tokens=4), lambda: False))

    with ThreadPoolExecutor(1) as thread:  # browser tests leave a loop running in this one
        assert thread.submit(asyncio.run, ask()).result()


def test_cancelling_a_remote_arm_keeps_its_text(address: str, policy_dirs: dict[str, Path]) -> None:
    seen: list[str] = []
    pieces = complete(
        f"{address}#{policy_dirs['gpt2']}",
        "hello",
        Sampling(temperature=1.0, max_new_tokens=100),
        lambda: len(seen) >= 2,
    )
    last = None
    for piece in pieces:
        seen.append(piece.text)
        last = piece
    assert last is not None and last.end in ("cancelled", "eos")


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"])
def test_a_silent_server_holds_nobody_and_can_be_left(begins: bytes, policy_dirs: dict[str, Path]) -> None:
    """It takes the request and says nothing: other viewers are served meanwhile, and cancelling ends it at once."""
    closed = threading.Event()

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.sendall(begins)
        while connection.recv(4096):
            pass
        closed.set()

    name = str(policy_dirs["gpt2"])
    ours = Engine(device="cpu")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        remote = f"http://127.0.0.1:{listening.getsockname()[1]}/v1#m"
        try:
            settings = Sampling(max_new_tokens=3)
            waiting = ours.submit("hello", [remote, name], settings, viewer="a")
            events = ours.follow(waiting)
            mine = next(event for event in events if event["event"] == "done")
            assert mine["arm"] == 1
            job = ours.submit("hello", [name], settings, viewer="b")
            assert [event["event"] for event in ours.follow(job)][-2:] == ["done", "finished"]
            assert ours.cancel(waiting.number)
            rest = list(events)
        finally:
            ours.close()
        assert closed.wait(30)
    assert [(event["event"], event.get("arm"), event.get("end")) for event in rest] == [
        ("done", 0, "cancelled"),
        ("finished", None, None),
    ]


def test_a_prompt_is_read_once(engine: Engine, policy_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many answers there are; counted around the real reading."""
    read: list[str] = []
    real = Policy.encode_prompt

    def counted(policy: Policy, prompt: Any, reserve: int = 0) -> list[int]:
        read.append(policy.name)
        return real(policy, prompt, reserve)

    monkeypatch.setattr(Policy, "encode_prompt", counted)
    names = [str(policy_dirs["t5"]), str(policy_dirs["gpt2"])]
    for settings in (Sampling(max_new_tokens=3), Sampling(temperature=0, beams=2, max_new_tokens=3)):
        job = engine.submit("hello", names, settings, samples=1 if settings.beams > 1 else 3)
        events = [event["event"] for event in engine.follow(job)]
        assert "failed" not in events and "done" in events
        assert sorted(read) == sorted(names)
        read.clear()
