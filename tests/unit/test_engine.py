"""The engine with many viewers, its store of policies, and what requests may not reach."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from flask.testing import FlaskClient
from serving import api_server
from tiny import save_tiny

from dpo.cli.main import main
from dpo.errors import ConfigError, PolicyError
from dpo.evaluation.worker import LensWorker, Task
from dpo.generation.engine import Engine
from dpo.generation.jobs import Job
from dpo.generation.settings import Sampling
from dpo.generation.spec import PolicySpec, permitted, reference_of
from dpo.generation.store import PolicyStore
from dpo.serving.fair_queue import FairQueue

GREEDY = Sampling(temperature=0, max_new_tokens=6)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(device="cpu")
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


def answers_of(engine: Engine, job: Job) -> list[str]:
    texts = [""] * len(job.policies)
    for event in engine.follow(job):
        assert event["event"] != "failed", event
        if event["event"] in ("token", "done"):
            texts[event["arm"]] += event["text"]
    return texts


def test_policies_write_by_turns_and_equal_ones_agree(engine: Engine, policy_dirs: dict[str, Path]) -> None:
    t5, gpt2 = str(policy_dirs["t5"]), str(policy_dirs["gpt2"])
    settings = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=8, seed=2)
    found = list(engine.follow(engine.submit("hello", [t5, gpt2, gpt2], settings)))
    order = [event["arm"] for event in found if event["event"] == "token"]
    assert order[:3] == [0, 1, 2] and sorted(order[:9]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    finished = found[-1]
    assert {"arms": [1, 2], "share": 1.0} in finished["same_tokens"]
    assert all(pair["arms"] == [1, 2] for pair in finished["same_tokens"])  # T5 has other tokens
    done = [event for event in found if event["event"] == "done"]
    assert all(event["first_seconds"] <= event["seconds"] for event in done)


def test_twenty_viewers_get_their_own_answers_or_a_place(engine: Engine, policy_dirs: dict[str, Path]) -> None:
    name = str(policy_dirs["gpt2"])
    prompts = [f"hello number {number}" for number in range(20)]
    alone = {prompt: answers_of(engine, engine.submit(prompt, [name], GREEDY))[0] for prompt in prompts}
    gate = threading.Barrier(20)

    def view(prompt: str) -> tuple[str, list[dict[str, Any]]]:
        gate.wait()
        job = engine.submit(prompt, [name], GREEDY, viewer=prompt)
        found = list(engine.follow(job))
        text = "".join(event["text"] for event in found if event["event"] in ("token", "done"))
        return text, [event for event in found if event["event"] == "queued"]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(view, prompts))
    assert [text for text, _ in answers] == [alone[prompt] for prompt in prompts]
    places = [queued[0]["position"] for _, queued in answers if queued]
    assert len(places) == 20 and max(places) >= 10
    assert all(event["wait_seconds"] is not None for _, queued in answers for event in queued)


def test_memory_is_flat_over_many_rounds(engine: Engine, policy_dirs: dict[str, Path]) -> None:
    names = [str(policy_dirs["t5"]), str(policy_dirs["gpt2"])]

    def rounds(count: int) -> None:
        for number in range(count):
            answers_of(engine, engine.submit(f"hello {number}", names, Sampling(max_new_tokens=3, seed=number)))

    rounds(40)
    before = psutil.Process().memory_info().rss
    rounds(160)
    assert psutil.Process().memory_info().rss - before < 24e6
    assert not engine._jobs and len(engine._waiting) == 0


def test_the_lens_uses_the_engines_weights_and_serves_viewers_by_turns(
    engine: Engine, policy_dirs: dict[str, Path]
) -> None:
    name = str(policy_dirs["gpt2"])
    answers_of(engine, engine.submit("hello", [name], GREEDY))
    assert engine._worker is not None
    ours = engine._worker.store.get(name, _quiet).network
    worker = LensWorker(device="cpu")
    gate, served = threading.Event(), []

    def look(worker: LensWorker, task: Task) -> None:
        lens = worker.lens(task, name, name, 0.1)
        task.emit("result", shared=[p.data_ptr() for p in lens.policy.network.parameters()])
        gate.wait(30)

    tasks = [worker.submit(look, viewer="a")]
    loaded = next(event for event in worker.follow(tasks[0]) if event["event"] == "result")
    assert set(loaded["shared"]) <= {parameter.data_ptr() for parameter in ours.parameters()}
    tasks += [worker.submit(lambda worker, task: served.append(task.viewer), viewer=viewer) for viewer in "aab"]
    gate.set()
    for task in tasks[1:]:
        assert [event["event"] for event in worker.follow(task)][-1] == "finished"
    assert served == ["b", "a", "a"]
    worker.close()


def test_viewers_take_turns() -> None:
    line: FairQueue[Job] = FairQueue()
    for number, viewer in enumerate("aaabbc", start=1):
        line.add(Job(number, "p", (), GREEDY, viewer=viewer))
    assert [job.viewer for job in line] == list("abcaba")
    assert [line.pop().viewer for _ in range(2)] == ["a", "b"]
    line.add(Job(7, "p", (), GREEDY, viewer="d"))
    assert [job.viewer for job in line][:2] == ["c", "d"] and len(line) == 5
    assert line.remove(7) and not line.remove(7)
    assert [line.pop().number for _ in range(4)] == [6, 2, 5, 3]


def test_samples_and_log_ratios_are_told(engine: Engine, policy_dirs: dict[str, Path]) -> None:
    spec = PolicySpec(str(policy_dirs["gpt2"]), 1.0, str(policy_dirs["gpt2"]))
    settings = Sampling(temperature=1.0, max_new_tokens=5)
    found = list(engine.follow(engine.submit("hello", [spec], settings, samples=3, log_ratios=True)))
    tokens = [event for event in found if event["event"] == "token"]
    assert {event["sample"] for event in tokens} == {0, 1, 2}
    assert all(event["log_ratio"] == 0 for event in tokens)  # measured against itself
    assert all(event["log_ratio"] == 0 for event in found if event["event"] == "done")


def test_loading_is_told_with_its_share(engine: Engine, policy_dirs: dict[str, Path]) -> None:
    found = list(engine.follow(engine.submit("hello", [str(policy_dirs["t5"])], GREEDY)))
    loading = [event for event in found if event["event"] == "loading" and event["policy"]]
    assert loading[0]["share"] == 0 and loading[0]["bytes"] > 0 and loading[-1]["share"] == 1.0


def test_store_forgets_the_longest_unused_and_notices_changes(tmp_path: Path) -> None:
    names = [str(save_tiny("gpt2", tmp_path / str(seed), seed=seed)) for seed in range(3)]
    store = PolicyStore("cpu", memory=1)
    store.memory = 10**9
    first = store.get(names[0], _quiet)
    size = store.bytes()
    assert store.get(names[0], _quiet) is first
    store.get(names[1], _quiet)
    store.memory = int(2.5 * size)
    store.get(names[0], _quiet)
    store.get(names[2], _quiet)
    assert store.names() == [names[0], names[2]]
    weights = Path(names[0]) / "model.safetensors"
    os.utime(weights, (1, 1))
    assert store.get(names[0], _quiet) is not first
    shutil.rmtree(names[0])
    with pytest.raises(PolicyError, match="No policy"):
        store.get(names[0], _quiet)


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_bf16_weights_answer_and_are_refused_where_they_are_slow(
    family: str, policy_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = str(policy_dirs[family])
    with pytest.raises(ConfigError, match="--dtype fp8: use fp32 or bf16"):
        PolicyStore("cpu", dtype="fp8")
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: True)
    store = PolicyStore("cpu", dtype="bf16")
    assert store.get(name, lambda *_: None).network.dtype == torch.bfloat16
    engine = Engine(device="cpu", dtype="bf16")
    try:
        assert all(answers_of(engine, engine.submit("hello", [name], Sampling(max_new_tokens=6))))
    finally:
        engine.close()
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: False)
    assert main(["generate", "--policy", name, "--prompt", "hello", "--dtype", "bf16", "--device", "cpu"]) == 2
    assert capsys.readouterr().err == "dpo: --dtype bf16: this cpu device has no bf16 of its own; use fp32\n"


@pytest.mark.parametrize(
    ("value", "made"),
    [
        ("demo/t5#ctranslate2", PolicySpec("demo/t5", engine="ctranslate2")),
        ({"policy": "demo/t5#ctranslate2-int8"}, PolicySpec("demo/t5", engine="ctranslate2-int8")),
        ("odd#name", PolicySpec("odd#name")),
        ("http://gpu/v1#ctranslate2", PolicySpec("http://gpu/v1#ctranslate2")),
        ({"policy": "demo/t5", "turns": [["a", "b"]]}, PolicySpec("demo/t5", turns=(("a", "b"),))),
    ],
)
def test_a_name_may_say_its_engine(value: Any, made: PolicySpec) -> None:
    assert PolicySpec.of(value) == made


@pytest.mark.parametrize("turns", ["ab", [["a"]], [["a", 1]], {"a": "b"}])
def test_turns_of_another_shape_are_refused(turns: Any) -> None:
    with pytest.raises(ConfigError, match="turns must be a list"):
        PolicySpec.of({"policy": "demo/t5", "turns": turns})


def test_equal_tensors_are_kept_once(tmp_path: Path) -> None:
    names = [str(save_tiny("gpt2", tmp_path / name)) for name in ("one", "two")]
    store = PolicyStore("cpu")
    store.get(names[0], _quiet)
    alone = store.bytes()
    store.get(names[1], _quiet)
    assert store.bytes() == alone and len(store.names()) == 2


def _quiet(policy: str, share: float, size: int) -> None:
    assert 0 <= share <= 1 and size >= 0 and policy


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"samples": 10**9}, "samples is"),
        ({"samples": True}, "samples is True"),
        ({"log_ratios": 1}, "log_ratios is 1"),
        ({"temperature": 1e400}, "temperature is inf"),
        ({"temperature": True}, "temperature is True"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0"),
        ({"max_new_tokens": 10**30}, "max_new_tokens is"),
        ({"top_k": -1}, "top_k is -1"),
        ({"seed": "0x12"}, "seed is '0x12'"),
        ({"stop": ["a"] * 9}, "at most 8 texts"),
        ({"stop": [""]}, "not empty"),
        ({"stop": 3}, "must be a list"),
        ({"same_noise": "no"}, "same_noise is 'no'"),
        ({"beams": 4}, "temperature 0"),
        ({"policies": [{"policy": "demo/t5", "lambda": 3.1}]}, "lambda is 3.1"),
        ({"policies": [{"policy": "demo/t5", "lambda": float("nan")}]}, "lambda is nan"),
        ({"policies": [{"policy": "demo/t5", "engine": "tpu"}]}, "engine is 'tpu'"),
        ({"policies": [{"name": "demo/t5"}]}, "a policy is a name"),
        ({"policies": [5]}, "a policy is a name"),
        ({"prompt": " \n\t "}, "blank"),
        ({"prompt": None}, "blank"),
        ({"policies": ["http://127.0.0.1:1/v1#m"]}, "--remote"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(client: FlaskClient, body: dict[str, Any], says: str) -> None:
    full = {"prompt": "hello", "policies": ["demo/gpt2"], **body}
    response = client.post("/api/generate", data=json.dumps(full), content_type="application/json")
    message = response.get_json()["error"]
    assert response.status_code == 400 and says in message and "\n" not in message


@pytest.mark.parametrize("name", ["../secret", "/etc", "runs/../../secret", "~root", "..\\secret", "."])
def test_nothing_outside_the_runs_is_read(
    name: str, client: FlaskClient, policy_dirs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    shutil.copytree(policy_dirs["gpt2"], tmp_path / "secret")
    monkeypatch.chdir(tmp_path / "here")
    for policy in (name, {"policy": "demo/gpt2", "reference": name}):
        response = client.post("/api/generate", json={"prompt": "hello", "policies": [policy]})
        assert response.status_code == 400
        assert "directory of runs" in response.get_json()["error"]


def test_runs_in_the_roots_are_reached_also_by_a_winding_path(policy_dirs: dict[str, Path]) -> None:
    root = policy_dirs["t5"].parent
    permitted(str(root / "t5" / ".." / "gpt2"), [root], ())
    permitted("demo/t5", [root], ())
    permitted("http://gpu:8000/v1#model", [root], ("http://gpu:8000/v1/",))
    with pytest.raises(ConfigError):
        permitted("http://gpu:8000/v1#model", [root], ("http://gpu:8001/v1",))
    with pytest.raises(ConfigError):
        permitted(str(root), [root], ())


@pytest.mark.parametrize(
    "prompt",
    [
        "<script>alert(1)</script><img src=x onerror=alert(1)>",
        "مرحبا بالعالم \u202e reversed",
        "👩‍👩‍👧 🏳️‍🌈 " * 3,
        "\x07\x1b[31m \ufeff\u200d control characters",
    ],
)
def test_odd_prompts_are_answered(client: FlaskClient, policy_dirs: dict[str, Path], prompt: str) -> None:
    names = [str(policy_dirs["t5"]), str(policy_dirs["gpt2"])]
    body = json.dumps({"prompt": prompt, "policies": names, "max_new_tokens": 3})
    response = client.post("/api/generate", data=body, content_type="application/json")
    found = events(response.get_data(as_text=True))
    kinds = [kind for kind, _ in found]
    assert kinds[-1] == "finished" and (kinds.count("done") == 2 or kinds.count("failed") == 2)


def test_a_prompt_of_100000_characters_is_too_long_and_says_so(
    client: FlaskClient, policy_dirs: dict[str, Path]
) -> None:
    names = [str(policy_dirs["t5"]), str(policy_dirs["gpt2"])]
    body = json.dumps({"prompt": "🍕" * 100_000, "policies": names})
    response = client.post("/api/generate", data=body, content_type="application/json")
    failed = [data["message"] for kind, data in events(response.get_data(as_text=True)) if kind == "failed"]
    assert len(failed) == 2 and all("shorten the prompt" in message for message in failed)


def test_a_policy_deleted_while_loaded_fails_clearly(engine: Engine, tmp_path: Path) -> None:
    name = str(save_tiny("gpt2", tmp_path / "gone"))
    answers_of(engine, engine.submit("hello", [name], GREEDY))
    shutil.rmtree(name)
    found = list(engine.follow(engine.submit("hello", [name], GREEDY)))
    [failed] = [event for event in found if event["event"] == "failed"]
    assert "No policy" in failed["message"]


def test_a_run_tells_what_it_was_tuned_from(tmp_path: Path) -> None:
    assert reference_of("demo/t5-dpo") == "demo/t5"
    assert reference_of("demo/t5") is None
    assert reference_of("nothing/like/it") is None
    policy = save_tiny("gpt2", tmp_path / "run" / "policy")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"kind": "dpo", "config": {"model": "demo/gpt2"}}))
    assert reference_of(str(tmp_path / "run")) == reference_of(str(policy)) == "demo/gpt2"
