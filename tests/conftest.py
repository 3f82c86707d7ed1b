"""Shared by all layers: no network, few threads, tiny policies, real data where it is at hand."""

from __future__ import annotations

import os
import tempfile

# Before any library reads it: tests never reach for the hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DPO_CACHE"] = tempfile.mkdtemp(prefix="dpo-tests-")  # the user's own cache is not ours to fill

import gc
import json
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A shell starts background jobs with Ctrl-C ignored, nohup also with the end of the terminal ignored, and the programs
# that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Time limits measure the machine, not the code.
hypothesis.settings.register_profile("dpo", deadline=None)
hypothesis.settings.load_profile("dpo")

pytest_plugins = ["processor_time"]

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("DPO_SHARED", ROOT.parent / "shared"))


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where tests run in several processes, those that share something costly stay in one.

    That is a Chromium for the browser tests of a file, what a fixture makes for a module, and the evaluated policies.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None and (group := _shares(item)):
            item.add_marker(pytest.mark.xdist_group(group))
    if hasattr(config, "workerinput"):
        items[:] = _mixed(items)


def _shares(item: pytest.Item) -> str | None:
    """With which tests it shares something, by a name for all of them."""
    fixtures = getattr(item, "_fixtureinfo", None)  # pytest tells a fixture's scope nowhere else
    known = fixtures.name2fixturedefs if fixtures else {}
    if "tuned_home" in known:
        return "tuned_home"
    if item.path.parent.name == "browser" or any(found[-1].scope == "module" for found in known.values()):
        return str(item.path)
    return None


def _mixed(items: list[pytest.Item]) -> list[pytest.Item]:
    """The order for several processes: files of browser tests spread over the trainings, short tests at the end.

    A browser test waits for two thirds of its time and a training never does, so that one does best beside the other;
    and what is short comes last, since then all processes end at once.
    """
    files: dict[str, list[pytest.Item]] = {}
    trainings: list[pytest.Item] = []
    short: list[pytest.Item] = []
    for item in items:
        room = item.path.parent.name
        if room == "browser":
            files.setdefault(item.path.stem, []).append(item)
        else:
            (short if room == "unit" else trainings).append(item)
    mixed: list[pytest.Item] = []
    for done, file in enumerate(sorted(files.values(), key=len, reverse=True)):
        until = len(trainings) * (done + 1) // len(files)
        mixed += [*file, *trainings[len(trainings) * done // len(files) : until]]
    return [*(mixed or trainings), *short]


def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Fork the test processes from one that has the libraries loaded, which each would spend fifteen seconds on."""
    if config.pluginmanager.hasplugin("_cov"):  # lines that run while a module is imported count where it looks on
        return
    import fork_server

    server = fork_server.started(fork_server.LOADED_FOR_TESTS)
    for spec in specs:
        spec.python = shlex.join(fork_server.stand_in(server))


def pytest_collection_finish() -> None:
    """What is loaded by now stays.  Trainings call `gc.collect()` often, and each looked at all objects of PyTorch."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU: PyTorch sees no CUDA device here")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real rows and vocabularies, for tests that want them beside their own data."""
    if not SHARED.is_dir():
        pytest.skip("real preference rows are not at hand (DPO_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def policy_dirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of a tiny T5 and a tiny GPT-2."""
    from tiny import save_tiny

    root = tmp_path_factory.mktemp("policies")
    return {family: save_tiny(family, root / family) for family in ("t5", "gpt2")}


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs and trials that this process starts are forked from a server that has PyTorch loaded (`fork_server`).

    `tests/browser/test_restart.py` and `tests/unit/test_jobs.py` start interpreters, as users do.
    """
    import fork_server

    for module in ("dpo.training.jobs", "dpo.training.sweep"):
        monkeypatch.setattr(f"{module}.start_python", fork_server.start_python)


@pytest.fixture
def write_pairs(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as JSON lines and return the file's path."""

    def write(rows: list[dict[str, Any]], name: str = "pairs.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write
