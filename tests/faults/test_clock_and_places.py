"""Times of next year (the clock was set back), and a directory of runs that is moved away and back while served."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from damage import write_run
from flask.testing import FlaskClient
from queues import put

from dpo.dashboard.application import create_app
from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.runs_page import trash_box
from dpo.dashboard.runs_page.table import rows_of
from dpo.dashboard.training.callbacks import watched
from dpo.runs import open_run, trash
from dpo.runs.record import METRICS, RUN
from dpo.runs.trainer_logs import Logged, state_of
from dpo.runs.watching import event_of
from dpo.training.jobs import Jobs

YEAR = 365 * 86_400.0


def next_year(*paths: Path) -> None:
    """As files are after the clock was set back."""
    for path in paths:
        os.utime(path, (time.time() + YEAR,) * 2)


def test_runs_of_next_year_are_not_news_and_one_that_trains_is_seen(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", state="finished", created="2099-01-01T00:00:00+00:00")
    reader = RunReader([tmp_path])
    assert [seen["event"] for seen in watched(reader, reader.look())] == ["finished"]
    next_year(path / RUN, path / METRICS)
    reader.forget()
    assert watched(reader, reader.look()) == [] and event_of(open_run(path), None) is None
    assert [row["path"] for row in rows_of(reader)] == [str(path)]
    # Its record is from before the clock was set back, its last row from now: it trains; and later it stands still.
    write_run(tmp_path / "live", state="running", host="elsewhere")
    live = open_run(tmp_path / "live")
    next_year(live.path / RUN)
    assert event_of(live, live.metrics()) == "running"
    assert event_of(live, live.metrics(), now=time.time() + YEAR / 2) == "stalled"
    assert state_of(Logged(), time.time() + YEAR)[1] == state_of(Logged(), time.time() - YEAR)[1]


def test_a_queue_that_was_woken_next_year_is_woken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Jobs(tmp_path)
    put(queue, "1-a", ["runs", "list"], tmp_path / "a")
    begun: list[str] = []
    monkeypatch.setattr(Jobs, "work", lambda self: begun.append("worker"))
    queue.wake()
    queue.wake()
    assert begun == ["worker"]  # one that was woken a moment ago is given time
    next_year(queue.directory / ".woken")
    queue.wake()
    assert begun == ["worker", "worker"]


def test_the_trash_of_next_year_can_be_seen_brought_back_and_emptied(tmp_path: Path) -> None:
    for name in ("a", "b"):
        trash.discard(open_run(write_run(tmp_path / name)), [tmp_path])
    for entry in trash.deleted([tmp_path]):
        [origin] = [file for file in entry.place.glob("*.json") if "origin" in json.loads(file.read_text())]
        origin.write_text(json.dumps(json.loads(origin.read_text()) | {"when": time.time() + YEAR}))
    entries = trash.deleted([tmp_path])
    assert all("deleted in the future" in str(trash_box._row(entry, True)) for entry in entries)
    assert trash.empty([tmp_path], older=30) == 0
    trash.restore(entries[0].ident, [tmp_path])
    assert trash.empty([tmp_path]) == 1 and trash.deleted([tmp_path]) == []


def polled(client: FlaskClient) -> tuple[int, int]:
    """How many runs Training and the queue's list tell of."""
    state, jobs = client.get("/api/training"), client.get("/api/jobs")
    assert state.status_code == jobs.status_code == 200
    return int(state.get_json()["signature"].partition("-")[0]), len(jobs.get_json()["jobs"])


def test_a_directory_of_runs_that_is_moved_away_comes_back(tmp_path: Path) -> None:
    home, away = tmp_path / "runs", tmp_path / "away"
    path = write_run(home / "run", state="finished")
    put(Jobs(home), "1-a", ["runs", "list"], home / "a")
    for name, content in (("process.json", {"pid": 2**22 + 1, "born": 1.0}), ("exit.json", {"code": 0, "time": 1.0})):
        (home / ".jobs" / "1-a" / name).write_text(json.dumps(content))  # over: no worker is begun
    app = create_app([home], votes=tmp_path / "votes.sqlite")
    client = app.server.test_client()
    view = {"runs": [str(path)], "axis": "Step", "smoothing": 0, "unit": "", "summary": True, "charts": {"loss": None}}
    assert polled(client) == (1, 1)
    drawn = client.post("/api/curves", json=view)
    for _ in range(2):
        home.rename(away)
        assert polled(client) == (0, 0)
        assert rows_of(app.workbench.runs) == []
        gone = client.post("/api/curves", json=view)
        assert gone.status_code < 500 and "holds no run" in gone.get_data(as_text=True)
        for page in ("/", "/runs", "/training", "/evaluate"):
            assert client.get(page).status_code == 200
        assert not home.exists()  # nothing was made anew in its place
        away.rename(home)
        assert polled(client) == (1, 1) and len(rows_of(app.workbench.runs)) == 1
        assert client.post("/api/curves", json=view).get_json() == drawn.get_json()
    for service in app.server.config["services"]:
        service.close()
