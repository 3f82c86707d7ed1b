"""The wheel, by the Dockerfile's steps: built from what it copies, installed by pip, started as a container starts it.

There is no Docker here: what a step does to the container itself (its user, its volume) is read, and the steps that are
this project's run, in an environment and an empty directory of their own, from which the checkout can't be imported.
"""

from __future__ import annotations

import fnmatch
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from dpo.cli.main import parser
from dpo.dashboard.web.modules import Modules

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.xdist_group("wheel")  # built once
MOST_BYTES = 80 * 2**20
JSON = {"Content-Type": "application/json"}


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile in order: each one's name and what follows it."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line)]


def only(instruction: str) -> str:
    """What follows an instruction that stands once."""
    [found] = [rest for name, rest in dockerfile() if name == instruction]
    return found


class _Environment:
    """A virtual environment, and directories that stand for /src and /dist of the image."""

    def __init__(self, home: Path) -> None:
        self.home, self.programs = home / "environment", home / "environment" / "bin"
        self.places = {"/src": home / "src", "/dist": home / "dist"}
        for place in self.places.values():
            place.mkdir()
        venv.create(self.home)
        pip = self.programs / "pip"  # ours, which works on the other environment: installing one there takes as long
        pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip --python {self.programs / "python"} "$@"\n')
        pip.chmod(0o755)

    def run(self, command: str, **variables: str) -> None:
        """A RUN line in a shell, as a build runs it, in the place of /src; pip asks no index."""
        for name, place in self.places.items():
            command = re.sub(rf"(?<![\w.]){name}\b", str(place), command)
        done = subprocess.run(
            ["sh", "-ec", command], cwd=self.places["/src"], capture_output=True, text=True,
            env=_outside(PATH=f"{self.programs}:{os.environ['PATH']}", PIP_NO_INDEX="1", **variables),
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)


def _outside(**variables: str) -> dict[str, str]:
    """This process's environment without the way to the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Environment]:
    """An environment in which the project's steps of the Dockerfile were run."""
    made = _Environment(tmp_path_factory.mktemp("image"))
    dependencies = sysconfig.get_path("purelib")
    for name, rest in dockerfile():
        if name == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            for source in sources:
                _copy(ROOT / source, made.places["/src"] / target)
        elif name == "RUN" and rest.startswith("pip wheel"):
            # pip's odd way to say --no-build-isolation: Poetry's core is at hand, and asked of no index.
            made.run(rest, PIP_NO_BUILD_ISOLATION="0", PYTHONPATH=dependencies)
        elif name == "RUN" and rest.startswith("pip install"):
            # What it depends on is at hand, and takes minutes to install.
            made.run(rest, PIP_NO_DEPS="1", TORCH_INDEX="unused")
    # A path in a .pth file: the .pth files in there, which may name this checkout, are not read.
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(made.home)}))
    (packages / "dependencies.pth").write_text(dependencies + "\n")
    yield made
    shutil.rmtree(made.home)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def test_the_wheel_holds_every_file_of_the_four_directories(environment: _Environment) -> None:
    [wheel] = environment.places["/dist"].glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    for directory, prefix in (("dpo", ""), ("assets", "dpo/"), ("configs", "dpo/"), ("docs", "dpo/")):
        files = [path for path in (ROOT / directory).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {prefix + path.relative_to(ROOT).as_posix() for path in files} <= inside
    assert any(name.endswith("/licenses/NOTICE") for name in inside)  # the bundled policies' licence asks for it
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 2**20:.1f} MB")
    assert size < MOST_BYTES


def test_the_image_has_the_locked_versions_of_all_dependencies(environment: _Environment) -> None:
    lines = (environment.places["/dist"] / "constraints.txt").read_text().split()
    locked = dict(line.split("==") for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in map(Requirement, project["dependencies"]):
        assert locked[requirement.name] in requirement.specifier, requirement


def test_the_image_is_what_the_guide_says() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    sent = [line[1:] for line in ignored if line.startswith("!")]
    for name, rest in dockerfile():
        if name == "COPY" and not rest.startswith("--from"):
            assert all(any(fnmatch.fnmatch(source, line) for line in sent) for source in rest.split()[:-1]), rest
    assert only("USER") == "dpo" and only("VOLUME") == "/home/dpo/runs" and only("EXPOSE") == "8050"
    user = next(rest for name, rest in dockerfile() if name == "RUN" and "useradd" in rest)
    assert "/home/dpo/runs" in user  # owned by the user before it becomes a volume
    guide = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    arguments = {rest.partition("=")[0] for name, rest in dockerfile() if name == "ARG"}
    assert set(re.findall(r"--build-arg (\w+)", guide)) == arguments
    for text in (guide, (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / "Dockerfile").read_text()):
        assert set(re.findall(r"-p 127\.0\.0\.1:8050:(\d+)", text)) == {only("EXPOSE")}
        assert set(re.findall(r"-v dpo-runs:(\S+)", text)) == {only("VOLUME")}
    commands = re.findall(r"docker run .* dpo-workbench (\w.*)", guide)
    assert len(commands) == 4
    for command in [*commands, " ".join(json.loads(only("CMD")))]:
        assert callable(parser().parse_args(command.split()).call)


class _Server:
    """The image's command, in an empty directory and on a free port."""

    def __init__(self, environment: _Environment, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        command = [*json.loads(only("ENTRYPOINT")), *json.loads(only("CMD")), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [environment.programs / command[0], *command[1:], "--allow-training"], cwd=directory, env=_outside(),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        lines = iter(self.process.stdout.readline, "")
        assert any(f"http://127.0.0.1:{self.port} " in line for line in lines), "the server ended"

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
        """End it as `docker stop` does."""
        self.process.terminate()
        assert self.process.wait(60) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def server(environment: _Environment, tmp_path: Path) -> Iterator[_Server]:
    started = _Server(environment, tmp_path)
    yield started
    started.close()


def test_the_installed_wheel_serves_the_whole_dashboard(
    server: _Server, environment: _Environment, tmp_path: Path
) -> None:
    found = subprocess.run(
        [environment.programs / "python", "-c", "import dpo; print(dpo.__file__)"], cwd=tmp_path, env=_outside(),
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert Path(found.strip()).is_relative_to(environment.home)  # not the checkout

    document = server.ask("/").decode()
    links = sorted(set(re.findall(r'(?:href|src)="(/(?:assets|modules)/[^"]+)"', document)))
    modules = {link.split("/", 3)[3] for link in links if link.startswith("/modules/")}
    assert modules == set(Modules(ROOT / "assets").first())
    version = links[-1].split("/")[2]
    for name in Modules(ROOT / "assets").files():
        server.ask(f"/modules/{version}/{name}")
    styles = b"".join(server.ask(link) for link in links if ".css" in link).decode()
    for link in links:
        server.ask(link)
    fonts = set(re.findall(r"url\([\"']?(?:/assets/)?(fonts/[^)\"']+)", styles))
    assert len(fonts) >= 5
    for font in fonts:
        assert server.ask(f"/assets/{font}")[:4] == b"wOF2"
    modules = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "assets" / "js").rglob("*.js"))
    assert len(modules) > 10
    for module in modules:
        server.ask(f"/{module}")
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

    _, _, check = only("HEALTHCHECK").partition("CMD ")
    program, *rest = [part.replace(":8050/", f":{server.port}/") for part in json.loads(check)]
    subprocess.run([environment.programs / program, *rest], env=_outside(), cwd=tmp_path, check=True)
