"""Print the lock's versions as constraints for pip: `python scripts/constraints.py > constraints.txt`.

With them `pip install --constraint constraints.txt dist/*.whl` installs what the tests ran with.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "poetry.lock"


def constraints(lock: Path = LOCK) -> list[str]:
    """One `name==version` a package; what is locked in several versions (parts of CUDA) is left to what needs it."""
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    times = Counter(package["name"] for package in packages)
    return [f"{package['name']}=={package['version']}" for package in packages if times[package["name"]] == 1]


if __name__ == "__main__":
    print("\n".join(constraints()))
