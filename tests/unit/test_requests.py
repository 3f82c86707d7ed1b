"""What requests may name, who cancels what, and how much of the server one of them may take."""

from __future__ import annotations

import base64
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import api_server

from dpo import hub
from dpo.dashboard import audit_jobs
from dpo.dashboard.application import create_app
from dpo.dashboard.audit_jobs import AuditJobs
from dpo.dashboard.training.run_picker import rows
from dpo.dashboard.web.access import LOCAL, Access
from dpo.dashboard.web.names import Allowed
from dpo.errors import BusyError, ConfigError, DataError
from dpo.evaluation.votes import Votes
from dpo.generation.engine import Engine
from dpo.generation.settings import Sampling
from dpo.generation.spec import MOST_TURNS, PolicySpec
from dpo.preferences.normalise import Columns
from dpo.runs import open_run
from dpo.training.sweep_plan import plan_of

PAIRS = "".join(json.dumps({"prompt": f"p{n}?", "chosen": f"yes {n}", "rejected": f"no {n}"}) + "\n" for n in range(20))


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(device="cpu", capacity=8)
    yield made
    made.close()


@pytest.fixture
def world(tmp_path: Path, policy_dirs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """`runs` with a policy, `data` with pairs, and a secret beside both, in which we are not."""
    for name in ("here", "runs", "data", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret" / "private.jsonl").write_text(PAIRS)
    (tmp_path / "data" / "pairs.jsonl").write_text(PAIRS)
    (tmp_path / "here" / "mine.jsonl").write_text(PAIRS)
    os.symlink(tmp_path / "secret" / "private.jsonl", tmp_path / "data" / "link.jsonl")
    os.symlink(policy_dirs["gpt2"], tmp_path / "secret" / "policy")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def run(world: Path, name: str, policy: Path, **config: Any) -> str:
    """A run as a stranger could have written it, with a policy of its own."""
    directory = world / "runs" / name
    (directory / "policy").mkdir(parents=True)
    for file in policy.iterdir():
        (directory / "policy" / file.name).symlink_to(file) if name == "linked" else (
            directory / "policy" / file.name
        ).write_bytes(file.read_bytes())
    record = {"kind": "dpo", "family": "gpt2", "state": "finished", "config": {"model": "demo/gpt2"} | config}
    (directory / "run.json").write_text(json.dumps(record))
    return str(directory)


def allowed(world: Path, access: Access = LOCAL) -> Allowed:
    return Allowed(access, (world / "runs",), ("http://gpu:8000/v1",), world / "data")


def test_requests_name_what_is_here_and_nothing_of_the_hub(world: Path, policy_dirs: dict[str, Path]) -> None:
    known = allowed(world)
    own = run(world, "own", policy_dirs["gpt2"], model="gpt2")
    for name in ("demo/t5-dpo", own, "http://gpu:8000/v1#m"):
        assert known.policy(name) == name
    for name in ("evil-org/evil-model", "t5", "google-t5/t5-small", "http://evil/v1", "/etc", "~", "~nobody",
                 "x" * 5000, "a\0b", "\ud800", "", str(world / "secret" / "policy"), str(world / "runs")):  # fmt: skip
        with pytest.raises(ConfigError):
            known.policy(name)
    # What a run shown here was trained from is named by it: from the local cache, as the server asks the hub nothing.
    assert known.policy("gpt2") and known.policy("openai-community/gpt2")
    assert allowed(world, Access(hub=True)).policy("some-org/some-model")


def test_a_strangers_run_reads_nothing_beside_itself(world: Path, policy_dirs: dict[str, Path]) -> None:
    known, gpt2 = allowed(world), policy_dirs["gpt2"]
    with pytest.raises(ConfigError, match="link out of"):
        known.policy(run(world, "linked", gpt2))
    adapter = world / "runs" / "adapter"
    adapter.mkdir()
    for base in (str(gpt2), "/etc", "evil-org/evil-model", str(adapter)):
        (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        with pytest.raises(ConfigError):
            known.policy(str(adapter))
    # Its reference is opened where it is needed: for lambda, for log-ratios, by the Lens.
    foreign = run(world, "foreign", gpt2, model=str(world / "secret" / "policy"))
    assert known.asked_for(PolicySpec.of(foreign)).policy == foreign
    for ask in (
        lambda: known.asked_for(PolicySpec(foreign, strength=0.5)),
        lambda: known.asked_for(PolicySpec(foreign), log_ratios=True),
        lambda: known.tuned(foreign), lambda: known.asked_for(PolicySpec("demo/gpt2", reference="/etc")),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="directory of runs"):
            ask()


def test_data_that_a_run_names_are_read_where_data_are_offered(world: Path, policy_dirs: dict[str, Path]) -> None:
    known, network = allowed(world), allowed(world, Access("0.0.0.0"))
    for name in ("sample", str(world / "data" / "pairs.jsonl"), "human-like"):
        known.dataset(name)
        network.dataset(name)
    known.dataset("mine.jsonl")  # where one works; a network gets no such view
    with pytest.raises(ConfigError, match="--data DIR"):
        network.dataset("mine.jsonl")
    private = str(world / "secret" / "private.jsonl")
    for name in (private, "../secret/private.jsonl", str(world / "data" / "link.jsonl"), "/etc/passwd", "~/x.jsonl",
                 "x\0.jsonl"):  # fmt: skip
        with pytest.raises(ConfigError):
            known.dataset(name)
    leak = run(world, "leak", policy_dirs["gpt2"], dataset=private, eval_fraction=0.5)
    mixed = run(world, "mixed", policy_dirs["gpt2"], dataset=f"sample=2,{private}=1")
    client = create_app([world / "runs"], votes=world / "v.sqlite", data_directory=world / "data").server.test_client()
    for path in (leak, mixed):
        lens = ("/api/lens/pairs", {"policy": path, "source": "run"})
        for route, body in (lens, ("/api/losses/margins", {"run": path})):
            answer = client.post(route, json=body)
            assert answer.status_code == 400 and "--data DIR" in answer.get_json()["error"]


def test_only_the_viewer_who_asked_cancels(engine: Engine, policy_dirs: dict[str, Path]) -> None:
    client = api_server(engine, policy_dirs["gpt2"].parent).test_client()
    job = engine.submit("hello", [str(policy_dirs["gpt2"])], Sampling(max_new_tokens=100, temperature=1.0))
    for guess in (1, job.number, str(job.number), "", None, "é" * 30, [job.token]):
        answer = client.post("/api/cancel", json={"job": guess})
        assert answer.status_code == 400 or answer.get_json() == {"cancelled": False}
    assert not job.cancelled.is_set() and len(job.token) >= 20
    assert client.post("/api/cancel", json={"job": job.token}).get_json() == {"cancelled": True}
    assert job.cancelled.is_set()
    assert client.post("/api/cancel", json={"job": job.token}).get_json() in ({"cancelled": False}, {"cancelled": True})


def test_streams_leave_threads_for_everything_else(engine: Engine, policy_dirs: dict[str, Path]) -> None:
    client = api_server(engine, policy_dirs["gpt2"].parent, most=2).test_client()
    body = {"prompt": "hello", "policies": [str(policy_dirs["gpt2"])], "max_new_tokens": 2}
    open_streams = [client.post("/api/generate", json=body) for _ in range(2)]
    first = next(iter(open_streams[0].response))
    assert json.loads(first.decode().split("data: ")[1])["job"] in {job.token for job in engine._jobs.values()}
    for path, asked in (("/api/generate", body), ("/v1/completions", {"model": body["policies"][0], "prompt": "a"})):
        answer = client.post(path, json=asked)
        assert answer.status_code == 429 and "2 answers are being followed" in answer.get_data(as_text=True)
    assert client.get("/v1/models").status_code == 200
    for stream in open_streams:
        stream.close()  # also one of which nothing was read
    assert client.post("/api/generate", json={**body, "prompt": " "}).status_code == 400  # a refused one holds no place
    for _ in range(3):
        assert "finished" in client.post("/api/generate", json=body).get_data(as_text=True)


def test_long_conversations_and_texts_are_refused_in_one_line(engine: Engine, policy_dirs: dict[str, Path]) -> None:
    client = api_server(engine, policy_dirs["gpt2"].parent).test_client()

    def ask(turns: Any) -> str:
        policy = {"policy": str(policy_dirs["gpt2"]), "turns": turns}
        answer = client.post("/api/generate", json={"prompt": "hi", "policies": [policy]})
        return str(answer.get_json()["error"]) if answer.status_code == 400 else ""

    assert f"the last {MOST_TURNS}" in ask([["a", "b"]] * (MOST_TURNS + 1))
    assert "characters" in ask([["a", "b" * 100_001]])
    lens = create_app([], votes=Path(os.devnull)).server.test_client()
    asked = {"policies": ["demo/t5-dpo"], "prompt": "hi", "texts": ["word " * 20_000]}
    answer = lens.post("/api/lens/look", json=asked)
    assert answer.status_code == 400 and "characters" in answer.get_json()["error"]


def test_the_lens_of_a_model_without_a_limit_has_one(policy_dirs: dict[str, Path]) -> None:
    from dpo.errors import PromptError
    from dpo.evaluation.lens import open_lens
    from dpo.policies.positions import MOST_TOKENS

    lens = open_lens(str(policy_dirs["t5"]), reference=str(policy_dirs["t5"]))
    with pytest.raises(PromptError, match=f"{MOST_TOKENS} at most"):
        lens.look("hi", ["word " * (MOST_TOKENS + 1)])


PLAN = "method: grid\nsearch: {beta: [0.1]}\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [x, x]\nb: *a\n" + PLAN, r"\(line 2\) has an alias"),
        ("a: &a [&a *a]\n" + PLAN, "alias|not valid YAML"),
        ("search: " + "[" * 5000 + "]" * 5000, "more than 8 levels"),
        ("x: " + "y" * 70_000, "over 64 kB"),
        ("measure: " + "x" * 5000 + "\n" + PLAN, "measure is 'xxx"),
        ("x" * 500 + ": 1\n" + PLAN, "is not known"),
        ("trials: [" + "1, " * 2000 + "1]\n" + PLAN, "trials is"),
        ("search: {beta: [" + "x" * 5000 + "]}", "beta is 'xxx"),
        ("search: {" + "x" * 500 + ": [1]}", "no setting is called"),
        ("day: 2026-13-45\n" + PLAN, "not valid YAML"),
        ("seed: " + "9" * 5000 + "\n" + PLAN, "not valid YAML|seed is"),
    ],
)
def test_a_plan_of_a_sweep_stays_small(text: str, says: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError, match=says) as told:
        plan_of(text, "The sweep", "sweep")
    assert len(str(told.value)) < 500
    assert time.process_time() - began < 20  # a hang rather than a measurement


def test_an_alias_of_gigabytes_is_refused_over_http(tmp_path: Path) -> None:
    levels = ", ".join(f"&a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8))
    plan = f"measure: [&a0 [x,x,x,x,x,x,x,x,x,x], {levels}]\nmethod: grid\nsearch: {{beta: [0.1]}}\n"
    client = create_app([tmp_path], votes=tmp_path / "v.sqlite").server.test_client()
    answer = client.post("/api/jobs/sweep", json={"plan": plan})
    assert answer.status_code == 400 and "alias" in answer.get_json()["error"] and len(answer.get_data()) < 300


def test_the_filter_of_runs_is_plain_text(tmp_path: Path) -> None:
    (tmp_path / ("a-" * 24)).mkdir()
    (tmp_path / ("a-" * 24) / "run.json").write_text('{"kind": "dpo", "family": "gpt2", "config": {}}')
    runs = [open_run(tmp_path / ("a-" * 24))]

    def found(text: str) -> bool:
        return "No run has that" not in str(rows(runs, [], text))

    assert not found(r"([\w-]+)+!")  # as a regular expression this would not end
    assert all(map(found, ("", "A-A", "a-*-a", "*", "**a*")))
    assert not any(map(found, ("a*b", "[a]", ".", "b")))


def upload(data: bytes) -> str:
    return "data:x;base64," + base64.b64encode(data).decode()


def test_uploads_are_bounded_and_removed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_jobs, "MOST_UPLOADS", 3)
    monkeypatch.setattr(audit_jobs, "MOST_UPLOADED", 3000)
    audits = AuditJobs(tmp_path)
    lines = PAIRS.splitlines(keepends=True)
    values = [audits.receive(f"{n}.jsonl", upload("".join(lines[:9]).encode())) for n in range(5)]
    assert audits._place is not None and len(list(audits._place.rglob("*.jsonl"))) == 3
    with pytest.raises(DataError, match="not on offer"):
        audits.look(values[0], Columns())  # the oldest went first
    assert audits.label(values[4]) == "4.jsonl"
    audits.receive("large.jsonl", upload(lines[0].encode().ljust(2900)))
    assert [file.stat().st_size for file in audits._place.rglob("*.jsonl")] == [2900]
    for name, content in ((["a.jsonl"], upload(b"x")), ("a.jsonl", [upload(b"x")]), ("a.exe", upload(b"x"))):
        with pytest.raises(DataError):
            audits.receive(name, content)  # type: ignore[arg-type]
    place = audits._place
    audits.close()
    assert not place.exists()
    with pytest.raises(DataError):
        audits.receive("late.jsonl", upload(b"x"))
    assert not place.exists()


def test_audits_wait_in_a_bounded_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_jobs, "MOST_AUDITS", 2)
    audits = AuditJobs(tmp_path)
    with audits._working:  # somebody's audit is under way
        for _ in range(3):
            audits.start("sample", "demo/gpt2", Columns())
        with pytest.raises(BusyError, match="2 audits are waiting"):
            audits.start("sample", "demo/gpt2", Columns())
        for job in audits._jobs.values():
            job.problem = "enough"


def test_the_hub_is_tried_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_probed", None)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        assert hub.offline() and constants.HF_HUB_OFFLINE
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        assert hub.offline()  # so soon nobody asks again
        assert hub._probed is not None
        monkeypatch.setattr(hub, "_probed", (hub._probed[0] - 61, True))
        assert not hub.offline() and not constants.HF_HUB_OFFLINE
    monkeypatch.setattr(hub, "_forbidden", None)
    hub.forbid("only with --allow-hub")
    assert hub.offline() and constants.HF_HUB_OFFLINE and "--allow-hub" in hub.why_offline()


@pytest.mark.parametrize(
    ("access", "token", "asked", "children"),
    [
        (LOCAL, False, False, {}),
        (Access(hub=True), False, True, {}),
        (Access(hub=True), True, True, {}),
        (Access("0.0.0.0"), False, False, {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}),
        (Access("0.0.0.0", hub=True), False, True, {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}),
        (Access("0.0.0.0", hub=True), True, True, {}),
    ],
)
def test_the_hub_and_the_token_are_given_by_flags(
    monkeypatch: pytest.MonkeyPatch, access: Access, token: bool, asked: bool, children: dict[str, str]
) -> None:
    """What the server's own process may, and what a training that it starts finds in its environment."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers

    from dpo.cli.serve import restrict_hub

    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.setenv(name, "")  # so that both are put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_owner")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setattr(hub, "_forbidden", None)
    restrict_hub(access, token)
    assert hub.forbidden() is not asked and constants.HF_HUB_OFFLINE is not asked
    assert ("hf_of_the_owner" in str(build_hf_headers())) is token
    assert {name: os.environ[name] for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN")
            if name in os.environ} == children  # fmt: skip


def test_a_locked_file_of_votes_is_told_soon(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite"
    client = create_app([tmp_path], votes=path).server.test_client()
    vote = {"key": "k", "prompt": "p", "policy_a": "a", "policy_b": "b", "text_a": "x", "text_b": "y", "verdict": "a"}
    assert client.post("/api/votes", json=vote).get_json()["stored"]
    with sqlite3.connect(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        answers: list[int] = []
        threads = [
            threading.Thread(
                target=lambda n=n: answers.append(client.post("/api/votes", json=vote | {"key": str(n)}).status_code)
            )
            for n in range(4)
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [503] * 4 and time.monotonic() - began < 25  # the wait was 30 s each before
        other.rollback()
    assert client.post("/api/votes", json=vote | {"key": "later"}).get_json()["stored"]
    assert {vote.key for vote in Votes(path).all()} == {"k", "later"}
