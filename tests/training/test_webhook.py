"""Who waits for a training elsewhere is told by a POST how it ended."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from dpo import TrainConfig, train
from dpo.errors import ConfigError, DpoError

SMALL: dict[str, Any] = {
    "dataset": "sample", "num_samples": 20, "max_prompt_length": 24, "max_completion_length": 24, "batch_size": 2,
    "max_steps": 1, "probes": 0, "kl_prompts": 0, "max_eval_pairs": 2, "device": "cpu", "logging_steps": 1,
}  # fmt: skip


@pytest.fixture
def told() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address, and what was posted to it."""
    bodies: list[dict[str, Any]] = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/key", bodies
    server.shutdown()
    server.server_close()


def test_the_end_of_a_training_is_told(
    told: tuple[str, list[dict[str, Any]]],
    tmp_path: Path,
    policy_dirs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, bodies = told
    monkeypatch.setenv("DPO_WEBHOOK", url)
    model = str(policy_dirs["gpt2"])
    run = train(TrainConfig(**SMALL, model=model, output_dir=str(tmp_path / "good")))
    (body,) = bodies
    assert body["text"] == "good: finished at step 1" and body["state"] == "finished" and body["reason"] is None
    assert body["directory"] == str(run.path) and body["loss"] == pytest.approx(run.metrics().last("eval_loss"))
    with pytest.raises(DpoError):  # a rate at which the numbers end
        train(
            TrainConfig(**SMALL | {"max_steps": 9}, learning_rate=1e30, model=model, output_dir=str(tmp_path / "bad"))
        )
    assert bodies[-1]["run"] == "bad" and bodies[-1]["state"] == "failed" and "not a number" in bodies[-1]["reason"]
    assert all(url not in file.read_text() for file in tmp_path.glob("*/run.json"))  # it may hold a key
    monkeypatch.setenv("DPO_WEBHOOK", "http://127.0.0.1:9/key")
    assert train(TrainConfig(**SMALL, model=model, output_dir=str(tmp_path / "deaf"))).state == "finished"
    said = capsys.readouterr().err
    assert "DPO_WEBHOOK was not told that the run ended" in said and "key" not in said
    monkeypatch.setenv("DPO_WEBHOOK", "chat")
    with pytest.raises(ConfigError, match="must begin with https"):
        train(TrainConfig(**SMALL, model=model, output_dir=str(tmp_path / "never")))
