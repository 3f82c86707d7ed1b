"""`dpo runs export|compare|rm|import`: files out, files in, and nothing deleted by mistake."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from events import scalar
from pyarrow import parquet

from dpo.cli import main
from dpo.cli.commands import cell, reached_line
from dpo.dashboard.run_reader import shown as panels_shown
from dpo.dashboard.training import panels
from dpo.runs import BUNDLED_RUNS, RunRecord, open_run, summarise
from dpo.runs.doctor.verdict import number

T5 = "Llama-3-t5-dpo"


def test_export_writes_what_was_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = open_run(BUNDLED_RUNS / T5).metrics()
    for suffix in ("csv", "jsonl", "parquet"):
        assert main(["runs", "export", T5, "--output", str(tmp_path / f"out.{suffix}")]) == 0
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == metrics.columns["loss"]
    assert rows[1]["eval_loss"] == ""
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == metrics.steps and "eval_loss" not in lines[1]
    assert parquet.read_table(tmp_path / "out.parquet").to_pydict() == metrics.columns
    capsys.readouterr()
    assert main(["runs", "export", T5, "--output", str(tmp_path / "no" / "out.csv")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_measure_called_like_a_formula_is_text_in_a_spreadsheet(tmp_path: Path) -> None:
    names = ['=HYPERLINK("http://x")', "+1", "-1", "@SUM", "loss"]
    RunRecord.create(tmp_path / "run", {"state": "finished"}).log({"step": 1} | dict.fromkeys(names, 0.5))
    assert main(["runs", "export", str(tmp_path / "run"), "--output", str(tmp_path / "run.csv")]) == 0
    head = next(csv.reader((tmp_path / "run.csv").open(newline="")))
    assert head == ["step", *(f"'{name}" for name in names[:4]), "loss"]


def test_export_goes_to_standard_output() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dpo", "runs", "export", T5, "--format", "csv"], capture_output=True, text=True
    )
    assert next(csv.reader(io.StringIO(done.stdout)))[:2] == ["step", "epoch"] and done.returncode == 0


def test_compare_shows_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "compare", T5, f"{T5}-high-rate", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["runs"] == [T5, f"{T5}-high-rate"] and read["settings"]["learning_rate"] == [0.0003, 0.01]
    assert "beta" not in read["settings"] and read["measures"]["accuracy"][1] == 1.0
    assert main(["runs", "compare", T5]) == 2
    # The one setting that matters must not be rounded away.
    assert (cell(2e-5), cell(5e-5), cell(0.0007), cell(0.6931472), cell(-3e-7)) == (
        "2e-5", "5e-5", "0.0007", "0.6931", "-3e-7"
    )  # fmt: skip


def test_held_out_is_said_of_held_out_values_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = {"step": 4, "loss": 0.6, "rewards/margins": 0.2, "rewards/accuracies": 0.75}
    records: dict[str, tuple[str, int, dict[str, float], str]] = {
        "some": ("dpo", 25, training | {"eval_loss": 0.5, "eval_rewards/margins": 0.4, "eval_rewards/accuracies": 0.8},
                ": held out loss 0.5, margin 0.4, accuracy 0.8 (25 pairs)"),
        "none": ("dpo", 0, training, ": training loss 0.6, margin 0.2, accuracy 0.75 (nothing was held out)"),
        "tuned": ("sft", 50, {"step": 4, "loss": 3.325, "eval_chosen_loss": 2.968, "eval_rejected_loss": 3.1},
                ": held out loss 2.968 (chosen answers)"),
    }  # fmt: skip
    for name, (kind, held_out, row, line) in records.items():
        record = RunRecord.create(tmp_path / name, {"name": name, "kind": kind, "state": "finished"})
        record.update(dataset={"held_out": held_out})
        record.log(row)
        run = open_run(tmp_path / name)
        assert reached_line(summarise(run), run.info["dataset"]) == line
        assert main(["runs", "show", name, "--runs", str(tmp_path)]) == 0
        shown = capsys.readouterr().out
        assert f"over       {'training' if name == 'none' else 'held out'}" in shown
        # The tiles of the Training page mark the same values.
        (entry,) = panels_shown([(run, run.metrics())])
        tiles = {label: value(entry)[:2] for label, _, value in panels._TILES if label in ("Loss", "Accuracy")}
        assert tiles["Loss"] == (number(summarise(run)["loss"]), "training" if name == "none" else "")
        if kind == "dpo":
            assert tiles["Accuracy"][1] == ("training" if name == "none" else "n 25")
    assert main(["runs", "list", "--json", "--runs", str(tmp_path)]) == 0
    listed = {row["name"]: (row["over"], row["loss"]) for row in json.loads(capsys.readouterr().out)}
    assert {name: listed[name] for name in records} == {
        "some": ("held out", 0.5), "none": ("training", 0.6), "tuned": ("held out", 2.968)
    }  # fmt: skip
    assert main(["data", "audit", "sample", "--run", str(tmp_path / "none")]) == 2
    assert "has no held-out reward accuracy" in capsys.readouterr().err


def test_remove_asks_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    RunRecord.create(mine, {"state": "finished"})
    RunRecord.create(tmp_path / "live", {"state": "running", "pid": os.getpid(), "host": socket.gethostname()})
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "events.out.tfevents.1").write_bytes(scalar("train/loss", 1, 0.5))
    for path, reason in (("live", "is running"), ("foreign", "was not made by dpo"), ("none", "No run")):
        assert main(["runs", "rm", str(tmp_path / path), "--yes"]) == 2
        assert reason in capsys.readouterr().err
    assert main(["runs", "rm", T5, "--yes"]) == 2
    assert "comes with dpo" in capsys.readouterr().err
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert main(["runs", "rm", str(mine)]) == 0 and mine.is_dir()
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert main(["runs", "rm", str(mine)]) == 0 and not mine.exists()


def test_import_of_an_event_file_and_of_a_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "logs" / "flan-t5-dpo"
    logs.mkdir(parents=True)
    content = [scalar("train/loss", 1, 0.5), scalar("train/rewards/chosen", 2, float("nan")), scalar("eval/loss", 2, 1)]
    (logs / "events.out.tfevents.1").write_bytes(b"".join(content))
    target = ["--output-dir", str(tmp_path / "runs")]
    assert main(["runs", "import", str(logs), *target]) == 0
    run = open_run(tmp_path / "runs" / "flan-t5-dpo")
    assert run.family == "seq2seq" and run.metrics().columns["eval_loss"] == [None, 1.0]
    assert run.metrics().not_finite == {"rewards/chosen": [2]}
    (tmp_path / "history.csv").write_text('"Step","run - train/loss","run - train/global_step"\n0,0.7,10\n1,0.6,20\n')
    assert main(["runs", "import", str(tmp_path / "history.csv"), "--name", "../gpt2 x", *target]) == 0
    imported = open_run(tmp_path / "runs" / "gpt2-x")
    assert imported.metrics().series("loss") == ([10, 20], [0.7, 0.6]) and imported.family == "causal"
    assert main(["runs", "import", str(logs), *target]) == 2
    assert "holds a run already" in capsys.readouterr().err
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    (tmp_path / "x.wandb").write_text("")
    (tmp_path / "x.db").write_text("no database")
    for name, reason in (("notes.csv", "no measures"), ("x.wandb", "CSV"), ("x.db", "Trackio"), ("none", "not exist")):
        assert main(["runs", "import", str(tmp_path / name), *target]) == 2
        assert reason in capsys.readouterr().err


TRACKED = """
import trackio
for name in ("t5-a", "gpt2-b"):
    trackio.init(project="dpo", name=name, config={"beta": 0.3})
    for i in range(3):
        reward = float("nan") if i == 1 else 0.1 * i
        trackio.log({"train/loss": 0.69 / (i + 1), "train/rewards/chosen": reward, "train/global_step": i * 10})
    trackio.finish()
"""


def test_import_of_a_trackio_project(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio")}
    subprocess.run([sys.executable, "-c", TRACKED], env=environment, check=True, capture_output=True)
    assert main(["runs", "import", str(tmp_path / "trackio" / "dpo.db"), "--output-dir", str(tmp_path / "runs")]) == 0
    for name, family in (("t5-a", "seq2seq"), ("gpt2-b", "causal")):
        run = open_run(tmp_path / "runs" / name)
        assert (run.family, run.config) == (family, {"beta": 0.3})
        assert run.metrics().series("loss") == ([0, 10, 20], [0.69, 0.345, 0.69 / 3])
        assert run.metrics().not_finite == {"rewards/chosen": [10]}
