"""The dashboard as a process of its own: what it says at the start, and what it leaves behind when it is stopped."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

APP = Path(__file__).resolve().parents[2] / "app.py"
JSON = {"Content-Type": "application/json"}


@contextlib.contextmanager
def idle(port: int) -> Iterator[None]:
    """300 connections that send nothing, or half a header."""
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    for connected in held[:100]:
        connected.sendall(b"GET / HTTP/1.1\r\nHost: 127")
    yield
    for connected in held:
        connected.close()


def upload(spec: dict[str, Any]) -> dict[str, Any]:
    """The callback's body that uploads a pair."""
    outputs = [dict(zip(("id", "property"), part.rsplit(".", 1), strict=True))
               for part in spec["output"].strip(".").split("...")]  # fmt: skip
    content = "data:x;base64," + base64.b64encode(b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n').decode()
    return {
        "output": spec["output"], "outputs": outputs, "changedPropIds": ["da-upload.contents"],
        "inputs": [{"id": "da-upload", "property": "contents", "value": content}],
        "state": [{"id": "da-upload", "property": "filename", "value": "pairs.jsonl"}],
    }  # fmt: skip


def test_a_stopped_server_ends_its_streams_and_removes_its_uploads(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(APP.parent)}
    network = ["--host", "0.0.0.0", "--no-auth", "--allowed-host", "gpu.example"]
    command = [sys.executable, str(APP), *network, "--port", str(port)]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        said = []
        assert server.stdout is not None
        while not said or not said[-1].startswith("DPO workbench:"):
            line = server.stdout.readline()
            assert line, "the server ended"
            said.append(line)
        told = "".join(said)
        assert "There is no login" in told and "- start, stop and resume trainings" in told and "gpu.example" in told

        def ask(method: str, path: str, body: Any = None, host: str = "gpu.example") -> tuple[int, Any]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, JSON | {"Host": host})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        with idle(port):
            assert ask("GET", "/api/training")[0] == 200

        assert ask("GET", "/api/training", host="evil.example")[0] == 403
        assert ask("POST", "/api/jobs", {"settings": {}})[0] == ask("POST", "/api/votes/train", {})[0] == 403
        status, refused = ask("POST", "/api/generate", {"prompt": "a", "policies": ["evil-org/evil-model"]})
        assert status == 400 and "--allow-hub" in refused["error"]

        spec = next(made for made in ask("GET", "/_dash-dependencies")[1]
                    if made["inputs"] and made["inputs"][0]["id"] == "da-upload")  # fmt: skip
        status, _ = ask("POST", "/_dash-update-component", upload(spec))
        assert status == 200 and list(temporary.glob("dpo-uploads-*/*/*.jsonl"))

        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        asked = {"prompt": "Do you like tea?", "policies": ["demo/t5-dpo"] * 8, "samples": 8, "max_new_tokens": 2048,
                 "temperature": 5.0, "top_p": 1.0}  # fmt: skip
        connection.request("POST", "/api/generate", json.dumps(asked), JSON)
        stream = connection.getresponse()
        while b"event: token" not in stream.readline():
            pass
        server.send_signal(signal.SIGTERM)
        rest = stream.read()
        assert b'event: finished\ndata: {"cancelled": true' in rest
        assert server.wait(60) == 0
        assert not list(temporary.glob("dpo-uploads-*"))
    finally:
        if server.poll() is None:
            server.kill()
        server.wait()
        server.stdout.close()
