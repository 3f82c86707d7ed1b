"""`dpo` commands in processes of their own, forked from a server that has the libraries loaded.

Importing PyTorch, transformers and TRL costs five seconds of a core, more than most trainings of the tests; a child of
`multiprocessing`'s fork server has them at once.  It is a real process with a number, signals and an exit code of its
own.  What is about the start itself (noise while importing, the installed program, an address of the hub, which is
read once) starts an interpreter instead.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["dpo.cli.main", "dpo.training.recipes.dpo", "dpo.training.recipes.sft"])
_READ_ONCE = ("HF_", "TRANSFORMERS_", "OMP_", "CUDA_", "PYTHON")  # at the start, or while libraries are imported


class Command:
    """A process under way, with the names of `subprocess.Popen`."""

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
        self.args = list(call)
        self._output = tempfile.TemporaryDirectory()
        self._files = [Path(self._output.name) / name for name in ("in", "out", "err")]
        for path, text in zip(self._files, (typed, "", ""), strict=True):
            path.write_text(text, encoding="utf-8")
        arguments = (self.args, [str(path) for path in self._files], environment, str(cwd or Path.cwd()))
        self._process = _SERVER.Process(target=_run, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As `returncode`."""
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process is over."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

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


def _run(call: list[str], files: list[str], environment: dict[str, str], directory: str) -> None:
    """What the child does; the fork server's own output and directory are not its."""
    for number, path in enumerate(files):
        opened = os.open(path, os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (for as long as the process lives)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    if call[0].endswith(".py"):
        sys.argv = call
        runpy.run_path(call[0], run_name="__main__")
        return
    from dpo.cli.main import main

    sys.argv = ["dpo", *call]
    sys.exit(main())
