"""A run that is killed, stopped or damaged and then resumed ends as one that was left alone, or says why it cannot."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import termios
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import SIGHUP, SIGINT, SIGKILL, SIGTERM, differences, fork, killed_at, watch_writes, writes_of
from resuming import go_on, one_thread, starting

from dpo.errors import StorageError
from dpo.runs import open_run
from dpo.training.checkpoints import staged

__all__ = ["one_thread"]  # the fixture acts here too

# How many moments to kill at, in place of the few of every day: a number, or "all".
KILLS = os.environ.get("DPO_KILL_MOMENTS", "")
MOVING = {"sync_ref_model": True, "ref_model_sync_steps": 1, "probes": 0, "kl_prompts": 0}


def moments(writes: list[str], most: int) -> list[int]:
    """Numbers of writes at which to kill: the first of each kind, so that every stage comes in, then evenly spread."""
    if KILLS == "all":
        return list(range(1, len(writes) + 1))
    most = int(KILLS or most)
    stages = (
        "open /.run.json", "/samples", "/metrics", "manifest.json", "os.rename /.saving/checkpoint",
        "/policy/README", "rmdir /.scratch",
    )  # fmt: skip
    last = [max((index for index, what in enumerate(writes, 1) if stage in what), default=1) for stage in stages]
    spread = [1 + round(index * (len(writes) - 1) / (most - len(last) - 1)) for index in range(most - len(last))]
    return sorted({*last, *spread})


@pytest.mark.parametrize(
    ("family", "settings", "most"),
    [
        pytest.param("gpt2", {}, 9, id="gpt2-linear"),
        pytest.param("gpt2", {}, 16, id="gpt2-linear-more", marks=pytest.mark.slow),
        pytest.param("t5", {"schedule": "constant"}, 11, id="t5-constant", marks=pytest.mark.slow),
        pytest.param("gpt2", MOVING, 9, id="gpt2-moving-reference"),
    ],
)
def test_a_kill_at_any_write_changes_nothing(
    family: str, settings: dict[str, Any], most: int, policy_dirs: dict[str, Path], tmp_path: Path
) -> None:
    start, log = starting(policy_dirs[family], **settings), tmp_path / "log"
    whole = tmp_path / "whole"
    writes = writes_of(start(whole), whole, log)
    for number in moments(writes, most):
        out = tmp_path / f"killed-{number}"
        killed = fork(killed_at(number, SIGKILL, start(out), out), log)
        what = f"killed at write {number} of {len(writes)}, {writes[number - 1]}"
        assert killed == -SIGKILL, (what, killed, log.read_text())
        assert go_on(out, start, log) == 0, (what, log.read_text())
        assert differences(whole, out) == [], what
        shutil.rmtree(out)


def test_a_signal_is_heard_from_the_first_file_to_the_last(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    start, log = starting(policy_dirs["gpt2"]), tmp_path / "log"
    whole = tmp_path / "whole"
    writes = writes_of(start(whole), whole, log)

    def first(what: str) -> int:
        return next(number for number, write in enumerate(writes, 1) if what in write)

    cases = [
        (SIGTERM, first("/.scratch"), 2, None, "Stopped before the first update: nothing was written"),
        (SIGINT, first("audit.json"), 2, "stopped", "Stopped at once; go on with: dpo train --resume"),
        (SIGHUP, first("/samples"), 0, "stopped", "Stopping after this step, saving first"),
        (SIGHUP, first("/metrics") + 3, 0, "stopped", "Stopping after this step, saving first"),
        (SIGTERM, first("/.saving/policy/config"), 0, "finished", "Saving the policy first"),
    ]
    for sign, number, code, state, line in cases:
        out, what = tmp_path / f"{sign.name}-{number}", (sign.name, writes[number - 1])
        assert fork(killed_at(number, sign, start(out), out), log) == code, (what, log.read_text())
        output = log.read_text()
        assert line in output and "Traceback" not in output, (what, output)
        if state is None:
            assert not out.exists()
            continue
        assert open_run(out).state == state, what
        assert go_on(out, start, log) == 0, log.read_text()
        assert differences(whole, out) == [], what


def test_a_closed_terminal_saves_the_run(policy_dirs: dict[str, Path], tmp_path: Path) -> None:
    """The kernel sends SIGHUP, and whatever is written to the terminal from then on fails."""
    out = tmp_path / "run"
    start = starting(policy_dirs["gpt2"], max_steps=500, save_steps=500, eval_steps=500)
    terminal, slave = pty.openpty()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 99
        try:
            os.close(terminal)
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for number in (0, 1, 2):
                os.dup2(slave, number)
            watch_writes(out, lambda count, what: None if "/metrics" not in what else str(os.write(writing, b".")))
            code = start(out)()
        finally:
            os._exit(code)
    os.close(slave)
    while reading not in select.select([terminal, reading], [], [])[0]:
        os.read(terminal, 65536)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    run = open_run(out)
    assert run.state == "stopped" and len(run.checkpoints) == 1 and run.progress["step"] < 500


def test_a_full_disk_is_told_in_one_line_whatever_torch_calls_it(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="policy could not be saved"), staged(tmp_path / "policy"):
        torch.save(torch.zeros(2**20), "/dev/full")
    assert not (tmp_path / "policy").exists()
