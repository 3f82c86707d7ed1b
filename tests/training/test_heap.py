"""A training gives free memory back to the system, so that batches of all lengths don't make it grow."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import pytest

from dpo.training.heap import trim_heap


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_free_memory_below_a_block_that_lives_on_is_given_back() -> None:
    libc = ctypes.CDLL("libc.so.6")
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    size, count = 64 * 1024, 2000  # from the heap, not from the kernel
    *blocks, last = [libc.malloc(size) for _ in range(count + 1)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
    before = resident()
    assert trim_heap()
    assert before - resident() > size * count / 2
    libc.free(last)
