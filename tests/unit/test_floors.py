"""The picture of the house against the imports of `dpo/`: each uses what stands below it, and all of it is drawn."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_house", ROOT / "scripts" / "draw_house.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw_house"] = module
    spec.loader.exec_module(module)
    return module


def test_every_arrow_points_down_and_is_drawn(house: ModuleType) -> None:
    found = house.rooms()
    assert house.faults(house.arrows(found)) == []
    shown = (ROOT / "docs" / "house.svg").read_text(encoding="utf-8")
    assert shown == house.picture(found), "the imports changed: look at them, then python scripts/draw_house.py"


@pytest.mark.parametrize(
    ("path", "line", "says"),
    [
        (
            "runs/record.py",
            "def f():\n    import dpo.policies.text",
            "dpo/runs imports dpo/policies",
        ),
        ("policies/text.py", "from dpo import generation", "dpo/policies imports dpo/generation"),
        ("runs/record.py", "from dpo.preferences import split", "dpo/runs imports dpo/preferences"),
        ("basement/__init__.py", "", "dpo/basement stands on no floor of FLOORS"),
    ],
)
def test_an_arrow_that_does_not_point_down_is_told(
    house: ModuleType, tmp_path: Path, path: str, line: str, says: str
) -> None:
    """Whole rooms are linked, the one with the new line is written."""
    changed = Path(path)
    for room in (ROOT / "dpo").iterdir():
        if room.name != changed.parts[0] and room.name != "__pycache__":
            (tmp_path / room.name).symlink_to(room)
    (tmp_path / changed).parent.mkdir()
    (tmp_path / changed).write_text(line + "\n")
    [told] = house.faults(house.arrows(house.rooms(tmp_path)))
    assert told.startswith(says)


def test_a_new_arrow_changes_the_picture(house: ModuleType, tmp_path: Path) -> None:
    """Also where a longer way leads to the same room."""
    found = house.rooms()
    assert "processes" not in house.arrows(found)["publishing"] and "values" not in house.arrows(found)["evaluation"]
    for room, line in (("publishing", "from dpo import processes"), ("evaluation", "from dpo.values import read")):
        new = tmp_path / f"{room}.py"
        new.write_text(line + "\n")
        more = found | {room: [*found[room], new]}
        assert house.faults(house.arrows(more)) == [] and house.picture(more) != house.picture(found)
