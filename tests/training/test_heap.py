"""A training gives large blocks back to the system, so that batches of all lengths don't make its memory grow."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import pytest

from dpo.pretraining.config import PretrainConfig
from dpo.training.config import SftConfig, TrainConfig
from dpo.training.context import opened
from dpo.training.heap import MMAP_THRESHOLD, bound_heap

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
_BLOCK = 4 * MMAP_THRESHOLD
_M_MMAP_THRESHOLD = -3
_NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()  # noqa: SIM905


class Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` of malloc.h."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _NAMES)


def large_blocks_are_given_back() -> bool:
    """Whether a second large block comes from the kernel; glibc by itself takes it from the heap after the first."""
    libc = ctypes.CDLL("libc.so.6")
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.mallinfo2.restype = Mallinfo2
    libc.free(libc.malloc(_BLOCK))
    libc.malloc_trim(0)  # a hole that happens to be there is used first
    before = libc.mallinfo2().hblks
    block = libc.malloc(_BLOCK)
    came = libc.mallinfo2().hblks > before
    libc.free(block)
    return bool(came)


def test_a_users_own_tuning_is_left_alone() -> None:
    assert not bound_heap({"MALLOC_TRIM_THRESHOLD_": "1"})
    assert not bound_heap({"GLIBC_TUNABLES": "glibc.cpu.x=1:glibc.malloc.arena_test=8"})


@pytest.mark.parametrize("config", [TrainConfig, SftConfig, PretrainConfig])
def test_every_training_on_a_cpu_bounds_its_heap(
    config: type[TrainConfig | SftConfig | PretrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    # As a process is in which nobody asked: glibc's own highest.
    ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
    assert not large_blocks_are_given_back()
    text = {"text": ["a.txt"]} if config is PretrainConfig else {}
    with opened(config(**text, output_dir=str(tmp_path / "run"), device="cpu")):
        assert large_blocks_are_given_back()
