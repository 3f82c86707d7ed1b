"""Deleted runs: they come back as they were, and a kill in between loses none and halves none."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import fork, killed_at

from dpo.errors import RunError
from dpo.runs import RunRecord, find_runs, open_run
from dpo.runs.manage import annotate
from dpo.runs.trash import FOLDER, deleted, discard, empty, restore


def write(path: Path) -> Path:
    RunRecord.create(path, {"name": path.name, "state": "finished"})
    (path / "policy").mkdir()
    (path / "policy" / "model.safetensors").write_bytes(b"weights")
    return path


def test_a_deleted_run_comes_back_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "sweep" / "a")
    annotate(open_run(path), "the best", tags=["long ", "long", ""], pinned=True)
    before = {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    ident = discard(open_run(path), [tmp_path])
    path.parent.rmdir()
    assert find_runs([tmp_path]) == [] and [entry.name for entry in deleted([tmp_path])] == ["a"]
    write(path)
    with pytest.raises(RunError, match="exists again"):
        restore(ident, [tmp_path])
    discard(open_run(path), [tmp_path])
    run = restore(ident, [tmp_path])
    assert run.path == path and {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert run.marks() == {"note": "the best", "tags": ["long"], "pinned": True}
    with pytest.raises(RunError, match="not in the trash"):
        restore("../../etc", [tmp_path])
    assert empty([tmp_path], older=1) == 0 and empty([tmp_path]) == 1 and deleted([tmp_path]) == []


def test_what_lies_in_the_trash_brings_a_run_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "root"
    ident = discard(open_run(write(root / "a")), [root])
    for origin in (str(tmp_path / "outside"), str(root / ".." / "outside"), 5):
        (root / FOLDER / ident / "origin.json").write_text(json.dumps({"origin": origin}))
        [entry] = deleted([root])
        assert entry.origin == root / ident
    (root / FOLDER / "link").symlink_to(tmp_path)
    assert restore(ident, [root]).path == root / ident


@pytest.mark.parametrize("what", ["discard", "restore", "empty"])
def test_a_kill_at_any_write_loses_no_run(what: str, tmp_path: Path) -> None:
    """A run is whole in its place or whole in the trash; of one that was to be removed nothing is shown."""
    for number in range(1, 30):
        root = tmp_path / str(number)
        path = write(root / "a")
        ident = discard(open_run(path), [root]) if what != "discard" else ""
        acts: dict[str, Callable[[], object]] = {
            "discard": lambda root=root, path=path: discard(open_run(path), [root]),  # type: ignore[misc]
            "restore": lambda root=root, ident=ident: restore(ident, [root]),  # type: ignore[misc]
            "empty": lambda root=root: empty([root]),  # type: ignore[misc]
        }

        def act(call: Callable[[], object] = acts[what]) -> int:
            call()
            return 0

        code = fork(killed_at(number, signal.SIGKILL, act, root), tmp_path / "log")
        found = [path] if path.exists() else []
        found += [entry.place / "run" for entry in deleted([root])]
        for place in found:
            assert (place / "policy" / "model.safetensors").read_bytes() == b"weights" and open_run(place).name == "a"
        assert len(found) == 1 or (what == "empty" and not found)
        empty([root])  # what a kill left is in nobody's way
        assert list(root.glob(f"{FOLDER}/*/run")) == []
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert code == 0 and number > 2
