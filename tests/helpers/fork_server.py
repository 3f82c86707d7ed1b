"""Processes forked from a server that has the libraries loaded: what an interpreter does, without its start.

Importing PyTorch, transformers and TRL costs five seconds of a core, more than most trainings of the tests.  What is
forked is a real process with a number, signals and an exit code of its own, and lives on when whoever asked for it
dies.  What it starts in turn (a queue its trainings, a sweep its trials) is forked from the same server.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

LOADED = (
    "dpo.cli.main", "dpo.training.recipes.dpo", "dpo.training.recipes.sft", "dpo.training.jobs", "dpo.training.sweep",
    "dpo.evaluation.comparison.work", "transformers.models.gpt2.modeling_gpt2", "transformers.models.t5.modeling_t5",
    "torch.utils.tensorboard", "sklearn.linear_model", "dpo.preferences.audit.language",
)  # fmt: skip
_STARTS = ("dpo.training.jobs", "dpo.training.sweep")  # modules that start interpreters
_address = ""  # of the server that this process was forked from


class Forked:
    """A process under way, with the names of `subprocess.Popen`."""

    def __init__(self, address: str, request: Mapping[str, Any], files: Sequence[int]) -> None:
        """Ask the server for it; `files` are its standard input, output and error."""
        self.args = request["arguments"]
        self.returncode: int | None = None
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(address)
        content = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(self._server, [content], list(files))
        self._server.sendall(content[sent:])
        self._answers = self._server.makefile("r", encoding="ascii")
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """The exit code, minus the signal that ended it; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._server.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process is over."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


@functools.cache
def server() -> str:
    """The address of this process's server, which ends with it."""
    return started({})


def started(environment: Mapping[str, str]) -> str:
    """The address of a new server, whose libraries are loaded with further variables; it ends with this process."""
    folder = tempfile.mkdtemp(prefix="dpo-fork-")
    address = f"{folder}/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        process = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), address], stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()], env={**os.environ, **environment},
        )  # fmt: skip
    atexit.register(process.wait)
    atexit.register(process.stdin.close)  # type: ignore[union-attr]
    return address


def start_python(arguments: Sequence[str], output: IO[bytes], directory: str | None = None) -> Forked:
    """In the place of `dpo.processes.start_python`."""
    request = {"arguments": list(arguments), "directory": directory or os.getcwd(), "environment": dict(os.environ)}
    with open(os.devnull, "rb") as nothing:
        files = [nothing.fileno(), output.fileno(), output.fileno()]
        return Forked(_address or server(), {**request, "session": True}, files)


def _begin(request: dict[str, Any], files: list[int]) -> None:
    """What makes a forked child a process of its own."""
    for number, opened in enumerate(files):
        os.dup2(opened, number)
        os.close(opened)
    if request["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (for as long as the process lives)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])


def _run(arguments: list[str]) -> int:
    """What `python ARGUMENTS` does, for a script and for our own modules."""
    if arguments[0] == "-u":
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
        arguments = arguments[1:]
    if arguments[0] != "-m":
        import runpy

        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
        return 0
    _, name, *words = arguments
    sys.argv = [name, *words]
    module = importlib.import_module({"dpo": "dpo.cli.main"}.get(name, name))
    return int(module.main(words) or 0)


def _end(arguments: list[str]) -> None:
    """Run it, and end as an interpreter does, but for taking the libraries down."""
    code = 1
    try:
        code = _run(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined] (waits for threads)
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code & 0xFF)


def _asked(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    content, files, _, _ = socket.recv_fds(connection, 65536, 3)
    while not content.endswith(b"\n"):
        content += connection.recv(65536)
    return json.loads(content), files


def _serve(listener: socket.socket) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Fork for whoever asks, until the process that started the server is gone; in each child, what was asked for."""
    children: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        waiting.register(0, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fd == 0:
                    return
                if key.fd == listener.fileno():
                    connection, _ = listener.accept()
                    request, files = _asked(connection)
                    pid = os.fork()
                    if not pid:
                        waiting.close()
                        for opened in (listener, connection, *(other for _, other in children.values())):
                            opened.close()
                        for handle in children:
                            os.close(handle)
                        yield request, files
                        return
                    for opened_file in files:
                        os.close(opened_file)
                    handle = os.pidfd_open(pid)
                    children[handle] = pid, connection
                    waiting.register(handle, selectors.EVENT_READ)
                    connection.sendall(f"{pid}\n".encode())
                    continue
                pid, connection = children.pop(key.fd)
                waiting.unregister(key.fd)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(OSError), connection:  # who asked may be gone
                    connection.sendall(f"{code}\n".encode())


def _main(number: int, address: str) -> None:
    global _address
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who wait for what was forked
    for name in LOADED:
        importlib.import_module(name)
    language = sys.modules["dpo.preferences.audit.language"]  # reads its model for a text that is long enough
    language.language_of("Do you like tea, or would you rather have a cup of coffee?")
    _address = address
    for name in _STARTS:
        sys.modules[name].start_python = start_python  # type: ignore[attr-defined]
    gc.freeze()
    for request, files in _serve(socket.socket(fileno=number)):
        _begin(request, files)
        _end(request["arguments"])


if __name__ == "__main__":
    sys.modules["fork_server"] = sys.modules["__main__"]
    _main(int(sys.argv[1]), sys.argv[2])
