"""Make sure the browser tests have a Chromium: the system's, else apt's, else Playwright's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# The emoji of the answers are drawn with the system's colour emoji.
APT = "apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-noto-color-emoji"


def system_browser() -> str | None:
    """Path of an installed browser (CHROMIUM overrides)."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def playwright_browser() -> str | None:
    """Path of the browser that Playwright downloaded, if it did."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def main() -> int:
    """0 when there is a browser, installing one if need be."""
    if system_browser() or playwright_browser():
        return 0
    attempts = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get") and os.geteuid() == 0:
        attempts.insert(0, ["sh", "-c", APT])
    for command in attempts:
        print("+", *command, flush=True)
        if subprocess.run(command).returncode == 0 and (system_browser() or playwright_browser()):
            return 0
    print("No Chromium found: install one, or set CHROMIUM=/path/to/it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
