"""One list of colours, assets/tokens.css; what cannot read it agrees with it."""

from __future__ import annotations

import re
from pathlib import Path

from dpo.dashboard import theme
from dpo.families import FAMILIES
from dpo.palette import palette
from dpo.resources import resource

ASSETS = resource("assets")
ROOT = Path(__file__).resolve().parents[2]
HEX = re.compile(r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b")


def luminance(color: str) -> float:
    """The relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_curves_are_the_same_in_both_schemes_and_can_be_seen_in_both() -> None:
    light, dark = palette()
    for name in ("chosen", "rejected", *(facts.key for facts in FAMILIES)):
        assert light[name] == dark[name], name
        for colors in (light, dark):
            assert contrast(colors[name], colors["surface"]) >= 3, name
            assert contrast(colors[f"{name}-text"], colors["surface"]) >= 4.5, name
    assert all(contrast(colors["surface"], theme.NEUTRAL) >= 3 for colors in (light, dark))


def test_css_knows_the_data_colours_that_plotly_writes() -> None:
    text = (ASSETS / "tokens.css").read_text()
    light = palette().light
    named = {"ink-2": theme.NEUTRAL} | {
        f"{name}-text": light[name] for name in ("chosen", "rejected", *(facts.key for facts in FAMILIES))
    }
    for variable, color in named.items():
        rgb = ", ".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5))
        assert f'text[style*="rgb({rgb})"] {{ fill: var(--{variable})' in text, variable


def test_no_colour_is_written_elsewhere() -> None:
    ramps = {color for ramp in theme.MANTINE["colors"].values() for color in ramp}
    for path in [*ROOT.glob("dpo/**/*.py"), *ROOT.glob("dpo/dashboard/**/*.html"), *ASSETS.glob("js/**/*.js")]:
        found = set(HEX.findall(re.sub(r"&#\d+;", "", path.read_text())))
        assert found <= (ramps if path.name == "theme.py" else set()), path


def test_shapes_in_the_browser_are_those_of_the_server() -> None:
    text = (ASSETS / "js" / "lib" / "families.js").read_text()
    shapes = re.search(r"const SHAPES = \{ (.*?) \}", text)
    assert shapes
    assert dict(re.findall(r'(\w+): "(\w+)"', shapes[1])) == {facts.key: facts.symbol for facts in FAMILIES}
