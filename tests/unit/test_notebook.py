"""The notebook of the docs runs, and what it shows is what it says."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import dpo
from dpo.evaluation.comparison.work import Evaluation
from dpo.notebook import NotebookView

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """The value of a cell's last line, as a notebook shows it."""
    *body, last = ast.parse(source).body
    exec(compile(ast.Module(body, []), str(NOTEBOOK), "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
    exec(compile(ast.Module([last], []), str(NOTEBOOK), "exec"), names)
    return None


def test_the_notebook_runs_and_shows_each_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(NOTEBOOK.parents[1])
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in cells)
    names: dict[str, Any] = {}
    views = [shown for cell in cells if isinstance(shown := run_cell("".join(cell["source"]), names), NotebookView)]
    assert [type(view).__name__ for view in views] == ["Run", "Audit", "Comparison", "TextLook"]
    for view in views:
        assert "<table>" in view._repr_html_()
        assert len(view.to_pandas()) > 0
        assert [len(trace.x) == len(trace.y) > 0 for trace in view.plot().data].count(False) == 0
    metrics = names["run"].metrics()
    assert list(views[0].plot().data[0].y) == metrics.series("loss")[1]
    assert list(views[0].to_pandas()["step"]) == metrics.steps
    assert views[1].to_pandas()["code"].tolist() == [finding.code for finding in names["audit"].findings]
    assert views[3].to_pandas()["reward"].sum() == pytest.approx(names["look"].reward)
    assert views[2]._repr_html_().count("<tr>") == 3  # the head, base and DPO


def test_an_evaluation_and_texts_with_markup_are_shown() -> None:
    row = {
        "judge": "<b>longer</b>", "policy": "tuned", "against": "base", "temperature": 0.7, "verdict": "better",
        "win_rate": {"value": 0.75, "low": 0.6, "high": 0.9},
    }  # fmt: skip
    made = Evaluation(Path("x"), {"prompts": 8, "comparisons": [row, row | {"win_rate": None}]}, 0, 0, 0)
    assert made.to_pandas()["value"].tolist() == [0.75]
    assert list(made.plot().data[0].y) == [0.75]
    assert "<td>&lt;b&gt;longer&lt;/b&gt;</td>" in made._repr_html_()
    assert {"audit", "compare", "open_lens"} <= set(dpo.__all__)
