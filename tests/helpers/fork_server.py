"""Processes forked from a server that has the libraries loaded: what an interpreter does, without its start.

Importing PyTorch, transformers and TRL costs five seconds of a core, more than most trainings of the tests.  What is
forked is a real process with a number, signals and an exit code of its own, and lives on when whoever asked for it
dies.  What it starts in turn (a queue its trainings, a sweep its trials) is forked from the same server.

With `pytest -n` the test processes themselves are forked from one such server, and each has a fork of it to ask.
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
import tomllib
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

LOADED = (
    "dpo.cli.main", "dpo.training.recipes.dpo", "dpo.training.recipes.sft", "dpo.training.jobs", "dpo.training.sweep",
    "dpo.evaluation.comparison.work", "transformers.models.gpt2.modeling_gpt2", "transformers.models.t5.modeling_t5",
    "torch.utils.tensorboard", "sklearn.linear_model", "dpo.preferences.audit.language",
)  # fmt: skip
# What test processes import as well, at the latest in one of their first tests.
LOADED_FOR_TESTS = (
    *LOADED, "dpo.dashboard.application", "playwright.sync_api", "waitress.server", "peft", "scipy.stats",
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
    return _address or started()


def _listen() -> tuple[socket.socket, str]:
    """A new socket of a server, and its address."""
    address = f"{tempfile.mkdtemp(prefix='dpo-fork-')}/socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    return listener, address


def started(names: Sequence[str] = LOADED) -> str:
    """The address of a new server that has these modules loaded; it ends with this process."""
    listener, address = _listen()
    with listener:
        process = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), address, *names], stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )  # fmt: skip
    atexit.register(process.wait)
    atexit.register(process.stdin.close)  # type: ignore[union-attr]
    return address


def start_python(arguments: Sequence[str], output: IO[bytes], directory: str | None = None) -> Forked:
    """In the place of `dpo.processes.start_python`."""
    request = {"arguments": list(arguments), "directory": directory or os.getcwd(), "environment": dict(os.environ)}
    with open(os.devnull, "rb") as nothing:
        files = [nothing.fileno(), output.fileno(), output.fileno()]
        return Forked(server(), {**request, "session": True}, files)


def stand_in(address: str) -> list[str]:
    """The command that is an interpreter to whoever starts it: what it is to run, a fork of that server runs."""
    return [sys.executable, __file__, address]


def _stand_in(address: str, arguments: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for what was forked
    request = {
        "arguments": arguments, "directory": os.getcwd(), "environment": dict(os.environ), "session": False,
    }  # fmt: skip
    return Forked(address, request, [0, 1, 2]).wait()


def _split() -> None:
    """Fork a server of its own off this process, before it starts threads or loads what others shall not have."""
    global _address
    listener, address = _listen()
    reading, writing = os.pipe()
    if os.fork():
        listener.close()
        os.close(reading)  # `writing` stays open until this process ends, and then the server ends
        _address = address
        return
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)
    with open(os.devnull, "wb") as nothing:  # else whoever reads what this process writes would wait for the server too
        os.dup2(nothing.fileno(), 1)
    _answer(listener, address)
    os._exit(0)


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
    if arguments[0] == "-c":  # a process of pytest-xdist
        _split()
        exec(arguments[1], {"__name__": "__main__"})
        return 0
    for starts in _STARTS:
        sys.modules[starts].start_python = start_python  # type: ignore[attr-defined]
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


def _answer(listener: socket.socket, address: str) -> None:
    """Serve under this address; what is forked ends within."""
    global _address
    _address = address
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who wait for what was forked
    for request, files in _serve(listener):
        _begin(request, files)
        _end(request["arguments"])


def _load(names: Sequence[str]) -> None:
    """Import modules as pytest does: what a library gives up is an error here too."""
    project = Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(project))
    options = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    from _pytest.config import apply_warning_filters

    with warnings.catch_warnings():
        apply_warning_filters(options["filterwarnings"], [])
        for name in names:
            importlib.import_module(name)
    language = sys.modules["dpo.preferences.audit.language"]  # reads its model for a text that is long enough
    language.language_of("Do you like tea, or would you rather have a cup of coffee?")
    gc.freeze()


def _main(arguments: list[str]) -> int:
    """A server, given a listening socket's number, its address and modules; else what stands in for an interpreter."""
    if not arguments[0].isdigit():
        return _stand_in(arguments[0], arguments[1:])
    number, address, *names = arguments
    _load(names)
    _answer(socket.socket(fileno=int(number)), address)
    return 0


if __name__ == "__main__":
    sys.modules["fork_server"] = sys.modules["__main__"]
    raise SystemExit(_main(sys.argv[1:]))
