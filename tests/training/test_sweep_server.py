"""A sweep's database on a server; needs PostgreSQL's binaries and its driver (the extra `postgresql`)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpo.errors import StorageError
from dpo.training.sweep_storage import open_storage

FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
INITDB = shutil.which("initdb") or (str(FOUND[-1]) if FOUND else None)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    with pytest.raises(StorageError, match=r"driver for Python: pip install 'dpo-workbench\[postgresql\]'"):
        open_storage("postgresql+psycopg://user@127.0.0.1/sweeps")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an empty database on a PostgreSQL of its own."""
    pytest.importorskip("psycopg")
    if INITDB is None:
        pytest.skip("PostgreSQL is not on this machine")
    folder = tmp_path_factory.mktemp("postgresql")
    user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to be root
        user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
        for parent in (folder, *folder.parents[:3]):
            parent.chmod(parent.stat().st_mode | 0o011)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    control = [*user, str(Path(INITDB).with_name("pg_ctl")), "-D", str(folder / "data"), "-w"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([*user, INITDB, "-D", str(folder / "data"), "-A", "trust", "-U", "sweeper"], **quiet)  # type: ignore[call-overload]
    subprocess.run([*control, "-o", options, "-l", str(folder / "log"), "start"], **quiet)  # type: ignore[call-overload]
    yield f"postgresql+psycopg://sweeper@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], **quiet)  # type: ignore[call-overload]


def test_workers_that_begin_at_once_all_find_the_tables(server: str) -> None:
    line = "import sys; from dpo.training.sweep_storage import open_storage as o; o(sys.argv[1]).get_all_studies()"
    begun = [subprocess.Popen([sys.executable, "-c", line, server]) for _ in range(4)]
    assert [process.wait(120) for process in begun] == [0, 0, 0, 0]
