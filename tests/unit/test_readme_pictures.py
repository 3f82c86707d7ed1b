"""Every picture of the README is there, small, and told in words to those who don't see it."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from scripts.pictures import STILLS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MARKDOWN = re.compile(r"!\[([^\]]*)\]\((media/[^)]+)\)")
HTML = re.compile(r'<img alt="([^"]*)" src="(media/[^"]+)"')
STILL_BYTES, MOVING_BYTES = 400_000, 3_000_000


def test_pictures_are_there_small_and_described() -> None:
    told = {path: words for words, path in MARKDOWN.findall(README) + HTML.findall(README)}
    named = set(re.findall(r"media/[\w.-]+", README))
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "media").iterdir()}
    made = {f"media/{still}.png" for still in ("compare", *STILLS)} | {"media/first-visit.webp"}
    assert named == set(told) == there == made
    for path in there:
        with Image.open(ROOT / path) as picture:
            moves = getattr(picture, "n_frames", 1) > 1
            picture.verify()
        assert moves == path.endswith(".webp"), path
        assert (ROOT / path).stat().st_size < (MOVING_BYTES if moves else STILL_BYTES), path
    for path, words in told.items():
        assert len(words.split()) >= 5, f"{path}: say what is seen there"
