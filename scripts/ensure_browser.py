"""Make sure the browser tests have a Chromium: the system's, else apt's, else Playwright's.

Its headless shell comes first: the same engine without the windows, menus and services of a browser that someone sits
at, so that a page costs a fifth less processor time. Playwright too starts that one where no window is asked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = (  # the first that is there
    "chromium-headless-shell",
    "chrome-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
)
# The emoji of the answers are drawn with the system's colour emoji.
APT = "apt-get update -qq && apt-get install -y -qq --no-install-recommends {} fonts-noto-color-emoji"


def system_browser() -> str | None:
    """Path of an installed browser (CHROMIUM overrides)."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def playwright_browser() -> bool:
    """Whether the browser that Playwright downloads starts here."""
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            playwright.chromium.launch(args=["--no-sandbox"]).close()
        except Error:
            return False
    return True


def main() -> int:
    """0 when there is a browser, installing one if need be."""
    if system_browser() or playwright_browser():
        return 0
    attempts = [[sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]]
    if shutil.which("apt-get") and os.geteuid() == 0:
        attempts[:0] = [["sh", "-c", APT.format(name)] for name in ("chromium-headless-shell", "chromium")]
    for command in attempts:
        print("+", *command, flush=True)
        if subprocess.run(command).returncode == 0 and (system_browser() or playwright_browser()):
            return 0
    print("No Chromium found: install one, or set CHROMIUM=/path/to/it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
