"""One bad run hides nothing: damaged directories before the real server and every command that reads runs."""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import json
import logging
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from damage import KINDS, damaged, write_run
from waitress.server import create_server

from dpo.cli.main import main, parser
from dpo.dashboard.application import create_app
from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.runs_page.table import rows_of
from dpo.runs import Run, RunRecord, find_runs, open_run, record

# Others than those of every test run: DPO_DAMAGED_FIRST=1000 DPO_DAMAGED_RUNS=2000
COUNT, BATCH = int(os.environ.get("DPO_DAMAGED_RUNS", "300")), 25
FIRST = int(os.environ.get("DPO_DAMAGED_FIRST", "0"))
SEEDS, DAILY = range(FIRST, FIRST + COUNT), 100  # each kind of damage comes in every day
HANGS = 20.0  # seconds without an answer: the slowest takes a twentieth of it
CHARTS = ("loss", "chosen", "margin", "accuracy", "kl", "logps", "length", "lr", "grad", "use", "repetition")


class Client:
    """Asks the routes and callbacks that read runs, as the pages do."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.callbacks = json.loads(self.ask("GET", "/_dash-dependencies")[1])

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANGS)
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def callback(self, output: str, inputs: dict[str, Any], state: dict[str, Any] | None = None) -> tuple[int, bytes]:
        spec = next(c for c in self.callbacks if c["output"].startswith(output) and not c.get("clientside_function"))
        parts = [name.rsplit(".", 1) for name in spec["output"].strip(".").split("...")]
        outputs = [{"id": ident, "property": name} for ident, name in parts]
        given = inputs | (state or {})

        def values(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [
                {"id": item["id"], "property": item["property"], "value": given.get(f"{item['id']}.{item['property']}")}
                for item in items
            ]

        return self.ask("POST", "/_dash-update-component", {
            "output": spec["output"], "outputs": outputs if spec["output"].startswith("..") else outputs[0],
            "inputs": values(spec["inputs"]), "state": values(spec["state"]), "changedPropIds": list(inputs)[:1],
            "parsedChangedPropsIds": list(inputs)[:1],
        })  # fmt: skip

    def lists(self) -> Iterator[tuple[str, tuple[int, bytes]]]:
        """What shows all runs."""
        for path in ("/api/training", "/v1/models", "/api/jobs", "/api/jobs/form"):
            yield path, self.ask("GET", path)
        for page in ("compare", "training", "lens"):
            yield f"{page} page", self.callback(f"page-{page}.children", {f"visit-{page}.data": 1})
        yield (
            "picker",
            self.callback(
                "..tr-run-list.children", {"tr-list.data": "1", "tr-filter.value": "", "tr-selected.value": []}
            ),
        )
        yield (
            "table",
            self.callback(
                "..rn-grid.rowData",
                {"rn-poll.n_intervals": 1, "page-runs.hidden": False, "rn-changed.data": 0, "rn-filter.value": ""},
            ),
        )

    def of_runs(self, paths: list[str]) -> Iterator[tuple[str, tuple[int, bytes]]]:
        """What shows some runs."""
        own = {"prompt": None, "answers": {}}
        for axis, unit in (("Step", "÷ β"), ("Time", "Per token")):
            view = {"runs": paths, "axis": axis, "smoothing": 60, "unit": unit, "summary": True}
            yield f"curves by {axis}", self.ask("POST", "/api/curves", view | {"charts": dict.fromkeys(CHARTS)})
        yield "checkpoints", self.ask("POST", "/api/checkpoints", {"runs": paths})
        yield "losses", self.ask("POST", "/api/losses", {"run": paths[-1]})
        yield (
            "answers",
            self.callback(
                "..tr-step.max",
                {"tr-answers.data": 1, "tr-selected.value": paths, "tr-axis.value": "Step", "tr-own.data": own},
            ),
        )
        marks = [{"value": 0, "label": "0"}]
        yield "said", self.callback(
            "tr-texts.children", {"tr-step.value": 0, "tr-prompt.value": "p", "tr-step.marks": marks},
            {"tr-selected.value": paths, "tr-own.data": own},
        )  # fmt: skip
        rows = [{"path": path} for path in paths]
        yield "report", self.callback("..rn-download.data", {"rn-export.n_clicks": 1}, {"rn-grid.selectedRows": rows})
        yield (
            "delete box",
            self.callback("..rn-delete-box.opened", {"rn-delete.n_clicks": 1}, {"rn-grid.selectedRows": rows[-1:]}),
        )


def command(*argv: str) -> tuple[int | str, str]:
    """Exit code (or where it raised) and output of `dpo ARGV`; the output is UTF-8, as a terminal's is."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code: int | str = main(argv)
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException as error:
        where = [frame for frame in traceback.extract_tb(error.__traceback__) if "/dpo/" in frame.filename]
        code = f"{type(error).__name__}: {str(error)[:80]} at {where[-1].filename}:{where[-1].lineno}"
    out.flush()
    return code, out.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    app = create_app([Path("runs")], votes=tmp_path / "votes.sqlite")
    server = create_server(app.server, host="127.0.0.1", port=0, threads=4)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield Client(server.effective_port)
    for service in app.server.config["services"]:
        service.close()
    server.close()


def failures_of_lists(client: Client) -> Iterator[str]:
    """Pages and commands that list runs, where they fail or do not show the good one."""
    for label, (status, content) in client.lists():
        if status >= 500:
            yield f"{label}: {status}"
        elif label in ("picker", "table", "training page") and b"the good run" not in content:
            yield f"{label}: the good run is not shown"
    for form in ([], ["--json"]):
        code, text = command("runs", "list", "--runs", "runs", *form)
        if code != 0 or "the good run" not in text:
            yield f"dpo runs list {form}: {code}"


def failures_of_commands(path: Path) -> Iterator[str]:
    """Commands about one run that neither do it nor refuse it in one line."""
    for argv in (
        ["runs", "show", str(path)], ["doctor", str(path)], ["runs", "compare", str(path), "runs/good"],
        ["runs", "export", "--output", "out.csv", str(path)],
        ["runs", "import", str(path), "--output-dir", "imported"], ["runs", "rm", "--yes", str(path)],
    ):  # fmt: skip
        code, text = command(*argv)
        if code not in (0, 2) or "\x1b" in text or (code == 2 and len(text.splitlines()) != 1):
            yield f"dpo {' '.join(argv[:2])}: {code} {text[:100]!r}"


def emptied(folder: str) -> None:
    for entry in os.scandir(folder) if os.path.isdir(folder) else ():
        os.unlink(entry) if entry.is_symlink() else shutil.rmtree(entry)


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(SEEDS[:DAILY], id="daily"),
        pytest.param(SEEDS[DAILY:], id="more", marks=pytest.mark.slow),
    ],
)
def test_one_bad_run_hides_nothing(
    seeds: range, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["dpo.cli.main"], "parser", functools.cache(parser))  # made once for all commands
    caplog.set_level(logging.ERROR)
    failures: list[str] = []
    answered: dict[str, set[int]] = {}
    kinds: set[str] = set()
    for place in range(0, len(seeds), BATCH):
        batch = seeds[place : place + BATCH]
        write_run(Path("runs/good"), name="the good run")
        made = [damaged(seed, Path(f"runs/bad-{seed}")) for seed in batch]
        kinds |= {kind for kind in KINDS for _, what in made if f": {kind} (" in what}
        failures += [f"{line} with seeds {batch[0]} to {batch[-1]}" for line in failures_of_lists(client)]
        for few in range(0, len(made), 5):
            some = made[few : few + 5]
            shown = [str(path).encode("utf-8", "replace").decode() for path, _ in some]
            for label, (status, _) in client.of_runs(["runs/good", *shown]):
                answered.setdefault(label, set()).add(status)
                if status >= 500:
                    failures.append(f"{label}: {status}, {[what for _, what in some]}")
        failures += [f"{line}, {what}" for path, what in made for line in failures_of_commands(path)]
        emptied("runs")
        emptied("imported")
    where = {line for record in caplog.records if record.exc_info for line in _raised(record.exc_info[1])}
    assert not failures, "\n".join([f"{len(failures)} failures", *failures[:60], *sorted(where)])
    assert not where, "\n".join(sorted(where))
    assert all(200 in statuses for statuses in answered.values()), answered  # nothing was refused from the start
    assert kinds == set(KINDS) or len(seeds) < DAILY


def test_what_was_left_out_is_named_and_never_trained_on(tmp_path: Path) -> None:
    """A wrong beta is named by every command, the rest of the run is shown, and a resume does not go on with 0.1."""
    sound = json.loads((write_run(tmp_path / "sound") / "run.json").read_text())
    config = sound["config"] | {"beta": "0.3", "learning_rate": 10**400, "max_steps": 40}
    run = write_run(tmp_path / "odd", name="odd \x1b[31mrun", state="stopped", config=config)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "loss": "low", "eval_loss": 0.5}\n{"step": 1e300, "loss": 1}\n{"step": 9\n')
    with (run / "samples.jsonl").open("a") as file:
        file.write('{"step": 9, "index": null, "prompt": 5, "policy": "a"}\n')
    (run / "note.json").write_text('{"note": 5}')
    named = (
        'config.beta is "0.3", not a number', "config.learning_rate is a number of many digits",
        "1 damaged line of metrics.jsonl", "1 row of metrics.jsonl left out, whose step is no step",
        "1 value of loss in metrics.jsonl left out, not a number", "1 damaged line of samples.jsonl",
        "note.json cannot be read (its note is no text)",
    )  # fmt: skip
    shown = open_run(run)
    assert shown.name == "odd \ufffd[31mrun" and "beta" not in shown.config and shown.config["max_steps"] == 40
    assert shown.metrics().last("eval_loss") == 0.5 and shown.metrics().last("loss") == 0.61
    for argv in (["runs", "list", "--runs", str(tmp_path)], ["runs", "show", str(run)], ["doctor", str(run)]):
        code, text = command(*argv)
        assert code == 0 and [words for words in named if words not in text] == [], text
    code, text = command("train", "--resume", str(run))
    assert code == 2 and 'config.beta is "0.3"' in text and "before --resume" in text
    (row,) = [row for row in rows_of(RunReader([tmp_path])) if row["path"] == str(run)]
    assert row["state"] == "stopped" and row["flawed"] and all(words in row["reason"] for words in named)


def test_a_state_that_is_none_is_unknown_and_no_record_is_damaged(tmp_path: Path) -> None:
    write_run(tmp_path / "odd", state=["running"])
    (write_run(tmp_path / "lost") / "run.json").write_text("[" * 100_000)
    found = {run.path.name: run for run in find_runs([tmp_path])}
    assert (found["odd"].state, found["lost"].state) == ("unknown", "damaged")
    assert "nested too deeply" in (found["lost"].problem or "") and not found["odd"].damaged


def test_an_unchanged_record_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [write_run(tmp_path / name) for name in ("a", "b")]
    find_runs([tmp_path])
    opened: list[Path] = []
    real = record.read_object
    monkeypatch.setattr(record, "read_object", lambda path: opened.append(path) or real(path))
    RunRecord(runs[0], json.loads((runs[0] / "run.json").read_text())).update(name="another")
    assert sorted(run.name for run in find_runs([tmp_path])) == ["a run", "another"]
    assert opened == [runs[0] / "run.json"]


def test_answers_are_counted_once_by_all_threads(tmp_path: Path) -> None:
    """Several views of a page ask one open run for its answers at the same moment."""
    rows = "".join(json.dumps({"step": s, "prompt": "p", "policy": "a" * 50}) + "\n" for s in range(400))
    for trial in range(20):
        run = write_run(tmp_path / str(trial))
        (run / "samples.jsonl").write_text(rows)
        shown = open_run(run)
        barrier = threading.Barrier(8)

        def read(shown: Run = shown, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            shown.samples()

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(shown.samples()) == 400


def _raised(error: BaseException | None) -> Iterator[str]:
    if error is not None:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/dpo/" in f.filename]
        yield f"{type(error).__name__}: {str(error)[:80]} at {frames[-1] if frames else 'Dash'}"
