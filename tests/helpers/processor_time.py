"""How much processor time each test costs, its child processes included: `pytest --processor-time FILE`.

Wall time says little on a machine that does other things as well; processor time is what `make test` has to spend.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processor-time", metavar="FILE", help="append seconds, seconds in children and name per test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure a test with its fixtures; children count once they have been waited for."""
    before = os.times()
    try:
        return (yield)  # type: ignore[return-value]
    finally:
        after = os.times()
        if (path := item.config.getoption("--processor-time")) is not None:
            own = after.user + after.system - before.user - before.system
            children = after.children_user + after.children_system - before.children_user - before.children_system
            with Path(path).open("a", encoding="utf-8") as out:
                out.write(f"{own:.2f}\t{children:.2f}\t{item.nodeid}\n")
