"""The public names: light to import, documented, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys

import pytest

import dpo


def test_importing_dpo_loads_nothing_heavy() -> None:
    script = (
        "import dpo, dpo.cli, dpo.evaluation.comparison.plan, dpo.evaluation.comparison.result, sys; "
        "print([m for m in ('torch', 'transformers', 'trl', 'dash') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", dpo.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(dpo, name).__doc__
    assert name in dir(dpo)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = dpo.nope  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "module",
    [
        "dpo.preferences.load",
        "dpo.policies.loading",
        "dpo.policies.scoring",
        "dpo.generation.sampler",
        "dpo.runs.reader",
        "dpo.values",
        "dpo.training.recipes.dpo",
    ],
)
def test_examples_in_docstrings_run(module: str) -> None:
    home = importlib.import_module(module)
    result = doctest.testmod(home, extraglobs={name: getattr(dpo, name) for name in dpo.__all__})
    assert result.attempted > 0 and result.failed == 0


def test_errors_are_one_tree() -> None:
    raised = {name: kind for name, kind in vars(dpo.errors).items() if name.endswith("Error")}
    assert len(raised) == 15 and all(issubclass(kind, dpo.DpoError) for kind in raised.values())
    assert {name: getattr(dpo, name) for name in dpo.__all__ if name.endswith("Error")} == raised
