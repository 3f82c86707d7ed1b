"""CONTRIBUTING.md is true: what it names exists, and each of its recipes does what it says, on a copy of the house."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(\w[\w/.-]*\.py)(?::([\w.]+))?`", TEXT)
BLOCK = re.compile(r"```python\n# ([\w/.-]+)(?:, (new|(?:after|before|instead of) `([^\n]+)`))?\n(.*?)```", re.S)
RECIPES = dict(re.findall(r"^### (.+?) \(\d files?\)\n(.*?)(?=^##)", TEXT, re.S | re.M))


class Block(NamedTuple):
    """A block of a recipe: the file, where in it (empty for code that stands there), and the code."""

    path: str
    place: str
    anchor: str
    code: str


def blocks(recipe: str) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(RECIPES[recipe])]


def names_of(path: Path) -> set[str]:
    """The functions and classes of a file, methods as `Class.method`."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            found |= {f"{node.name}.{part.name}" for part in node.body
                      if isinstance(node, ast.ClassDef) and isinstance(part, ast.FunctionDef)}  # fmt: skip
    return found


def test_what_it_names_exists() -> None:
    """Files and folders, and in each journey and each word the function or class."""
    assert len([name for _, name in NAMED if name]) > 40
    for path, name in NAMED:
        if "/" not in path and not name:
            assert list((ROOT / "dpo").rglob(path)), path  # named after its folder
        elif not name:
            assert (ROOT / path).is_file(), path
        else:
            assert name in names_of(ROOT / path), f"{path}:{name}"
    for path in re.findall(r"`((?:dpo|tests|docs|scripts|assets)/[\w/.-]*)`", TEXT):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    ("recipe", "most"),
    [("A loss", 2), ("A layout of preference data", 2), ("A doctor's rule", 2), ("A page", 3), ("A family", 2),
     ("A decode option", 2)],
)  # fmt: skip
def test_a_recipe_touches_few_files(recipe: str, most: int) -> None:
    [said] = re.findall(rf"^### {recipe} \((\d) files?\)$", TEXT, re.M)
    files = {block.path for block in blocks(recipe)}
    assert len(files) == int(said) <= most
    assert len(BLOCK.findall(RECIPES[recipe])) == RECIPES[recipe].count("```python")


def applied(house: Path, block: Block) -> None:
    """Do what a block says, in a copy of the house."""
    path = house / block.path
    if block.place == "new":
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.code, encoding="utf-8")
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    [at] = [number for number, line in enumerate(lines) if line.strip().startswith(block.anchor)]
    replaced = block.place.startswith("instead")
    first = at + block.place.startswith("after")
    path.write_text("".join([*lines[:first], block.code, *lines[first + replaced :]]), encoding="utf-8")


CHECKS = {
    "A loss": """
from dpo.errors import ConfigError
from dpo.losses import LOSSES, page
from dpo.training.config import TrainConfig
from dpo.training.settings import make
assert len(LOSSES) > 10 and "apo_down" not in page()
try:
    make(TrainConfig, {"loss_type": ["apo_down"]})
except ConfigError as error:
    assert "apo_down" in str(error) and "apo_zero" in str(error)
else:
    raise AssertionError
import dpo.runs.doctor, dpo.dashboard.application, dpo.training.trainer
""",
    "A layout of preference data": """
import json
from pathlib import Path
from dpo.preferences.normalise import normalise
path = Path("pairs.jsonl")
rows = [{"question": f"What is {n}?", "picked": f"It is {n}.", "discarded": "No idea."} for n in range(5)]
path.write_text("".join(json.dumps(row) + "\\n" for row in rows))
read = normalise(str(path))
assert read.recognised.layout.key == "question-picked-discarded", read.recognised
""",
    "A doctor's rule": """
from pathlib import Path
from dpo.runs import RunRecord, open_run
from dpo.runs.doctor import diagnose
for norm, ill in ((4.0, True), (0.5, False)):
    record = RunRecord.create(Path(f"run-{norm}"), {"kind": "dpo", "family": "gpt2", "state": "finished", "config": {}})
    record.log_all([{"step": step, "loss": 0.69, "grad_norm": norm} for step in range(30)])
    codes = [verdict.code for verdict in diagnose(open_run(f"run-{norm}"))]
    assert ("always clipped" in codes) is ill, codes
""",
    "A page": """
import json
from dpo.dashboard.application import create_app
app = create_app(["."], votes="votes.sqlite")
client = app.server.test_client()
host = "http://127.0.0.1"
layout = client.get("/_dash-layout", headers={"Referer": f"{host}/count"}, base_url=host).get_json()
text = json.dumps(layout)
assert '"count-runs"' in text and text.count('"href": "/count"') == 2 and "g o" in text, text
app.workbench.close()
""",
    "A family": """
from transformers import MambaConfig, GPT2Config
from dpo.families import facts_of, family_key
from dpo.policies.families import family_of
config = MambaConfig()
assert family_of(config).key == family_key(config.to_dict()) == "recurrent"
assert family_of(config).context(config) is None and facts_of("mamba").task_type == "CAUSAL_LM"
assert family_of(GPT2Config()).key == "causal"
""",
    "A decode option": """
import torch
from dpo.cli.main import parser
from dataclasses import replace
from dpo.generation.settings import PLAIN, Sampling
from dpo.generation.token_sampler import Chooser
asked = ["generate", "--policy", "demo/t5", "--prompt", "a", "--typical-p", "0.2"]
assert float(parser().parse_args(asked).typical_p) == 0.2
logits = torch.tensor([[4.0, 2.0, 1.9, 1.8, -3.0]])
def chosen(**settings):
    noise = torch.distributions.Gumbel(0, 1).sample((500, 1, 5))
    return {int(Chooser(replace(PLAIN, temperature=1.0, **settings)).choose(logits, row, None)) for row in noise}
torch.manual_seed(0)
assert 4 not in chosen(typical_p=0.5) and len(chosen(typical_p=0.5)) < len(chosen())
from dpo.errors import ConfigError
from dpo.generation import ctranslate, remote
typical = Sampling(typical_p=0.5)
remotely = lambda: list(remote.complete("http://h/v1", "a", typical, bool))
for refuse in (lambda: ctranslate.check_settings(typical), remotely):
    try:
        refuse()
    except ConfigError as error:
        assert "typical_p" in str(error)
    else:
        raise AssertionError
""",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program."""
    made = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "dpo", made / "dpo", ignore=shutil.ignore_patterns("__pycache__", "demo"))
    (made / "dpo" / "demo").symlink_to(ROOT / "dpo" / "demo")
    for name in ("assets", "configs"):
        (made / name).symlink_to(ROOT / name)
    return made


def tried(house: Path, directory: Path, checks: list[str]) -> subprocess.CompletedProcess[str]:
    """Run checks with the copy as the program, in one process."""
    environment = os.environ | {"PYTHONPATH": str(house), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", "".join(checks)], cwd=directory, env=environment, capture_output=True, text=True
    )


def test_each_recipe_does_what_it_says(house: Path, tmp_path: Path) -> None:
    """The loss stands in the house: it is taken out, all that is in two blocks, and nothing else speaks of it."""
    for block in blocks("A loss"):
        source = (house / block.path).read_text(encoding="utf-8")
        assert source.count(block.code) == 1, block.code
        (house / block.path).write_text(source.replace(block.code, ""), encoding="utf-8")
    left = [path for path in [*(house / "dpo").rglob("*.py"), *(ROOT / "assets").rglob("*.js")]
            if "apo_down" in path.read_text(encoding="utf-8")]  # fmt: skip
    assert left == []
    for recipe in set(RECIPES) - {"A loss"}:
        for block in blocks(recipe):
            applied(house, block)
    done = tried(house, tmp_path, list(CHECKS.values()))
    assert done.returncode == 0, done.stderr
