"""Each file of a checkpoint damaged in turn: it is passed over and named, and a resume ends equal or is refused."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import SIGKILL, differences, fork, killed_at, writes_of
from resuming import Start, go_on, one_thread, starting

from dpo.runs import open_run
from dpo.training.checkpoints import newest_whole, settings_of

__all__ = ["one_thread"]  # the fixture acts here too


@pytest.fixture(scope="module")
def halves(policy_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Start]:
    """A run that was left alone, and one that was killed between its second checkpoint and its end."""
    root = tmp_path_factory.mktemp("halves")
    start, log = starting(policy_dirs["gpt2"], logging_steps=1), root / "log"
    whole, part = root / "whole", root / "part"
    writes = writes_of(start(whole), whole, log)
    at = [number for number, what in enumerate(writes, 1) if "/metrics" in what and "saving" not in what][-1]
    assert fork(killed_at(at, SIGKILL, start(part), part), log) == -SIGKILL, log.read_text()
    assert [step for step, _ in open_run(part).checkpoints] == [2, 4]
    return whole, part, start


class Payload:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def mark_beside(path: Path) -> Path:
    """The file that a payload in a checkpoint makes in the run."""
    return next(parent for parent in path.parents if parent.name.startswith("checkpoint-")).parent / "RAN"


def flipped(path: Path) -> None:
    """One byte is another one."""
    content = bytearray(path.read_bytes())
    content[len(content) * 3 // 4] ^= 0x55
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one byte flipped": flipped,
    "deleted": lambda path: path.unlink(),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Payload(mark_beside(path)))),
    "a pickle of torch": lambda path: torch.save(Payload(mark_beside(path)), path),
}
STRANGERS = ("training_args.bin", "pytorch_model.bin", "adapter_model.safetensors", "evil.py")


def copied(part: Path, to: Path) -> Path:
    """The killed run at another place, as its record says."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(part, to)
    path = to / "run.json"
    path.write_text(path.read_text().replace(str(part), str(to)))
    return to


def test_every_damage_to_a_checkpoint_is_seen(halves: tuple[Path, Path, Start], tmp_path: Path) -> None:
    _, part, _ = halves
    settings = settings_of(open_run(part).config)
    lines: list[str] = []
    assert newest_whole(part, settings, lines.append) == (4, part / "checkpoint-4") and lines == []
    names = [str(path.relative_to(part / "checkpoint-4")) for path in (part / "checkpoint-4").rglob("*.*")]
    assert len(names) >= 12
    cases = [(name, damage) for name in names for damage in DAMAGES]
    cases += [(name, damage) for name in STRANGERS for damage in ("a pickle", "a pickle of torch")]
    for name, damage in cases:
        run = copied(part, tmp_path / "run")
        DAMAGES[damage](run / "checkpoint-4" / name)
        lines.clear()
        found = newest_whole(run, settings, lines.append)
        if (name, damage) == ("manifest.json", "deleted"):  # as in an older version: its files load
            assert found[0] == 4 and "older version" in lines[0]
            continue
        assert found == (2, run / "checkpoint-2"), (name, damage)
        assert len(lines) == 1 and "checkpoint-4" in lines[0], lines
        assert Path(name).name in lines[0] or name == "manifest.json", lines  # it may name another file then
        assert not (run / "RAN").exists()
    # Notes of somebody's own are no damage.
    run = copied(part, tmp_path / "run")
    (run / "checkpoint-4" / "notes.txt").write_text("mine")
    assert newest_whole(run, settings, lines.append)[0] == 4


def test_a_checkpoint_without_a_manifest_is_taken_if_its_files_load(
    halves: tuple[Path, Path, Start], tmp_path: Path
) -> None:
    _, part, _ = halves
    settings = settings_of(open_run(part).config)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        for damage in DAMAGES.keys() - {"one byte flipped"}:  # which nothing but a hash can see
            run = copied(part, tmp_path / "run")
            as_older_version(run)
            DAMAGES[damage](run / "checkpoint-4" / name)
            lines: list[str] = []
            assert newest_whole(run, settings, lines.append)[0] == 2, (name, damage)
            assert name in lines[0] or "weights are missing" in lines[0], lines
            assert not (run / "RAN").exists()
    (run / "checkpoint-99").mkdir()
    shutil.copy(run / "checkpoint-2" / "trainer_state.json", run / "checkpoint-99")
    assert newest_whole(run, settings, lines.append)[0] == 2


def as_older_version(run: Path) -> None:
    """Checkpoints as they were before they had a manifest, rows and sums."""
    for checkpoint in run.glob("checkpoint-*"):
        (checkpoint / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(checkpoint / "rows", ignore_errors=True)
        state = json.loads((checkpoint / "trainer_state.json").read_text())
        for name in ("Sums", "Watch"):
            del state["stateful_callbacks"][name]
        (checkpoint / "trainer_state.json").write_text(json.dumps(state))


def flip_all(run: Path) -> None:
    """No checkpoint is what it was."""
    for checkpoint in run.glob("checkpoint-*"):
        flipped(checkpoint / "model.safetensors")


def change_beta(run: Path) -> None:
    """Another digit in the record."""
    path = run / "run.json"
    path.write_text(path.read_text().replace('"beta": 0.1', '"beta": 0.3'))


RESUMED: dict[str, tuple[Callable[[Path], Any], str | None]] = {
    "weights flipped": (lambda run: flipped(run / "checkpoint-4" / "model.safetensors"), None),
    "optimizer deleted": (lambda run: (run / "checkpoint-4" / "optimizer.pt").unlink(), None),
    "measures emptied": (lambda run: DAMAGES["emptied"](run / "metrics.jsonl"), None),
    "measures deleted": (lambda run: (run / "metrics.jsonl").unlink(), None),
    "answers zeroed": (lambda run: DAMAGES["zeroed"](run / "samples.jsonl"), None),
    "an older version": (as_older_version, None),
    "all flipped": (flip_all, r"No checkpoint of .* is whole: checkpoint-4 \(model.safetensors has changed\)"),
    "another beta": (change_beta, r"has other settings than checkpoint-4 was saved with \(beta\)"),
}


@pytest.mark.parametrize("case", RESUMED)
def test_a_damaged_run_ends_equal_or_is_refused(case: str, halves: tuple[Path, Path, Start], tmp_path: Path) -> None:
    whole, part, start = halves
    run, log = copied(part, tmp_path / "run"), tmp_path / "log"
    harm, refusal = RESUMED[case]
    harm(run)
    code = go_on(run, start, log)
    output = log.read_text()
    assert "Traceback" not in output, output
    if refusal is None:
        assert code == 0, output
        assert differences(whole, run) == []
    else:
        assert code == 2 and re.search(refusal, output.strip().splitlines()[-1]), output
