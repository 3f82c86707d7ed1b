"""The house's sizes: what ruff has no rule for (pyproject.toml has the rest)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES, MOST_OF_A_FUNCTION = 400, 60


def too_long(path: Path) -> list[str]:
    """The file and its functions that have too many lines, a line each; nested ones count for themselves too."""
    text = path.read_text(encoding="utf-8")
    where, lines = path.relative_to(ROOT), len(text.splitlines())
    found = [f"{where} has {lines} lines"] if lines > MOST_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_OF_A_FUNCTION:
                found.append(f"{where}:{node.lineno} {node.name} has {length} lines")
    return found


@pytest.mark.parametrize("folder", ["dpo", "tests", "scripts", "benchmarks"])
def test_files_and_functions_are_short(folder: str) -> None:
    found = [line for path in sorted((ROOT / folder).rglob("*.py")) for line in too_long(path)]
    assert not found, "\n" + "\n".join(found)


def test_a_long_function_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "long.py"
    path.write_text("def short():\n    pass\n\n\ndef long():\n" + "    pass\n" * 60)
    assert too_long(path) == ["long.py:5 long has 61 lines"]
    path.write_text("\n" * 401)
    assert too_long(path) == ["long.py has 401 lines"]


# Type variables, which each module has for itself; and names still to be told apart.
REPEATED = {"Config", "Figure", "Ids", "Kind", "Progress", "Row", "Verdict"}


def test_a_class_has_a_name_of_its_own() -> None:
    places: dict[str, set[str]] = {}
    for path in sorted((ROOT / "dpo").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            names += [node.name] if isinstance(node, ast.ClassDef) else []
            for name in names:
                if name[0].isupper() and not name.isupper():
                    places.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in REPEATED} == {}


BY_HAND = re.compile(r"'s' \*|\"s\" \*|else ['\"]s['\"]|['\"]s['\"] if ")


def test_plurals_are_made_by_one_function() -> None:
    """`dpo.counting.counted`: whoever makes one by hand forgets it for the next number of the same sentence."""
    assert BY_HAND.search("f\"{n} row{'' if n == 1 else 's'}\"") and BY_HAND.search("f\"{n} row{'s' * (n > 1)}\"")
    sources = [path for path in sorted((ROOT / "dpo").rglob("*.py")) if path.name != "counting.py"]
    assert [str(path) for path in sources if BY_HAND.search(path.read_text(encoding="utf-8"))] == []
