"""How much processor time each test costs, all its processes included: `pytest --processor-time FILE`.

Wall time says little on a machine that does other things as well; processor time is what `make test` has to spend.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processor-time", metavar="FILE", help="append seconds, seconds in children and name per test")


def _spent() -> tuple[float, float]:
    """Seconds of this process, and of all below it: the browser and the fork server live longer than a test."""
    own = os.times()
    below = own.children_user + own.children_system
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.Error:  # it has ended since
            continue
        below += times.user + times.system + times.children_user + times.children_system
    return own.user + own.system, below


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure a test with its fixtures; what a child spends that nobody waits for is seen while it lives."""
    if (path := item.config.getoption("--processor-time")) is None:
        return (yield)  # type: ignore[return-value]
    own, below = _spent()
    try:
        return (yield)  # type: ignore[return-value]
    finally:
        own_after, below_after = _spent()
        with Path(path).open("a", encoding="utf-8") as out:
            out.write(f"{own_after - own:.2f}\t{below_after - below:.2f}\t{item.nodeid}\n")
