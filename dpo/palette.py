"""The colours, read from where the pages have them: `assets/tokens.css` is their only list."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from dpo.resources import resource

_COLOR = re.compile(r"--([\w-]+):\s*(#[0-9a-f]{6})\b")
_DARK = '[data-mantine-color-scheme="dark"] {'


class Palette(NamedTuple):
    """Colours (`#rrggbb`) by the names of their CSS variables, without the dashes in front."""

    light: Mapping[str, str]
    dark: Mapping[str, str]


@functools.cache
def palette() -> Palette:
    """The colours of both schemes; those that are the same in both are in both.

    Raises:
        FileNotFoundError: the installation lacks its assets.
    """
    text = (resource("assets") / "tokens.css").read_text()
    root = text[text.index(":root {") :]
    light, dark = root.split(_DARK, 1)
    colors = dict(_COLOR.findall(light.split("\n}", 1)[0]))
    return Palette(MappingProxyType(colors), MappingProxyType(colors | dict(_COLOR.findall(dark.split("\n}", 1)[0]))))
