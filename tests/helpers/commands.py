"""`dpo` commands in processes of their own, forked from a server that has the libraries loaded (`fork_server`).

What is about the start itself (noise while importing, the installed program) starts an interpreter instead.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fork_server import Forked, server

_READ_ONCE = ("HF_", "TRANSFORMERS_", "OMP_", "CUDA_", "PYTHON")  # at the start, or while libraries are imported


class Command(Forked):
    """A `dpo` command under way, with the names of `subprocess.Popen`."""

    def __init__(
        self, *call: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, typed: str = ""
    ) -> None:
        """Start `dpo WORDS`, or a script if the first word ends with `.py`; `typed` is its standard input."""
        environment = dict(os.environ if env is None else env)
        changed = [
            name
            for name in {*environment, *os.environ}
            if name.startswith(_READ_ONCE) and environment.get(name) != os.environ.get(name)
        ]
        assert not changed, f"{sorted(changed)} act at the start of an interpreter only: start one"
        self._output = tempfile.TemporaryDirectory()
        self._files = [Path(self._output.name) / name for name in ("in", "out", "err")]
        for path, text in zip(self._files, (typed, "", ""), strict=True):
            path.write_text(text, encoding="utf-8")
        request = {
            "arguments": [*([] if call[0].endswith(".py") else ["-m", "dpo"]), *call], "environment": environment,
            "directory": str(cwd or Path.cwd()), "session": False,
        }  # fmt: skip
        opened = [os.open(path, os.O_WRONLY if number else os.O_RDONLY) for number, path in enumerate(self._files)]
        super().__init__(server(), request, opened)
        for file in opened:
            os.close(file)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it printed and what it complained of, once it is over.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        self.wait(timeout)
        out, err = (path.read_text(encoding="utf-8") for path in self._files[1:])
        return out, err


def run(
    *call: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, typed: str = "", timeout: float = 280.0
) -> subprocess.CompletedProcess[str]:
    """Run `dpo WORDS` to its end.

    Raises:
        subprocess.TimeoutExpired: it did not end; it is killed.
    """
    command = Command(*call, env=env, cwd=cwd, typed=typed)
    try:
        out, err = command.communicate(timeout)
    except subprocess.TimeoutExpired:
        command.kill()
        raise
    return subprocess.CompletedProcess(command.args, command.wait(), out, err)


def run_together(*call: str, count: int, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command in several processes that train together, as `torchrun` starts them; all that they print."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = dict(os.environ if env is None else env)
    shared = environment | {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [Command(*call, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)]
    ends = [command.communicate(280.0) for command in started]
    code = next((command.wait() for command in started if command.wait()), 0)
    return subprocess.CompletedProcess(list(call), code, *map("".join, zip(*ends, strict=True)))
