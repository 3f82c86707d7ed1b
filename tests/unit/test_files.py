"""Files are written whole or not at all, and only one module does it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import dpo
from dpo.dashboard.web.access import Access
from dpo.dashboard.web.names import Allowed
from dpo.errors import ConfigError, PolicyError
from dpo.files import replacing, write_atomically, write_json
from dpo.runs import RunRecord, open_run
from dpo.runs.manifest import seal
from dpo.training.preflight import parameters

PACKAGE = Path(dpo.__file__).parent
# Whole folders are put in place by two context managers, every file by `dpo.files`; the trash moves whole runs.
REPLACING = {"files.py", "publishing/directories.py", "training/checkpoints.py", "runs/trash.py"}


def test_nothing_else_writes_beside_and_renames() -> None:
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}
    found = {name for name, text in sources.items() if re.search(r"os\.(replace|rename)\(|NamedTemporaryFile", text)}
    assert found == REPLACING


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"name": "Zoë"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Zoë"}
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        file.flush()
        assert len(os.listdir(tmp_path)) == 2
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["record.json"] and b"Zo" in path.read_bytes()
    write_atomically(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    with pytest.raises(OSError):
        write_atomically(tmp_path / "nowhere" / "x", "x")


def test_a_checkpoint_that_lost_a_file_is_not_shown(tmp_path: Path) -> None:
    RunRecord.create(tmp_path, {"state": "finished"})
    for step in (2, 4, 6):
        checkpoint = tmp_path / f"checkpoint-{step}"
        checkpoint.mkdir()
        (checkpoint / "trainer_state.json").write_text("{}")
        if step > 2:  # the first is of an earlier version
            (checkpoint / "model.safetensors").write_bytes(b"weights")
            seal(checkpoint, step=step)
    (tmp_path / "checkpoint-8").mkdir()
    run = open_run(tmp_path)
    assert [step for step, _ in run.checkpoints] == [2, 4, 6]
    (tmp_path / "checkpoint-4" / "model.safetensors").unlink()
    (tmp_path / "checkpoint-6" / "model.safetensors").write_bytes(b"torn")
    assert [step for step, _ in run.checkpoints] == [2]


def adapter_of(base: str, directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    header = b'{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
    (directory / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    return directory


def test_an_adapter_of_itself_has_no_size(tmp_path: Path) -> None:
    own = adapter_of(str(tmp_path / "own"), tmp_path / "own")
    with pytest.raises(PolicyError, match="without end"):
        parameters(str(own))


opened: list[str] = []


def test_an_adapters_base_elsewhere_is_refused_unread(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.json").write_text('{"is_encoder_decoder": true}')
    adapter_of(str(elsewhere), tmp_path / "runs" / "stranger")
    allowed = Allowed(Access("0.0.0.0"), (tmp_path / "runs",))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(str(elsewhere)):
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)  # for good: no other test opens what lies in this one's folder
    with pytest.raises(ConfigError):
        allowed.policy(str(tmp_path / "runs" / "stranger"))
    assert not opened
