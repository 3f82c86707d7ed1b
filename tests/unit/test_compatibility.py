"""Which versions `make compat` tries, and that records of earlier versions are read."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from pathlib import Path

import pytest

from dpo.runs import open_run
from dpo.runs.doctor import diagnose
from dpo.runs.find import find_runs
from dpo.training.config import SftConfig, TrainConfig
from scripts.compatibility import TESTS, VARIED, allowed, environment, wanted

RECORDS = Path(__file__).parent.parent / "data" / "records"


def test_the_lowest_and_the_highest_are_the_ends_of_what_pyproject_allows() -> None:
    ranges = allowed()
    lowest, highest = wanted("lowest", ranges), wanted("highest", ranges)
    assert [line.split("==")[0] for line in lowest] == list(VARIED)
    for name, line in zip(VARIED, lowest, strict=True):
        assert ranges[name].specifier.contains(line.split("==")[1])
        assert ranges[name].specifier.contains(importlib.metadata.version(name)), f"the lock has another {name}"
    assert all(">=" in line and "<" in line for line in highest), "no upper end: the next release decides"
    assert all((Path(__file__).parent.parent.parent / test).is_file() for test in TESTS)


def test_the_environment_takes_its_own_package_first_and_the_rest_from_below(tmp_path: Path) -> None:
    below = tmp_path / "below"
    for name, place in (("varied", below), ("other", below)):
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").write_text("where = 'below'\n")
    python = environment(tmp_path / "made", below)
    own = next((tmp_path / "made").glob("lib/python*/site-packages")) / "varied"
    own.mkdir()
    (own / "__init__.py").write_text("where = 'own'\n")
    asked = [python, "-c", "import varied, other; print(varied.where, other.where)"]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split() == ["own", "below"]


@pytest.mark.parametrize("name", sorted(path.name for path in RECORDS.iterdir()))
def test_a_record_of_an_earlier_version_is_read_whole(name: str) -> None:
    run = open_run(RECORDS / name)
    written = json.loads((RECORDS / name / "run.json").read_text(encoding="utf-8"))
    assert run.problems() == [] and run.state == written["state"] and run.config == written["config"]
    assert run.metrics().rows and run.metrics().last("loss") is not None and run.samples()
    assert [found.path for found in find_runs([RECORDS]) if found.name == run.name] == [run.path]
    diagnose(run)
    # With its settings the run could be made, and resumed, again.
    settings = TrainConfig(**written["config"]) if run.kind == "dpo" else SftConfig(**written["config"])
    assert settings.seed == written["config"]["seed"]
