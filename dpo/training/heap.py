"""Keeps the memory of a long training on a CPU flat, where the C library is glibc.

Batches differ in length, so each asks for blocks of other sizes.  glibc takes large blocks from the kernel one by one
and gives them back, until the first is freed: from then on it takes blocks of that size (up to 32 MiB) from its heap,
where a small block that lives on keeps all the free ones below it.  A training of an hour so grows to several times
what it uses (docs/benchmarks.md has the figures).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Mapping

# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
MMAP_THRESHOLD = 2 * 2**20
"""Bytes from which a block is taken from the kernel and given back to it: about the smallest tensors of a batch."""
_TRIM_THRESHOLD = 128 * 2**20
_SET_BY_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")


def bound_heap(environment: Mapping[str, str] = os.environ) -> bool:
    """Fix the sizes from which glibc gives memory back, for the rest of this process; whether it was done.

    Nothing is done elsewhere, nor where the user has tuned glibc through its environment variables.  An allocator that
    is preloaded (jemalloc, tcmalloc) goes on as it was: this reaches glibc's own, which then has no large blocks.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in environment for name in _SET_BY_USER):
        return False
    if "glibc.malloc." in environment.get("GLIBC_TUNABLES", ""):
        return False
    with contextlib.suppress(OSError, AttributeError):  # no such library, or one without the function
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        return bool(mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD))
    return False
