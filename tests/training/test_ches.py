"""CHES against plain transformers, in both families, and what the commands make of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import save_tiny, tiny

from dpo.cli.main import main
from dpo.dashboard.audit_jobs import AuditJob, AuditJobs
from dpo.dashboard.ches_jobs import ChesJob
from dpo.dashboard.data.cleaning import remedies_for
from dpo.dashboard.data.table import TableQuery, listed, select
from dpo.errors import ConfigError, DataError
from dpo.evaluation.ches import ches
from dpo.preferences.audit.ches import highest
from dpo.preferences.audit.clean import preview
from dpo.preferences.normalise import Columns

PAIRS = [
    {"prompt": f"Any fun plans for day {n}?", "chosen": "Off to the lake with my dog! " * (1 + n % 3),
     "rejected": "I am unable to make plans." + " Please ask a calendar." * (n % 4)}
    for n in range(18)
]  # fmt: skip


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_scores_are_those_of_the_hidden_states(family: str) -> None:
    policy = tiny(family)
    longest = 20
    found = ches(policy, PAIRS, (100, longest))
    scale = policy.network.config.d_model**-0.5 if family == "t5" else 1.0  # of T5's states before its tied output
    for pair, score in zip(PAIRS, found, strict=True):
        prompt = policy.encode_prompt(pair["prompt"])
        sums, sizes = [], []
        for side in ("chosen", "rejected"):
            [ids] = policy.family.encode_completions(policy.tokenizer, [pair[side]])
            ids = [*ids[: longest - 1], ids[-1]]
            with torch.no_grad():
                if family == "t5":
                    out = policy.network(
                        input_ids=torch.tensor([prompt]), labels=torch.tensor([ids]), output_hidden_states=True
                    )
                    states = out.decoder_hidden_states[-1][0] * scale
                else:
                    out = policy.network(torch.tensor([prompt + ids]), output_hidden_states=True)
                    states = out.hidden_states[-1][0, len(prompt) - 1 : -1]
            assert len(states) == len(ids)
            sums.append(states.double().sum(0))
            sizes.append(len(ids))
        (own, other), (n, m) = sums, sizes
        by_hand = float(own @ other) / (n * m) - float(own @ own) / n**2
        assert score == pytest.approx(by_hand, rel=1e-3, abs=1e-4)
    asked: list[int] = []
    twice = ches(policy, [*PAIRS, *PAIRS], (100, longest), lambda done, total: asked.append(total))
    assert (twice == np.tile(found, 2)).all() and set(asked) == {len(PAIRS)}  # each is scored once
    same = ches(policy, [PAIRS[0] | {"rejected": PAIRS[0]["chosen"]}], (100, 100))
    assert same[0] == pytest.approx(0, abs=1e-4)  # equal answers: the push goes nowhere
    assert np.isnan(ches(policy, [PAIRS[0] | {"prompt": " "}], (100, 100)))[0]


def test_the_highest_come_first_and_what_has_no_score_stays() -> None:
    scores = np.array([0.1, np.nan, 0.9, 0.5, 0.9, -1.0])
    assert highest(scores, 1.0).tolist() == [2, 4, 3, 0, 5]
    assert highest(scores, 0.2).tolist() == [2] and highest(scores, 0.21).tolist() == [2, 4]


def test_the_audit_tells_them_and_cleaning_drops_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out, model = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl", str(save_tiny("gpt2", tmp_path / "model"))
    source.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    expected = ches(tiny("gpt2"), PAIRS, (256, 256))
    order = np.argsort(-expected, kind="stable").tolist()
    report = tmp_path / "audit.json"
    assert main(["data", "audit", str(source), "--model", model, "--ches", "--json", str(report)]) == 0
    assert "have the highest CHES under" in capsys.readouterr().out
    made = json.loads(report.read_text(encoding="utf-8"))
    measured = made["measures"]["ches"][model]
    assert measured["rows"] == order and measured["scores"] == sorted(measured["scores"], reverse=True)
    [finding] = [finding for finding in made["findings"] if finding["code"] == "ches"]
    assert finding["severity"] == "note" and finding["rows"] == [[order[0], order[0]]] and finding["count"] == 1
    line = ["data", "clean", str(source), "--output", str(out), "--model", model]
    assert main([*line, "--drop-ches", "20%"]) == 0
    kept = [json.loads(row)["prompt"] for row in out.read_text(encoding="utf-8").splitlines()]
    assert kept == [pair["prompt"] for n, pair in enumerate(PAIRS) if n not in order[:4]]
    log = [json.loads(row) for row in (tmp_path / "out.jsonl.log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["row"] for row in log} == set(order[:4]) and "CHES" in log[0]["why"]
    out.unlink()
    (tmp_path / "out.jsonl.log.jsonl").unlink()
    capsys.readouterr()
    for wrong, says in (
        ([*line[:-2], "--drop-ches", "5%"], "--drop-ches needs --model"),
        ([*line, "--drop-ches", "120%"], "it must be a share"),
        ([*line, "--drop-ches", "some"], "--drop-ches is 'some'"),
        (["data", "audit", str(source), "--ches"], "--ches needs --model"),
    ):
        assert main(wrong) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1


def ended(job: AuditJob | ChesJob) -> None:
    deadline = time.monotonic() + 120
    while not job.over:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_data_page_measures_sorts_filters_and_drops_by_it(tmp_path: Path) -> None:
    model = str(save_tiny("gpt2", tmp_path / "model"))
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    audits = AuditJobs(tmp_path)
    with pytest.raises(DataError, match="no longer kept"):
        audits.measure_ches("none", model)
    job = audits.start("file:pairs.jsonl", model, Columns())
    ended(job)
    places = select(job, by_ches := TableQuery(sort=(("ches", True),)))
    assert {row["ches"] for row in listed(job, places, 0)} == {None}  # not measured yet
    with pytest.raises(ConfigError, match="was not measured"):
        remedies_for(job, "ches")

    audits._working.acquire()  # another audit is under way: this one waits, and is called off
    waiting = audits.measure_ches(job.ident, model)
    audits.cancel(job.ident)
    audits._working.release()
    ended(waiting)
    assert "cancelled" in waiting.problem and waiting.scores is None and not job.cancelled
    ended(missing := audits.measure_ches(job.ident, str(tmp_path / "nothing")))
    assert "nothing" in missing.problem

    for _ in range(2):  # measured again, the finding is there once
        ended(audits.measure_ches(job.ident, model))
    expected = ches(tiny("gpt2"), PAIRS, (256, 256))
    order = np.argsort(-expected, kind="stable").tolist()
    rows = listed(job, select(job, by_ches), 0)
    assert [row["row"] for row in rows] == order
    assert rows[0]["ches"] == pytest.approx(expected[order[0]], rel=1e-3)
    above = TableQuery(filters={"ches": {"type": "greaterThan", "filter": float(np.median(expected))}})
    assert sorted(select(job, above)) == sorted(order[:9])
    assert job.audit is not None and [one.count for one in job.audit.findings if one.code == "ches"] == [1]
    assert select(job, TableQuery(finding="ches")).tolist() == order[:1]
    effect = preview(job.source, remedies_for(job, "ches"))
    assert [one.row for one in effect.examples] == order[:1] and effect.written == len(PAIRS) - 1
