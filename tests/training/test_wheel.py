"""The wheel: installed by pip into an environment of its own, it serves the whole dashboard without the checkout."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.xdist_group("wheel")  # built once
MOST_BYTES = 80 * 2**20
JSON = {"Content-Type": "application/json"}
BUILD = "import sys; from poetry.core.masonry.api import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    target = tmp_path_factory.mktemp("dist")
    built = subprocess.run([sys.executable, "-c", BUILD, str(target)], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return target / built.stdout.split()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of programs of an environment that has the wheel, and beside it what it depends on."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=True)
    programs = home / "bin"
    # What it depends on is there already, and takes minutes to install.
    subprocess.run([programs / "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    # A path in a .pth file: the .pth files in there, which may name this checkout, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    yield programs
    shutil.rmtree(home)


def test_it_holds_every_file_of_the_three_directories(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    for directory, prefix in (("dpo", ""), ("assets", "dpo/"), ("configs", "dpo/")):
        files = [path for path in (ROOT / directory).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {prefix + path.relative_to(ROOT).as_posix() for path in files} <= inside
    assert any(name.endswith("/licenses/NOTICE") for name in inside)  # the bundled policies' licence asks for it
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 2**20:.1f} MB")
    assert size < MOST_BYTES


class _Server:
    """`dpo serve` of an environment, in an empty directory."""

    def __init__(self, programs: Path, directory: Path, *flags: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [programs / "dpo", "serve", "--port", str(self.port), *flags]
        self.process = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert f"http://127.0.0.1:{self.port} " in self.process.stdout.readline()

    def ask(self, path: str, body: Any = None, page: str = "/") -> bytes:
        """The body of an answer that must be 200, asked from the page at `page`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Referer": f"http://127.0.0.1:{self.port}{page}"} | (JSON if body is not None else {})
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        read = answer.read()
        assert answer.status == 200 and read, (path, answer.status, read[:300])
        return read

    def close(self) -> None:
        """End it as Ctrl-C does."""
        self.process.terminate()
        assert self.process.wait(60) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def server(installed: Path, tmp_path: Path) -> Iterator[_Server]:
    started = _Server(installed, tmp_path)
    yield started
    started.close()


def test_it_serves_the_whole_dashboard(server: _Server, installed: Path, tmp_path: Path) -> None:
    found = subprocess.run(
        [installed / "python", "-c", "import dpo; print(dpo.__file__)"], cwd=tmp_path, capture_output=True, text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    ).stdout  # fmt: skip
    assert Path(found.strip()).is_relative_to(installed.parent)  # not the checkout

    document = server.ask("/").decode()
    links = sorted(set(re.findall(r'(?:href|src)="(/assets/[^"]+)"', document)))
    assert any(link.partition("?")[0].endswith(".js") for link in links)
    styles = b"".join(server.ask(link) for link in links if ".css" in link).decode()
    for link in links:
        server.ask(link)
    fonts = set(re.findall(r"url\([\"']?(?:/assets/)?(fonts/[^)\"']+)", styles))
    assert len(fonts) >= 5
    for font in fonts:
        assert server.ask(f"/assets/{font}")[:4] == b"wOF2"
    [plotly] = [path.name for path in (ROOT / "assets" / "vendor").glob("plotly*.js")]
    server.ask(f"/assets/vendor/{plotly}")

    layout = json.dumps(json.loads(server.ask("/_dash-layout")))
    pages = sorted(set(re.findall(r'"href": "(/[a-z]*)"', layout)))
    assert len(pages) >= 5
    for page in pages:
        layout = server.ask("/_dash-layout", page=page).decode()
        assert layout.count("page-opening") == len(pages) - 1  # all others are opened when they are visited

    presets = json.loads(server.ask("/api/jobs/form"))["presets"]
    assert {path.stem for path in (ROOT / "configs").glob("*.yaml")} < {preset["name"] for preset in presets}
    bundled = [path for path in (ROOT / "dpo" / "demo" / "runs").iterdir() if (path / "run.json").is_file()]
    assert json.loads(server.ask("/api/training"))["text"] == f"{len(bundled)} runs"
    asked = {"prompt": "Do you like tea?", "policies": ["demo/gpt2-dpo"], "max_new_tokens": 4}
    answer = server.ask("/api/generate", asked).decode()
    assert "event: token" in answer and "event: failed" not in answer and "event: finished" in answer
