"""Take the README's pictures anew, of the bundled policies and runs: the stills and the first visit in `media/`.

    python -m scripts.pictures [--evaluation DIR] [--media DIR]

A `dpo serve` in a directory of its own answers, and Chromium looks at it.  Seeds are the page's, nothing moves by
itself, and a picture is taken when what it shows is there and two looks at it in a row are the same; so only times, and
the speeds that Compare measures, are others in the next pictures.  The evaluation is DIR, one that `dpo eval` wrote, or
else a small one of the bundled policies on the pairs that come with the project.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from dpo.dashboard.compare.policies import EXAMPLES
from dpo.families import FAMILIES
from dpo.preferences.sources import SAMPLE
from scripts.ensure_browser import main as ensure_browser
from scripts.ensure_browser import system_browser

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 1440, 900
FILM = (1152, 720)
_FREQUENT = 64
_WAIT = 120_000
"""Milliseconds: the first policy and the first audit of a process load what they compute with."""
_FLAGS = ("--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb")
_PORT = 8050
EVALUATION = (
    *(facts.tuned for facts in FAMILIES), "--dataset", "sample", "--samples", "2", "--max-new-tokens", "100",
    *(word for facts in FAMILIES for word in ("--judge", f"reward:{facts.tuned}")),
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Make all of them; 1 without a browser, or where the evaluation cannot be made."""
    parser = argparse.ArgumentParser(prog="pictures", description=__doc__.splitlines()[0])
    parser.add_argument("--evaluation", type=Path, metavar="DIR", help="show this evaluation [a small one is made]")
    parser.add_argument("--media", type=Path, metavar="DIR", default=ROOT / "media", help="where they go [media]")
    given = parser.parse_args(arguments)
    if ensure_browser():
        return 1
    given.media.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as name:
        home = Path(name)
        with _evaluation(home, given.evaluation) as evaluated, _serving(home) as url, _chromium() as browser:
            _first_visit(_page(browser, url), given.media)
            for still, take in STILLS.items():
                if still == "evaluate" and not evaluated():
                    return 1
                page = _page(browser, url)
                take(page)
                _save(page, given.media / f"{still}.png")
                page.context.close()
    return 0


@contextlib.contextmanager
def _evaluation(home: Path, given: Path | None) -> Iterator[Callable[[], bool]]:
    """Put an evaluation where the server looks for it; what is yielded waits for it, and says whether it is whole.

    One that is made is made while other pictures are taken.
    """
    target = home / "runs" / "evaluations" / (given.resolve().name if given else "sample")
    if given is not None:
        shutil.copytree(given, target)
        yield lambda: True
        return
    command = [sys.executable, "-m", "dpo", "eval", *EVALUATION, "--output-dir", str(target)]
    target.parent.mkdir(parents=True)
    with (home / "evaluation.log").open("w+", encoding="utf-8") as log:
        made = subprocess.Popen(command, cwd=home, env=_environment(), stdout=log, stderr=log)

        def whole() -> bool:
            if made.wait():
                print((home / "evaluation.log").read_text(encoding="utf-8")[-2000:], file=sys.stderr)
            return made.returncode == 0

        try:
            yield whole
        finally:
            made.kill()
            made.wait()


@contextlib.contextmanager
def _serving(home: Path) -> Iterator[str]:
    """The address of a `dpo serve` that has the bundled runs and what is in `home`."""
    port = _free_port()
    command = [sys.executable, "-m", "dpo", "serve", "--port", str(port)]
    server = subprocess.Popen(
        command, cwd=home, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{port}"
        told = []
        for line in server.stdout:  # it says its address once it listens
            told.append(line)
            if url in line:
                break
        else:
            raise SystemExit("".join(told))
        yield url
    finally:
        server.terminate()
        server.communicate()


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}


def _free_port() -> int:
    """The usual one, since it is in the pictures; another where that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _PORT))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=system_browser(), args=list(_FLAGS))
        yield browser
        browser.close()


def _page(browser: Browser, url: str) -> Page:
    """A visitor's first, on which nothing moves."""
    expect.set_options(timeout=_WAIT)
    context = browser.new_context(
        base_url=url, viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", reduced_motion="reduce",
        locale="en-GB", timezone_id="UTC",
    )  # fmt: skip
    context.set_default_timeout(_WAIT)
    return context.new_page()


# What a picture shows.


def _training(page: Page) -> None:
    page.goto("/training")
    _curves(page)
    _fit(page, page.locator("#tr-card-loss"))


def _curves(page: Page) -> None:
    """Both families in each of the charts that are seen first."""
    for chart in ("loss", "chosen", "rejected"):
        expect(page.locator(f"#tr-fig-{chart} .scatterlayer .trace").nth(1)).to_be_visible()


def _evaluate(page: Page) -> None:
    page.goto("/evaluate")
    expect(page.locator("#ev-rows .ev-open").first).to_be_visible()
    if page.locator("#ev-distance-card").is_visible():  # an evaluation without rewards has none
        expect(page.locator("#ev-distance .main-svg").first).to_be_visible()
    _fit(page, page.locator("#ev-slices"))


def _lens(page: Page) -> None:
    """The first of the pairs that come with the project."""
    pair = json.loads(SAMPLE.read_text(encoding="utf-8").splitlines()[0])
    shown = {name: pair[name] for name in ("prompt", "chosen", "rejected")}
    page.goto(f"/lens?{urlencode({'policy': FAMILIES[0].tuned} | shown)}")
    _scored(page)
    _fit(page, page.locator("#lens-shift"))


def _scored(page: Page) -> None:
    expect(page.locator("#lens-heats .tok.sel")).to_be_visible()
    expect(page.locator("#lens-heats")).not_to_have_class(re.compile("stale"))
    expect(page.locator("#lens-run-0 .scatterlayer .trace").nth(1)).to_be_visible()


def _data(page: Page) -> None:
    page.goto("/data")
    expect(page.locator("#da-detect tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Audit").click()
    expect(page.locator("#da-rows .ag-row").first).to_be_visible()
    expect(page.locator("#da-lengths .main-svg").first).to_be_visible()
    _fit(page, page.locator("#da-detect tbody"))


def _runs(page: Page) -> None:
    page.goto("/runs")
    expect(page.locator("#rn-grid .ag-center-cols-container .ag-row").first).to_be_visible()
    expect(page.locator("#rn-frontier .main-svg").first).to_be_visible()
    _fit(page, page.locator("#rn-frontier"))


STILLS: dict[str, Callable[[Page], None]] = {
    "training": _training,
    "lens": _lens,
    "data": _data,
    "runs": _runs,
    "evaluate": _evaluate,
}


def _fit(page: Page, last: Locator) -> None:
    """Make the window as high as the page down to the end of the card in which `last` is, and what stays below it."""
    bottom = last.evaluate("""node => {
        const card = node.closest(".card") || node;
        const heights = [...document.querySelectorAll(".statusbar, .timeline")].map((bar) => bar.offsetHeight + 14);
        return heights.reduce((sum, height) => sum + height, card.getBoundingClientRect().bottom + scrollY);
    }""")
    page.set_viewport_size({"width": WIDTH, "height": round(bottom)})


def _look(page: Page) -> Image.Image:
    """The window, once two looks at it in a row are the same."""
    page.evaluate("document.fonts.ready.then(() => true)")
    before = b""
    for _ in range(40):
        now = page.screenshot(animations="disabled", caret="hide")
        if now == before:
            return Image.open(io.BytesIO(now)).convert("RGB")
        before = now
    raise SystemExit(f"{page.url} does not come to rest")


def _save(page: Page, path: Path) -> None:
    _write_still(_look(page), path)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    print(f"{path} {path.stat().st_size / 1000:.0f} kB", flush=True)


def _write_still(picture: Image.Image, path: Path) -> None:
    """As a PNG of 256 colours: a third of the size, and no difference is seen.

    The most frequent keep the page's surfaces as they are, the widest spread those of logo, icons and emoji.
    """
    counted = picture.getcolors(picture.width * picture.height)
    colours = cast("list[tuple[int, tuple[int, int, int]]]", counted or [])
    frequent = [part for _, colour in sorted(colours, reverse=True)[:_FREQUENT] for part in colour]
    spread = picture.quantize(256 - _FREQUENT, method=Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette((frequent + spread)[: 3 * 256])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


# The first visit, which moves.


class _Film:
    """Looks at a page, each with how long it stays, and a pointer that goes to what is pressed."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[Image.Image] = []
        self._times: list[int] = []
        self._at = (WIDTH * 0.62, HEIGHT * 0.72)
        self._last = Image.new("RGB", (WIDTH, HEIGHT))

    def look(self, milliseconds: int) -> None:
        """What is there now, at rest."""
        self._last = _look(self._page)
        self._add(self._last, milliseconds)

    def glimpse(self, milliseconds: int) -> None:
        """What is there now, though it changes."""
        shot = self._page.screenshot(animations="disabled", caret="hide")
        self._add(Image.open(io.BytesIO(shot)).convert("RGB"), milliseconds)

    def point(self, target: Locator, milliseconds: int = 500) -> None:
        """Bring the pointer to it, over what was looked at last."""
        box = target.bounding_box()
        assert box is not None
        there = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        still, here = self._last, self._at
        for share in (0.2, 0.5, 0.8, 0.95):
            self._at = (here[0] + share * (there[0] - here[0]), here[1] + share * (there[1] - here[1]))
            self._add(still, 50)
        self._at = there
        self._page.mouse.move(*there)
        self.look(milliseconds)

    def press(self, target: Locator) -> None:
        """Bring the pointer to it, and click."""
        self.point(target)
        target.click()

    def write(self, path: Path) -> None:
        """As a WebP that begins anew when it is over."""
        first, *others = self._frames
        first.save(
            path, save_all=True, append_images=others, duration=self._times, loop=0, quality=82, method=4,
            allow_mixed=True, minimize_size=False,
        )  # fmt: skip
        print(f"{path} {path.stat().st_size / 1000:.0f} kB, {sum(self._times) / 1000:.0f} s", flush=True)

    def _add(self, picture: Image.Image, milliseconds: int) -> None:
        self._frames.append(_with_pointer(picture, *self._at).resize(FILM, Image.Resampling.LANCZOS))
        self._times.append(milliseconds)


def _with_pointer(picture: Image.Image, x: float, y: float) -> Image.Image:
    """A copy with an arrow whose tip is at x, y; drawn at four times the size, so that its edges are smooth."""
    outline = ((0, 0), (0, 17), (4, 13.4), (6.8, 19.6), (9.6, 18.4), (6.9, 12.4), (12.2, 12.2))
    arrow = Image.new("RGBA", (4 * 20, 4 * 26))
    points = [(4 * (2 + 1.2 * across), 4 * (1.2 * down + 2)) for across, down in outline]
    ImageDraw.Draw(arrow).polygon(points, fill=(17, 17, 20, 255), outline=(255, 255, 255, 255), width=5)
    arrow = arrow.resize((20, 26), Image.Resampling.LANCZOS)
    copy = picture.copy()
    copy.paste(arrow, (round(x) - 2, round(y) - 2), arrow)
    return copy


def _first_visit(page: Page, media: Path) -> None:
    """What stands there, why, what it says to a question of one's own, and how it was made."""
    page.goto("/")
    why = page.locator("#cmp-story-why")
    expect(why).to_be_visible()
    expect(page.locator("#cmp-story-says")).to_contain_text("after DPO")
    expect(page.locator("#cmp-differ-0")).to_contain_text("% of words differ")
    _save(page, media / "compare.png")
    film = _Film(page)
    film.look(3000)
    film.press(why)
    _scored(page)
    film.look(1500)
    page.locator("#lens-heats").evaluate("node => scrollTo(0, node.getBoundingClientRect().top + scrollY - 100)")
    film.look(1000)
    for strongest in (".tok.p4", ".tok.n4"):  # how many there are depends on the policy
        tokens = page.locator(f"#lens-heats {strongest}")
        if tokens.count() > 1:
            film.point(tokens.nth(1), 1200)
    page.evaluate("scrollTo(0, 0)")
    film.press(page.locator(".navigation").get_by_role("link", name="Compare"))
    film.press(page.get_by_role("button", name="Try yours"))
    _ask(page, film)
    film.press(page.locator(".navigation").get_by_role("link", name="Training"))
    _curves(page)
    film.look(4000)
    film.write(media / "first-visit.webp")


def _ask(page: Page, film: _Film) -> None:
    """Ask another of the page's examples; the four write side by side."""
    prompt = page.get_by_role("textbox", name="Prompt", exact=True)
    expect(prompt).to_be_visible()
    other = next(example for example in EXAMPLES if example != prompt.input_value())
    for share in (3, 2, 1):
        prompt.fill(other[: len(other) // share])
        film.look(200)
    film.press(page.get_by_role("button", name="Generate"))
    done = page.locator("#cmp-progress").get_by_text("4 of 4 answered")
    expect(page.locator("#cmp-out-0")).not_to_be_empty()
    for _ in range(12):
        if done.is_visible():
            break
        film.glimpse(250)
    expect(done).to_be_visible()
    film.look(3000)


if __name__ == "__main__":
    raise SystemExit(main())
