"""What many viewers ask for at once is made once, and never older than their question."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dpo.dashboard.listing import Lister
from dpo.dashboard.run_reader import RunReader
from dpo.dashboard.training.drawing import draw
from dpo.dashboard.training.sketches import Sketches
from dpo.runs import find_runs
from dpo.runs.find import names
from dpo.serving.shared import Lately, Shared


def run(folder: Path, name: str, rows: int = 3, state: str = "finished") -> Path:
    """A small record."""
    path = folder / name
    path.mkdir(parents=True)
    about = {"format": 1, "name": name.split("~")[0], "kind": "dpo", "family": "gpt2", "state": state,
             "created": "2026-11-25", "pid": os.getpid(), "host": socket.gethostname(), "config": {}}  # fmt: skip
    (path / "run.json").write_text(json.dumps(about))
    (path / "metrics.jsonl").write_text("".join(row(step) for step in range(rows)))
    return path


def row(step: int) -> str:
    return json.dumps({"step": step, "loss": 0.7 - step / 1000}) + "\n"


def test_whoever_waits_shares_and_nobody_gets_what_was_begun_before_he_asked() -> None:
    shared: Shared[int] = Shared()
    begun, go = threading.Semaphore(0), threading.Semaphore(0)
    made: list[int] = []

    def make() -> int:
        begun.release()
        go.acquire()
        made.append(len(made))
        return made[-1]

    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(shared.get, "key", make)
        begun.acquire()
        later = [pool.submit(shared.get, "key", make) for _ in range(8)]
        # One of the eight waits for its turn, seven for what it will make.
        while "key" not in shared._waiting or len(shared._waiting["key"]._condition._waiters) < 7:  # type: ignore[attr-defined]
            time.sleep(0.001)
        go.release(2)
        assert first.result(10) == 0
        assert [answer.result(10) for answer in later] == [1] * 8
    assert not shared._turns and not shared._waiting

    def fails() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        shared.get("key", fails)
    lately: Lately[int] = Lately(2)
    with pytest.raises(ValueError, match="no"):
        lately.get("a", fails)
    assert [lately.get(key, iter([value]).__next__) for key, value in [("a", 1), ("b", 2), ("a", 3), ("c", 4)]] == [
        1, 2, 1, 4
    ]  # fmt: skip
    assert lately.get("b", iter([5]).__next__) == 5  # forgotten for c


def test_a_listing_tells_every_change(tmp_path: Path) -> None:
    lister, seen = Lister([tmp_path]), set()

    def changed() -> tuple[str, str, str]:
        now = lister.look()
        seen.add(now.signature)
        return now.signature, now.names, now.answers

    first = run(tmp_path, "one", state="running")
    at_first = changed()
    with (first / "metrics.jsonl").open("a") as file:
        file.write(row(9))
    grown = changed()
    assert grown[0] != at_first[0] and grown[1:] == at_first[1:]
    (first / "samples.jsonl").write_text("{}\n")
    assert changed()[2] != grown[2]
    run(tmp_path, "two")
    assert [each.name for each in lister.look().runs] == [each.name for each in find_runs([tmp_path])]
    changed()
    (first / "run.json").write_text((first / "run.json").read_text().replace('"running"', '"finished"'))
    assert lister.look().states[str(first)] == "finished"
    changed()
    (first / "run.json").write_text("{")
    assert lister.look().states[str(first)] == "damaged"
    changed()
    (first / "run.json").unlink()
    changed()
    assert [each.name for each in lister.look().runs] == ["two"]
    assert len(seen) == 7


def test_a_view_is_drawn_once_and_anew_after_every_row(tmp_path: Path) -> None:
    path = run(tmp_path, "one", 30)
    reader, drawn = RunReader([tmp_path]), []

    def counted(asked: Any, reader: RunReader) -> dict[str, Any]:
        drawn.append(asked)
        return draw(asked, reader)

    sketches = Sketches(counted, reader)
    asked = {"runs": [str(path)], "axis": "Step", "smoothing": 60, "charts": {"loss": None, "lr": None}}
    content, tag = sketches.answer(asked)
    assert json.loads(content) == json.loads(json.dumps(draw(asked, RunReader([tmp_path])), default=list))
    assert sketches.answer(asked) == (content, tag) and len(drawn) == 1
    known = {chart["key"]: chart["revision"] for chart in json.loads(content)["charts"]}
    assert json.loads(sketches.answer(asked | {"charts": known})[0])["charts"] == [] and len(drawn) == 1
    assert json.loads(sketches.answer(asked | {"charts": known, "summary": True})[0])["summary"]["kpis"]
    assert sketches.answer(asked | {"smoothing": 0})[1] != tag

    with (path / "metrics.jsonl").open("a") as file:
        file.write(row(40))
    [chart] = json.loads(sketches.answer(asked | {"charts": known})[0])["charts"]
    assert chart["key"] == "loss" and chart["figure"]["data"][0]["x"][-1] == 40
    assert sketches.answer(asked | {"runs": ["/elsewhere"]})[1] is None


def test_names_differ_however_many_runs_share_one(tmp_path: Path) -> None:
    for place in ("a/x", "b/x", "c/y"):
        for number in range(2):
            run(tmp_path / place, f"same~{number}")
    run(tmp_path, "alone")
    given = names(find_runs([tmp_path]))
    assert len(set(given)) == len(given) and "alone" in given
    assert {"same (x/same~0)", "same (x/same~0) #2", "same (y/same~1)"} <= set(given)
