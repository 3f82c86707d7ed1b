"""The page of a run: which run an address means, its line, its commands, and what of its files is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dpo.dashboard.application import create_app
from dpo.dashboard.choices import sweep_link
from dpo.dashboard.markup import to_html
from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.training.jobs_api import rerun
from dpo.dashboard.training.run.cards import cards
from dpo.dashboard.training.run.commands import commands, settings
from dpo.dashboard.training.run.family_tree import relatives
from dpo.dashboard.training.run.files import files
from dpo.dashboard.training.run.mending import change_of
from dpo.dashboard.training.run.page import asked_for
from dpo.errors import RunError
from dpo.publishing.card import Publication, model_card
from dpo.publishing.evaluated import evaluated
from dpo.runs import BUNDLED_RUNS, RunRecord, find_runs, open_run
from dpo.runs.doctor.verdict import Change
from dpo.runs.record import AUDIT

HOST = "http://127.0.0.1"


def write(path: Path, **config: Any) -> RunRecord:
    config = {"model": "demo/t5", "beta": 0.1, "dataset": "sample"} | config
    info = {"name": path.name, "kind": "dpo", "family": "t5", "state": "finished", "config": config,
            "dataset": {"source": "sample", "train": 90, "held_out": 10}, "progress": {"step": 20}}  # fmt: skip
    return RunRecord.create(path, info)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A sweep of two runs, of which one was trained further."""
    root = tmp_path / "runs"
    write(root / "rates" / "rates-000", beta=0.3)
    write(root / "rates" / "rates-001")
    write(root / "further", model=str(root / "rates" / "rates-000"))
    return root


def test_an_address_means_one_run(root: Path) -> None:
    runs = find_runs([root])
    path = root / "rates" / "rates-000"
    assert asked_for(f"?run={quote(str(path))}", runs).path == path
    assert asked_for("?run=further&step=3", runs).name == "further"
    for search, says in (("", "No run is chosen"), ("?run=gone", "no run 'gone' here")):
        with pytest.raises(RunError, match=says):
            asked_for(search, runs)


def test_what_the_audit_found_is_mended_and_run_again(root: Path) -> None:
    """A change of a setting, or the command that cleans the data; both as the form of a new run takes them."""
    run = open_run(write(root / "long", swap=True).path)
    tokens = {"mean": 90, "p99": 301.0}
    found = [
        {"code": "truncated", "severity": "fault", "sentence": "3 % of chosen answers are over 256 tokens",
         "evidence": {"side": "chosen", "share": 0.03, "tokens": tokens}, "remedy": "raise it"},
        {"code": "truncated", "severity": "warning", "sentence": "Prompts", "evidence": {"side": "prompt"}},
        {"code": "duplicate-pairs", "severity": "warning", "sentence": "9 rows", "remedy": "--drop-duplicates"},
        {"code": "chat-markup", "severity": "warning", "sentence": "Markup", "remedy": "take it out of the source"},
    ]  # fmt: skip
    (run.path / AUDIT).write_text(json.dumps({"pairs": 100, "findings": found}))
    longer, unknown, cleaned, by_hand = (change_of(run, one) for one in run.audit()[0]["findings"])
    assert unknown is None and by_hand is None
    assert longer == Change("--max-completion-length", "301", "99 % have at most so many tokens")
    command = "dpo data clean sample --swap --output sample-cleaned.jsonl --drop-duplicates"
    assert cleaned == Change("--dataset", "FILE", f"mended by {command}")
    card = to_html(cards(RunReader([root]).shown([str(run.path)])[0][0])[1])
    assert card.count("Fix and rerun long with") == 2 and command in card
    assert rerun(run, longer.flag, longer.value, root)["settings"]["max_completion_length"] == 301
    assert rerun(run, cleaned.flag, cleaned.value, root)["changed"] == "dataset"


def test_a_run_stands_in_its_line(root: Path) -> None:
    runs = find_runs([root, BUNDLED_RUNS])
    line = {one.place: one for one in relatives(open_run(root / "rates" / "rates-000"), runs)}
    assert line["Start"].name == "Llama-3-t5-sft" and line["Start"].href is not None and line["Start"].tuned is False
    assert (line["Data"].name, line["Data"].about) == ("sample", "90 train, 10 held out")
    assert line["Runs from it"].name == "further" and line["Sweep"].about == "2 trials"
    assert line["Sweep"].href == sweep_link(str(root / "rates" / "rates"))
    alone = {one.place: one for one in relatives(open_run(root / "further"), find_runs([root / "further"]))}
    assert alone["Start"].href is None and alone["Start"].about == "not among the runs here"  # it keeps its name
    bundled = find_runs([BUNDLED_RUNS])
    [first] = [run for run in bundled if run.name == "Llama-3-t5-dpo"]
    starts = [one for one in relatives(first, bundled) if one.place in ("Base", "Then", "Start")]
    assert [(one.name, one.about) for one in starts] == [
        ("Llama-3-t5-base", "T5 pretrain"), ("Llama-3-t5-sft", "T5 SFT"),
    ]  # fmt: skip
    record = RunRecord(root / "further", json.loads((root / "further" / "run.json").read_text()))
    record.update(config=record.info["config"] | {"model": str(root / "further")})  # a record that names itself
    assert "further" in [one.name for one in relatives(open_run(root / "further"), find_runs([root]))]


def test_only_the_table_of_a_card_escapes_its_bars(root: Path) -> None:
    run = open_run(root / "rates" / "rates-000")
    judged = {
        "policy": "a|b", "against": "base", "judge": "longer", "kind": "rule", "temperature": 0.7, "verdict": "better",
        "sentence": "a|b wins", "says": "longer|better", "win_rate": {"value": 0.5, "low": None, "high": None},
    }  # fmt: skip
    made = {
        "plan": {"judges": [], "policies": []},
        "prompts": 3,
        "complete": True,
        "comparisons": [judged],
        "changes": [],
    }
    (run.path / "evaluations" / "one").mkdir(parents=True)
    (run.path / "evaluations" / "one" / "eval.json").write_text(json.dumps(made), encoding="utf-8")
    assert evaluated(run)[0]["headline"] == ["a|b wins"]
    card = model_card(run, Publication("first", "full"))
    assert "* a|b wins." in card
    assert "| a\\|b against base | longer\\|better | 0.7 | 50.0 % | a rule |" in card


def test_its_settings_begin_with_what_was_changed_and_its_commands_say_them(root: Path) -> None:
    run = open_run(root / "rates" / "rates-000")
    differ, others = settings(run)
    assert ("beta", 0.3, 0.1) in differ and ("dataset", "sample") in others
    lines = dict(commands(run))
    assert lines["Train again"].startswith("dpo train --model demo/t5") and "--beta 0.3" in lines["Train again"]
    assert "Publish on the hub" not in lines  # nothing was saved
    bundled = dict(commands(open_run(BUNDLED_RUNS / "Llama-3-t5-dpo")))
    assert bundled["Merge the adapter"].startswith("dpo merge ") and "--compare" in bundled["Chat beside its base"]


def test_only_plain_files_of_the_run_are_sent(root: Path, tmp_path: Path) -> None:
    first = root / "rates" / "rates-000"
    (tmp_path / "secret").write_text("x")
    (first / "link.json").symlink_to(tmp_path / "secret")
    (first / ".lock").touch()
    (first / "policy").mkdir()
    (first / "policy" / "model.safetensors").write_bytes(b"weights")
    listed = files(open_run(first))
    assert [(one.name, one.size, one.purpose) for one in listed[:1]] == [("policy/model.safetensors", 7, "weights")]
    assert {one.name for one in listed} == {"policy/model.safetensors", "run.json"}
    app = create_app([root], votes=tmp_path / "votes.sqlite")
    client = app.server.test_client()

    def fetched(name: str, run: Path = first) -> Any:
        return client.get("/api/runs/file", query_string={"run": str(run), "file": name}, base_url=HOST)

    sent = fetched("policy/model.safetensors")
    assert sent.data == b"weights" and "attachment" in sent.headers["Content-Disposition"]
    for name in ("link.json", ".lock", "../second/run.json", "/etc/passwd", "policy", ""):
        assert fetched(name).status_code == 400, name
    assert fetched("secret", tmp_path).status_code == 400
    card = client.get("/api/runs/card", query_string={"run": str(first)}, base_url=HOST)
    assert card.status_code == 200 and "beta" in card.text
