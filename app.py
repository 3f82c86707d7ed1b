"""`python app.py` is `dpo serve`: it opens the dashboard."""

from __future__ import annotations

import sys

from dpo.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["serve", *sys.argv[1:]]))
