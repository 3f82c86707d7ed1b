"""Draw docs/house.svg, the house in one picture, from the imports of `dpo/`: `python scripts/draw_house.py`.

A room is a package of `dpo/`, or one file beside them. It uses what stands on a lower floor, and nothing else (FLOORS).
A line leads to what a room uses, unless a longer way leads there too; what else it uses stands in the room.
"""

from __future__ import annotations

import ast
import functools
import sys
import textwrap
from collections.abc import Iterator, Mapping
from html import escape
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "house.svg"
FLOORS = (  # from the roof to the ground; the last two are files
    ("cli",),
    ("dashboard", "pretraining"),
    ("training",),
    ("publishing", "evaluation"),
    ("generation",),
    ("policies", "serving"),
    ("runs", "preferences"),
    ("database", "files", "hub", "losses", "palette", "values"),
    (
        "arrays",
        "counting",
        "errors",
        "families",
        "glossary",
        "heap",
        "notebook",
        "processes",
        "resources",
        "sensors",
        "severity",
    ),
)
Arrows = Mapping[str, frozenset[str]]

_WIDTH, _MARGIN, _GAP, _BETWEEN = 1040, 30, 40, 44
_FILE, _NAME, _LINE = 40, 34, 18  # heights: of a file's room, of a name, of a line of text
_ABOUT, _ALSO = 6.6, 6.0  # widths of a letter

Box = tuple[int, int, int, int]
"""Left edge, upper edge, width and height."""
_STYLE = """
  svg { font-family: Inter, system-ui, sans-serif; --paper: #fbfbfa; --room: #fff; --ink: #1c2024; --quiet: #5f6670;
        --edge: #c9ced6; --line: #8b94a3; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #14171b; --room: #1d2228; --ink: #eceef1; --quiet: #a2aab5; --edge: #3a424d; --line: #77818f; }
  }
  .paper { fill: var(--paper); } .room { fill: var(--room); stroke: var(--edge); }
  .name { font: 600 14px "JetBrains Mono", ui-monospace, monospace; fill: var(--ink); }
  .about { font-size: 12px; fill: var(--ink); } .also { font-size: 11px; fill: var(--quiet); }
  .way { fill: none; stroke: var(--line); stroke-width: 1.5; } .head { fill: var(--line); }
"""


def rooms(package: Path = ROOT / "dpo") -> dict[str, list[Path]]:
    """Each room's files.

    No rooms: `__init__` and `__main__`, which hand names on and start the command line, and `demo`, which is data.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(package.iterdir()):
        if path.is_dir() and path.name not in ("__pycache__", "demo"):
            found[path.name] = sorted(path.rglob("*.py"))
        elif path.suffix == ".py" and not path.name.startswith("__"):
            found[path.stem] = [path]
    return found


def arrows(found: Mapping[str, list[Path]]) -> Arrows:
    """The rooms that each room imports: at module level, in functions, and for type checking only."""
    return {
        room: frozenset(used for path in paths for used in _imported(path.resolve(), path.stat().st_mtime_ns))
        & found.keys() - {room}
        for room, paths in found.items()
    }


@functools.cache
def _imported(path: Path, changed: int) -> frozenset[str]:
    """The rooms that a file imports, read anew when it has changed."""
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("dpo."))


def faults(used: Arrows) -> list[str]:
    """What keeps the rooms from standing: without a floor, or using what is not below. None if all is well."""
    level = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    missing = [f"dpo/{room} stands on no floor of FLOORS" for room in sorted(used.keys() - level.keys())]
    gone = [f"FLOORS names {room}, which is not in dpo/" for room in sorted(level.keys() - used.keys())]
    upward = [
        f"dpo/{room} imports dpo/{below}, which is not on a lower floor"
        for room in used
        for below in sorted(used[room])
        if room in level and below in level and level[below] <= level[room]
    ]
    return missing + gone + upward


def drawn(used: Arrows) -> dict[str, list[str]]:
    """The arrows that are lines: between packages, and where no longer way leads to the same."""
    packages = {room for floor in FLOORS[:-2] for room in floor}
    return {
        room: [
            below for floor in FLOORS for below in floor
            if below in used[room] & packages and not any(below in _reached(used, by) for by in used[room])
        ]
        for room in used
    }  # fmt: skip


def _reached(used: Arrows, room: str) -> set[str]:
    """Every room that a room uses, or that one of those uses."""
    return {far for below in used[room] for far in (below, *_reached(used, below))}


def picture(found: Mapping[str, list[Path]]) -> str:
    """The house as SVG; it follows the reader's light or dark scheme."""
    used = arrows(found)
    lines = drawn(used)
    also = {
        room: [below for floor in FLOORS for below in floor if below in used[room] and below not in lines[room]]
        for room in used
    }
    words = {room: _words(room, found[room], also[room]) for floor in FLOORS for room in floor}
    boxes = _boxes(words)
    height = max(y + h for _, y, _, h in boxes.values()) + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
        ' aria-label="The packages of dpo, each above those that it imports">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="head" d="M0 0 8 4 0 8z"/></marker></defs>',
        f'<rect class="paper" width="{_WIDTH}" height="{height}"/>',
    ]
    parts += [_way(boxes[room], boxes[below]) for room in boxes for below in lines[room]]
    for room, (x, y, width, tall) in boxes.items():
        parts.append(f'<rect class="room" x="{x}" y="{y}" width="{width}" height="{tall}" rx="8"/>')
        parts += [
            f'<text class="{kind}" x="{x + left}" y="{y + down}">{escape(text)}</text>'
            for kind, left, down, text in words[room]
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _words(room: str, paths: list[Path], also: list[str]) -> list[tuple[str, int, int, str]]:
    """The text in a room: its kind, how far right and down it stands, and the words."""
    name = ("name", 14, 25, room)
    if room in (*FLOORS[-1], *FLOORS[-2]):
        return [name, ("also", 22 + 9 * len(room), 25, " ".join(also))] if also else [name]
    inside = _width(next(floor for floor in FLOORS if room in floor)) - 28
    about = textwrap.wrap(_about(paths), int(inside / _ABOUT))
    rest = textwrap.wrap("also: " + " ".join(also), int(inside / _ALSO)) if also else []
    kinds = [("about", line) for line in about] + [("also", line) for line in rest]
    return [name, *((kind, 14, _NAME + 13 + _LINE * number, line) for number, (kind, line) in enumerate(kinds))]


def _width(floor: tuple[str, ...]) -> int:
    """How wide the rooms of a floor are: they share it."""
    return (_WIDTH - 2 * _MARGIN - _gap(floor) * (len(floor) - 1)) // len(floor)


def _gap(floor: tuple[str, ...]) -> int:
    return 12 if floor in FLOORS[-2:] else _GAP


def _boxes(words: Mapping[str, list[tuple[str, int, int, str]]]) -> dict[str, Box]:
    """Where each room stands; a floor is as high as its longest text."""
    boxes: dict[str, Box] = {}
    top = _MARGIN
    for floor in FLOORS:
        files = floor in FLOORS[-2:]
        tall = _FILE if files else max(words[room][-1][2] for room in floor) + 14
        for place, room in enumerate(floor):
            boxes[room] = (_MARGIN + place * (_width(floor) + _gap(floor)), top, _width(floor), tall)
        top += tall + (12 if files else _BETWEEN)
    return boxes


def _way(start: Box, end: Box) -> str:
    """A curve from the foot of one room to the head of another; past a floor it runs beside the rooms."""
    (x, y, width, height), (to, top, wide, _) = start, end
    foot, middle, goal = y + height, x + width // 2, to + wide // 2
    if top - foot > _BETWEEN:
        right = max(middle, goal) > _WIDTH // 2
        edge = _WIDTH - _MARGIN // 2 if right else _MARGIN // 2
        side = (x + width - 24, to + wide - 24) if right else (x + 24, to + 24)
        return _curve([(side[0], foot), (edge, foot + 34), (edge, top - 34), (side[1], top)])
    if middle == goal:
        return _curve([(middle, foot), (goal, top)])
    toward = 1 if goal > middle else -1
    return _curve([(middle + toward * width * 3 // 8, foot), (goal - toward * wide * 3 // 8, top)])


def _curve(points: list[tuple[int, int]]) -> str:
    path = f"M{points[0][0]} {points[0][1]}"
    for (x, y), (to, end) in pairwise(points):
        bend = (end - y) * 3 // 5
        path += f" C{x} {y + bend} {to} {end - bend} {to} {end}"
    return f'<path class="way" d="{path}" marker-end="url(#head)"/>'


def _about(paths: list[Path]) -> str:
    """The first sentence of a package's docstring, or of a file's."""
    home = next((path for path in paths if path.name == "__init__.py"), paths[0])
    said = ast.get_docstring(ast.parse(home.read_text(encoding="utf-8"))) or ""
    return said.partition("\n")[0].partition(". ")[0].partition("  ")[0].partition(" (")[0].rstrip(".")


def main() -> int:
    """Draw; 2 with a line for each fault, if the rooms do not stand."""
    found = rooms()
    if told := faults(arrows(found)):
        print("\n".join(told), file=sys.stderr)
        return 2
    PICTURE.write_text(picture(found), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}: {len(found)} rooms, {sum(map(len, arrows(found).values()))} arrows")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
