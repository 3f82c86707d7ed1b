"""Malformed requests to every route and callback: each is met or refused in one line, and nothing is traced back."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import psutil
import pytest
from damage import write_run
from payloads import CALLBACK, callbacks, requests

from dpo.dashboard.application import create_app
from dpo.dashboard.web.rights import PAGES, ROUTES

# `make fuzz` sends 10,000, others than those of every test run.
COUNT, SEED = int(os.environ.get("DPO_FUZZ", "600")), int(os.environ.get("DPO_FUZZ_SEED", "1"))
MOST_GROWTH = 100 * 2**20
PAIRS = "".join(json.dumps({"prompt": f"p{n}?", "chosen": f"yes {n}", "rejected": f"no {n}"}) + "\n" for n in range(20))
VOTE = {"key": "k", "prompt": "p", "policy_a": "a", "policy_b": "b", "text_a": "x", "text_b": "y", "verdict": "a"}
# What is trained, answered or scored is a policy that does not exist: this is about reading requests.
BODIES: dict[str, Any] = {
    "/api/generate": {"prompt": "hi", "policies": [{"policy": "runs/none", "lambda": 1.0, "turns": [["a", "b"]]}],
                      "max_new_tokens": 2, "temperature": 1.0, "seed": 1, "samples": 1, "log_ratios": False},
    "/api/cancel": {"job": "x"},
    "/v1/completions": {"model": "runs/none", "prompt": "hi", "max_tokens": 2, "stream": False, "n": 1},
    "/v1/chat/completions": {"model": "runs/none", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2},
    "/api/curves": {"runs": ["RUN"], "axis": "Step", "smoothing": 3, "log": False, "unit": "Reward", "span": [0, 3],
                    "charts": {"loss": None}, "summary": True, "table": "loss"},
    "/api/checkpoints": {"runs": ["RUN"]},
    "/api/losses": {"loss": "sigmoid", "beta": 0.1},
    "/api/losses/margins": {"run": "runs/none"},
    "/api/lens/look": {"policies": ["runs/none"], "prompt": "hi", "texts": ["a", "b"], "reference": None},
    "/api/lens/pairs": {"policy": "runs/none", "source": "sample"},
    "/api/votes": VOTE,
    "/api/votes/undo": {"key": "x", "voter": "ann"},
    "/api/votes/train": {"model": "runs/none", "max_steps": 2},
    "/api/jobs": {"kind": "dpo", "settings": {"model": "runs/none", "beta": 0.1}, "name": "x"},
    "/api/jobs/check": {"kind": "dpo", "settings": {"model": "runs/none", "beta": 0.1}, "name": "x", "look": False},
    "/api/jobs/stop": {"job": "x"},
    "/api/jobs/resume": {"run": "RUN"},
    "/api/jobs/sweep": {"plan": "name: x\nmethod: grid\nsearch: {beta: [0.1]}\n"},
    "/api/jobs/forget": {"job": "x"},
    "/api/sweep/check": {"plan": "name: x\nmethod: grid\nsearch: {beta: [0.1]}\n"},
}  # fmt: skip


def test_malformed_requests(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from dpo.training.jobs import Jobs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Jobs, "wake", lambda self: None)  # what is queued is not begun
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pairs.jsonl").write_text(PAIRS)
    write_run(tmp_path / "runs" / "a")
    app = create_app([tmp_path / "runs"], votes=tmp_path / "votes.sqlite", data_directory=tmp_path / "data")
    client = app.server.test_client()
    client.get("/")  # Dash completes its callbacks with the first request
    rules = {rule for method, rule in ROUTES if method == "POST"} - {CALLBACK}
    assert set(BODIES) <= rules  # one that has no body here gets {}
    bodies = json.loads(json.dumps(BODIES).replace("RUN", str(tmp_path / "runs" / "a")))
    good = [("POST", rule, bodies.get(rule, {})) for rule in sorted(rules)]
    good += [("POST", CALLBACK, body) for body in callbacks(app)]
    good += [
        ("GET", rule.replace("<ident>", "x"), None) for method, rule in ROUTES if method == "GET" and rule not in PAGES
    ]
    caplog.set_level(logging.ERROR)
    process, before, statuses = psutil.Process(), 0, set()
    for number, sent in enumerate(requests(good, COUNT, SEED)):
        if number == COUNT // 3:  # by then all that is loaded with a first use has been
            before = process.memory_info().rss
        answer = client.open(sent.path, method=sent.method, data=sent.body, content_type=sent.kind)
        content, status = answer.get_data(), answer.status_code
        where = (number, sent, content[:300])
        statuses.add(status)
        assert status < 500 or status == 503, where
        assert b"Traceback" not in content, where
        if status >= 400:
            error = json.loads(content)["error"]
            line = error["message"] if isinstance(error, dict) else error
            assert "\n" not in line and len(line) <= 600, where
        assert not caplog.records, (where, caplog.text[-3000:])
    assert {200, 400} <= statuses
    for service in app.server.config["services"]:
        service.close()
    if COUNT >= 3000:
        assert process.memory_info().rss - before < MOST_GROWTH
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "runs", "votes.sqlite", "votes.sqlite-wal",
                                                          "votes.sqlite-shm"}  # fmt: skip
